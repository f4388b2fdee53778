//! What the writing verbs share.

use palan::{copy::Summary, place::Location};
use palan_core::Digest;

use crate::ui::text;

/// `3 blobs moved (1.20 MiB), 2 mounted or linked, 1 already there`
pub(super) fn summary(summary: &Summary) -> String {
    let mut parts = Vec::new();
    let mut part = |n: u64, text: &dyn Fn(String) -> String| {
        if n > 0 {
            parts.push(text(text::count(usize::try_from(n).unwrap_or(usize::MAX), "blob")));
        }
    };
    let bytes = text::size(summary.bytes_moved);
    part(summary.blobs_moved, &|n| format!("{n} moved ({bytes})"));
    part(summary.blobs_adopted, &|n| format!("{n} mounted or linked"));
    part(summary.blobs_present, &|n| format!("{n} already there"));
    part(summary.blobs_skipped, &|n| format!("{n} not distributable and left out"));
    match parts.is_empty() {
        true => "everything was there".to_owned(),
        false => parts.join(", "),
    }
}

/// What a script goes on with: the full reference of a result, by digest.
pub(super) fn reference(target: &Location, digest: Digest) -> String {
    match target {
        Location::Registry(reference) => reference.repository().with_digest(digest).to_string(),
        Location::Layout { path, .. } => {
            Location::Layout { path: path.clone(), selector: Some(digest.into()) }.to_string()
        }
        Location::Archive { path, format, .. } => {
            Location::Archive { path: path.clone(), format: *format, selector: Some(digest.into()) }
                .to_string()
        }
    }
}
