//! What the writing verbs share.

use palan::copy::Summary;

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
