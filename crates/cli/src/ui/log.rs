//! What the libraries trace, on stderr, one line per event and what belongs to it below: with `--verbose` everything, else what the client warns of
//! while it works.

use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
    sync::atomic::{AtomicU64, Ordering},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Sends the events of our own crates to stderr. A second call does nothing.
pub(crate) fn install(verbose: bool) {
    let _ = tracing::subscriber::set_global_default(Log { verbose, spans: AtomicU64::new(1) });
}

/// What is shown without being asked for.
fn is_for_all(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("palan_client") && *metadata.level() <= Level::WARN
}

/// Other people's crates may log what they send, secrets included: only ours are shown.
fn is_ours(target: &str) -> bool {
    target == "palan" || target.starts_with("palan::") || target.starts_with("palan_")
}

struct Log {
    verbose: bool,
    spans: AtomicU64,
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        match self.verbose {
            true => is_ours(metadata.target()) && *metadata.level() <= Level::DEBUG,
            false => is_for_all(metadata),
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed))
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = match *event.metadata().level() {
            Level::WARN => "warning".to_owned(),
            level => level.as_str().to_ascii_lowercase(),
        };
        let details = line.details.lines().fold(String::new(), |all, line| all + "  " + line + "\n");
        let _ = write!(io::stderr().lock(), "{level}: {}{}\n{details}", line.message, line.fields);
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
    /// Lines of their own.
    details: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "details" => write!(self.details, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_our_own_crates_are_heard() {
        for (target, ours) in
            [("palan", true), ("palan_client::auth", true), ("hyper::proto", false), ("palanquin", false)]
        {
            assert_eq!(super::is_ours(target), ours, "{target}");
        }
    }
}
