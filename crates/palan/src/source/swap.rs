//! What becomes of one reference: does it name the old base, and how would its writer have written the new one.

use std::ops::Range;

use palan_core::{Reference, hub};

/// Old base and new base.
#[derive(Clone, Debug)]
pub struct Swap {
    old: Reference,
    new: Reference,
    unpin: bool,
}

/// What [`Swap::rewrite`] says about a reference.
pub(super) enum Answer {
    /// It is something else.
    Other,
    /// It is, or may be, the old base, and must stay.
    Left(&'static str),
    /// Replacements in the reference, in order.
    Rewrite(Vec<(Range<usize>, String)>),
}

impl Swap {
    /// Replaces `old` by `new`.
    ///
    /// A tag stands for itself and for the digests that it was pinned to (`repo:tag@…`). With a digest, `old` also
    /// stands for that digest under any tag, and other digests are left alone.
    pub fn new(old: Reference, new: Reference) -> Self {
        Self { old, new, unpin: false }
    }

    /// Whether a digest may be dropped when the new base has none; otherwise pinned references are left alone then.
    #[must_use]
    pub fn unpin(self, unpin: bool) -> Self {
        Self { unpin, ..self }
    }

    /// The old base.
    pub fn old(&self) -> &Reference {
        &self.old
    }

    /// The new base.
    pub fn new_base(&self) -> &Reference {
        &self.new
    }

    /// Whether text that starts like this and goes on in an unknown way may name the old base.
    pub(super) fn may_start(&self, start: &str) -> bool {
        let name = Parts::of(start);
        match name.tag.is_some() || name.digest.is_some() {
            true => self.is_old_repository(&start[..name.end]),
            false => true,
        }
    }

    /// Whether this is the old base's repository, spelled somehow.
    pub(super) fn is_old_repository(&self, name: &str) -> bool {
        name.parse().is_ok_and(|repository: palan_core::Repository| repository == *self.old.repository())
    }

    /// Whether this is, or may be, the old base.
    pub(super) fn concerns(&self, text: &str) -> bool {
        !matches!(self.rewrite(text), Answer::Other)
    }

    pub(super) fn rewrite(&self, text: &str) -> Answer {
        let Ok(found) = text.parse::<Reference>() else { return Answer::Other };
        if found.repository() != self.old.repository() {
            return Answer::Other;
        }
        match self.selects(&found) {
            Ok(true) => {}
            Ok(false) => return Answer::Other,
            Err(reason) => return Answer::Left(reason),
        }
        if found.digest().is_some() && self.new.digest().is_none() && !self.unpin {
            return Answer::Left("is pinned to a digest, and the new base has none");
        }
        let parts = Parts::of(text);
        let mut out = self.name(text, &parts);
        out.extend(self.selector(&parts));
        out.retain(|(range, new)| text[range.clone()] != **new);
        Answer::Rewrite(out)
    }

    /// Whether a reference to the old base's repository means the old base.
    fn selects(&self, found: &Reference) -> Result<bool, &'static str> {
        let same_tag = found.tag() == self.old.tag();
        match (found.digest(), self.old.digest()) {
            (Some(found), Some(old)) if found == old => Ok(true),
            (Some(_), Some(_)) if same_tag => Err("is pinned to another digest than the old base"),
            (Some(_), Some(_)) => Ok(false),
            (Some(_), None) if found.tag().is_none() => {
                Err("is pinned to a digest and says no tag to know it by")
            }
            (_, None) => Ok(same_tag),
            (None, Some(_)) => Ok(same_tag && found.tag().is_some()),
        }
    }

    fn name(&self, text: &str, parts: &Parts) -> Vec<(Range<usize>, String)> {
        let (old, new) = (self.old.repository(), self.new.repository());
        if old == new {
            return Vec::new();
        }
        let written = &text[parts.path.clone()];
        let long = written.starts_with("library/") || (parts.host.is_some() && written.contains('/'));
        let short = [old, new].iter().all(|name| name.registry() == hub::REGISTRY) && !long;
        let path = match new.path().strip_prefix("library/") {
            Some(rest) if short && !rest.contains('/') => rest,
            _ => new.path(),
        };
        let registry = hub::shown(new.registry());
        match (&parts.host, old.registry() == new.registry()) {
            // The host as it is spelled, or not spelled, stays.
            (_, true) => vec![(parts.path.clone(), path.to_owned())],
            (Some(host), false) => {
                vec![(host.clone(), registry.to_owned()), (parts.path.clone(), path.to_owned())]
            }
            (None, false) => vec![(parts.path.clone(), format!("{registry}/{path}"))],
        }
    }

    fn selector(&self, parts: &Parts) -> Vec<(Range<usize>, String)> {
        let mut out = Vec::new();
        let mut added = String::new();
        let digest = self.new.digest().map(|d| d.to_string());
        match (&parts.tag, self.new.tag()) {
            (Some(tag), Some(new)) => out.push((tag.clone(), new.to_owned())),
            (Some(tag), None) => out.push((tag.start - 1..tag.end, String::new())),
            // What is known by its digest alone stays so, and what means `latest` by saying nothing too.
            (None, Some(_)) if parts.digest.is_some() && digest.is_some() => {}
            (None, Some("latest")) if parts.digest.is_none() && digest.is_none() => {}
            (None, Some(new)) => added = format!(":{new}"),
            (None, None) => {}
        }
        match (&parts.digest, digest) {
            (Some(old), Some(new)) => out.push((old.clone(), new)),
            (Some(old), None) => out.push((old.start - 1..old.end, added.split_off(0))),
            (None, Some(new)) => added.push_str(&format!("@{new}")),
            (None, None) => {}
        }
        if !added.is_empty() {
            let end = parts.tag.as_ref().map_or(parts.end, |tag| tag.end);
            out.push((end..end, added));
        }
        out
    }
}

/// Where the parts of a written reference are.
struct Parts {
    host: Option<Range<usize>>,
    path: Range<usize>,
    /// The end of host and path.
    end: usize,
    tag: Option<Range<usize>>,
    digest: Option<Range<usize>>,
}

impl Parts {
    fn of(text: &str) -> Self {
        let at = text.find('@');
        let rest = &text[..at.unwrap_or(text.len())];
        let colon = rest.rfind(':').filter(|c| rest.rfind('/').is_none_or(|slash| slash < *c));
        let end = colon.unwrap_or(rest.len());
        let host = match rest[..end].split_once('/') {
            Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => Some(0..first.len()),
            _ => None,
        };
        Self {
            path: host.as_ref().map_or(0, |h| h.end + 1)..end,
            host,
            end,
            tag: colon.map(|c| c + 1..rest.len()),
            digest: at.map(|a| a + 1..text.len()),
        }
    }
}
