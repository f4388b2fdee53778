//! Progress of transfers: one bar per blob that moves, on a terminal only.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use palan::{Event, Observer};
use palan_core::{Descriptor, Digest};

use super::Ui;

/// Smaller blobs are there before a bar could be read.
const WORTH_A_BAR: u64 = 256 * 1024;

/// Bars for the transfers of one command; dropping it clears them.
pub(crate) struct Progress(Arc<Inner>);

struct Inner {
    ui: Ui,
    bars: Option<MultiProgress>,
    moving: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Progress {
    pub(super) fn new(ui: Ui, bars: bool) -> Self {
        let bars = bars.then(MultiProgress::new);
        Self(Arc::new(Inner { ui, bars, moving: Mutex::default() }))
    }

    /// What the library tells its events to.
    pub(crate) fn observer(&self) -> Observer {
        let inner = Arc::clone(&self.0);
        Observer::new(move |event| inner.take(event))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bars) = &self.0.bars {
            let _ = bars.clear();
        }
    }
}

impl Inner {
    fn take(&self, event: &Event<'_>) {
        match event {
            Event::Note { text } => self.note(text),
            Event::BlobStarted { blob } => self.start(blob),
            Event::BlobProgress { digest, bytes } => {
                if let Some(bar) = self.moving().get(digest) {
                    bar.inc(*bytes);
                }
            }
            Event::BlobDone { blob, .. } => {
                if let Some(bar) = self.moving().remove(&blob.digest) {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
    }

    fn note(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| self.ui.note(text)),
            None => self.ui.note(text),
        }
    }

    fn start(&self, blob: &Descriptor) {
        let Some(bars) = self.bars.as_ref().filter(|_| blob.size >= WORTH_A_BAR) else { return };
        let bar = bars.add(ProgressBar::new(blob.size).with_style(style()).with_message(blob.digest.short()));
        bar.enable_steady_tick(Duration::from_millis(200));
        self.moving().insert(blob.digest, bar);
    }

    fn moving(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, ProgressBar>> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn style() -> ProgressStyle {
    const TEMPLATE: &str =
        "{msg}  {bar:30}  {binary_bytes:>10} / {binary_total_bytes:<10}  {binary_bytes_per_sec:>12}  {eta}";
    ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar())
}
