//! The order of merged names.

use std::collections::HashSet;

/// The names that a result keeps, in order. Where the image's begin with the old base's, as builders write them, the
/// new base's stand in their place (those that the image set by itself, `own`, where they stood, or behind, as
/// buildah writes them); else the image's order stays, and what is new comes first.
pub(super) fn arrange<'a>(
    app: &[&'a str],
    old: &[&'a str],
    new: &[&'a str],
    kept: &HashSet<&'a str>,
    own: &HashSet<&'a str>,
) -> Vec<&'a str> {
    let in_app: HashSet<&str> = app.iter().copied().collect();
    let inherited: Vec<&str> = old.iter().copied().filter(|name| in_app.contains(name)).collect();
    let replaced = app.starts_with(&inherited);
    let inherited: Vec<&str> = inherited.into_iter().filter(|name| !own.contains(name)).collect();
    let moved = !inherited.is_empty() && app.starts_with(&inherited);
    let leads = |name: &&&str| {
        let leads = replaced || (moved && !own.contains(**name)) || !in_app.contains(**name);
        kept.contains(**name) && leads
    };
    let mut out: Vec<&str> = new.iter().filter(leads).copied().collect();
    let leading: HashSet<&str> = out.iter().copied().collect();
    out.extend(app.iter().copied().filter(|name| kept.contains(name) && !leading.contains(name)));
    out
}
