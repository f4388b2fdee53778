//! What a copy reports, for people and for programs.

use palan::copy::Summary;
use palan_core::Digest;
use serde::Serialize;

use super::Image;
use crate::{args::ReportFormat, exit::Result, session::Session, ui::text};

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) dry_run: bool,
    pub(super) images: Vec<Copied>,
    pub(super) summary: Summary,
    /// What was copied, in words.
    #[serde(skip)]
    pub(super) what: String,
}

/// One image.
#[derive(Serialize)]
pub(super) struct Copied {
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    /// Of the source; of the image that was chosen, not of its index, where it stayed as it is.
    source_digest: Digest,
    digest: Digest,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    companions: Vec<Companion>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Companion {
    digest: Digest,
    about: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

impl Copied {
    pub(super) fn new(tag: Option<&str>, image: &Image) -> Self {
        let companions = image.found.companions.iter().map(|c| Companion {
            digest: c.document.digest(),
            about: c.about,
            tag: c.role.tag().map(str::to_owned),
        });
        Self {
            tag: tag.map(str::to_owned),
            source_digest: image.old,
            digest: image.shaped.root.digest(),
            companions: companions.collect(),
            notes: image.shaped.notes.iter().chain(&image.found.notes).cloned().collect(),
        }
    }
}

impl Report {
    pub(super) fn print(&self, format: ReportFormat, session: &Session) -> Result {
        if format == ReportFormat::Json {
            return session.ui.json(self);
        }
        let mut done = super::super::write::summary(&self.summary);
        if self.summary.companions > 0 {
            let n = usize::try_from(self.summary.companions).unwrap_or(usize::MAX);
            done = format!("{done}; {} about it", text::count(n, "manifest"));
        }
        let (what, to) = (&self.what, &self.to);
        if self.dry_run {
            return session.ui.line(format!("would copy {what} to {to}: {done}"));
        }
        session.ui.say(format!("copied {what} to {to}: {done}"));
        Ok(())
    }
}
