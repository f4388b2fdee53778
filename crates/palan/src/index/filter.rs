//! Filter: take images out of an index, with what is about them.

use std::collections::HashSet;

use futures_util::future::BoxFuture;
use palan_core::{Descriptor, Digest, Document, Kind, Platform, PlatformPattern, Role, view};
use serde_json::Value;

use super::{Replaced, followers, point_to, subjects};
use crate::{
    Error,
    image::{self, MAX_DEPTH, too_deep},
    place::{Location, Places, Source},
    rewrite::{self, Attestations, Plan, Rewritten, Subject},
};

/// What to take out of which index.
#[derive(Clone, Debug)]
pub struct Request {
    /// The index.
    pub index: Location,
    /// What stays.
    pub selection: Selection,
    /// Where the result goes; `None`: as [`Subject::target`] says.
    pub target: Option<Location>,
}

/// What stays in an index. What is about an image (attestations, signatures) goes where the image goes; other entries
/// without a platform stay.
#[derive(Clone, Debug)]
pub enum Selection {
    /// The images that one of the patterns matches, at any depth.
    Keep(Vec<PlatformPattern>),
    /// Everything but entries of these digests and images that one of the patterns matches.
    Remove {
        /// Digests of entries, at any depth.
        digests: Vec<Digest>,
        /// Platforms.
        platforms: Vec<PlatformPattern>,
    },
}

/// Reads the index, and configs where it does not say what images are for; writes nothing.
///
/// Never makes an empty index: fails with [`Error::NoPlatform`] where no image would stay because none matches, with
/// [`Error::NothingLeft`] where all were to be removed. What is to be removed must be there.
pub async fn plan(places: &Places, request: Request) -> Result<Plan, Error> {
    let (opened, root) = rewrite::opened_to_change(places, &request.index, request.target.as_ref()).await?;
    let source = opened.place;
    if root.kind() != Kind::Index {
        return Err(super::not_an_index(source.as_ref(), &root));
    }
    let mut walk = Walk::new(source.as_ref(), &request.selection);
    let new = walk.index(&root, 0).await?;
    walk.check(&root)?;
    let (documents, notes) = (walk.documents, walk.notes);
    let Some(new) = new else { return Err(Error::NothingLeft { image: request.index.to_string() }) };
    let rewritten = Rewritten { documents, ..Rewritten::new(new, notes) };
    let attestations = Attestations::default();
    let subject =
        Subject { image: request.index, platforms: Vec::new(), target: request.target, attestations };
    Plan::new(&subject, root.digest(), rewritten, source)
}

struct Walk<'a> {
    source: &'a dyn Source,
    selection: &'a Selection,
    /// Platforms that were seen.
    found: Vec<Platform>,
    /// Digests that were seen.
    seen: HashSet<Digest>,
    removed: HashSet<Digest>,
    /// Images that are kept for some platform.
    stays: HashSet<Digest>,
    kept: usize,
    /// Inner indexes that changed.
    documents: Vec<Document>,
    notes: Vec<String>,
}

impl<'a> Walk<'a> {
    fn new(source: &'a dyn Source, selection: &'a Selection) -> Self {
        Self {
            source,
            selection,
            found: Vec::new(),
            seen: HashSet::new(),
            removed: HashSet::new(),
            stays: HashSet::new(),
            kept: 0,
            documents: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn keeps(&self, platform: &Platform) -> bool {
        let any = |patterns: &[PlatformPattern]| patterns.iter().any(|p| p.matches(platform));
        match self.selection {
            Selection::Keep(platforms) => any(platforms),
            Selection::Remove { platforms, .. } => !any(platforms),
        }
    }

    fn is_named(&self, digest: Digest) -> bool {
        matches!(self.selection, Selection::Remove { digests, .. } if digests.contains(&digest))
    }

    /// What is left of an index; `None`: nothing.
    fn index<'b>(
        &'b mut self,
        document: &'b Document,
        depth: usize,
    ) -> BoxFuture<'b, Result<Option<Document>, Error>> {
        Box::pin(async move {
            if depth >= MAX_DEPTH {
                return Err(too_deep(self.source, document.digest()));
            }
            let index: view::Index = image::parsed(self.source, document)?;
            let mut replaced = Replaced::new();
            let (mut others, mut kept) = (Vec::new(), Vec::new());
            for entry in &index.manifests {
                self.seen.insert(entry.digest);
                if self.is_named(entry.digest) {
                    self.removed.insert(entry.digest);
                    kept.push(false);
                    continue;
                }
                let decided = self.entry(entry, depth, &mut replaced).await?;
                if decided.is_none() {
                    others.push(entry);
                }
                kept.push(decided.unwrap_or(true));
            }
            // One image may be listed for several platforms.
            self.removed.retain(|digest| !self.stays.contains(digest));
            self.follow(&others, &replaced).await?;
            let edited = document.edit(|json| {
                let Some(entries) = json.get_mut("manifests").and_then(Value::as_array_mut) else { return };
                let mut listed = index.manifests.iter().zip(kept);
                entries.retain_mut(|json| {
                    let Some((entry, kept)) = listed.next() else { return true };
                    if let Some(new) = replaced.get(&entry.digest) {
                        point_to(json, new);
                    }
                    kept && !self.removed.contains(&entry.digest)
                });
            })?;
            let left = edited.view::<view::Index>()?.manifests.len();
            Ok((left > 0 || index.manifests.is_empty()).then_some(edited))
        })
    }

    /// Whether an image or an inner index is kept; `None`: it is neither.
    async fn entry(
        &mut self,
        entry: &Descriptor,
        depth: usize,
        replaced: &mut Replaced,
    ) -> Result<Option<bool>, Error> {
        if entry.platform.is_none() && entry.media_type.role() == Role::Index {
            let inner = self.source.document(&entry.digest.into()).await?;
            match self.index(&inner, depth + 1).await? {
                Some(new) if new.digest() != entry.digest => {
                    self.documents.push(new.clone());
                    replaced.insert(entry.digest, new);
                }
                Some(_) => {}
                None => {
                    self.removed.insert(entry.digest);
                    return Ok(Some(false));
                }
            }
            return Ok(Some(true));
        }
        let Some(platform) = image::entry_platform(self.source, entry).await? else { return Ok(None) };
        let kept = self.keeps(&platform);
        if kept {
            self.kept += 1;
            self.stays.insert(entry.digest);
        } else {
            self.removed.insert(entry.digest);
        }
        self.found.push(platform);
        Ok(Some(kept))
    }

    /// Decides over entries that are not images: they follow what they are about.
    async fn follow(&mut self, others: &[&Descriptor], replaced: &Replaced) -> Result<(), Error> {
        let subjects = subjects(self.source, others).await?;
        for (digest, about) in followers(others, &subjects, &self.removed) {
            self.notes.push(format!("the entry {digest} is about {about}, which is left out: left out too"));
            self.removed.insert(digest);
        }
        for entry in others.iter().filter(|entry| !self.removed.contains(&entry.digest)) {
            match subjects.get(&entry.digest) {
                Some(about) if replaced.contains_key(about) => {
                    self.notes
                        .push(format!("the entry {} is about {about}, which changes: kept", entry.digest));
                }
                None if matches!(self.selection, Selection::Keep(_)) => {
                    self.notes.push(format!("the entry {} is for no platform: kept", entry.digest));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check(&mut self, root: &Document) -> Result<(), Error> {
        let image = || format!("{}@{}", self.source.name(), root.digest());
        let unmatched = |p: &&PlatformPattern| !self.found.iter().any(|found| p.matches(found));
        let no_platform =
            |wanted: String| Error::NoPlatform { image: image(), wanted, found: self.found.clone() };
        match self.selection {
            Selection::Keep(platforms) if self.kept == 0 => {
                let wanted: Vec<String> = platforms.iter().map(ToString::to_string).collect();
                Err(no_platform(wanted.join(", ")))
            }
            Selection::Keep(platforms) => {
                let missing =
                    platforms.iter().filter(unmatched).map(|p| format!("there is no image for {p}"));
                self.notes.extend(missing.collect::<Vec<_>>());
                Ok(())
            }
            Selection::Remove { digests, platforms } => {
                if let Some(wanted) = platforms.iter().find(unmatched) {
                    return Err(no_platform(wanted.to_string()));
                }
                match digests.iter().find(|digest| !self.seen.contains(digest)) {
                    Some(digest) => Err(Error::NotFound { name: digest.to_string(), place: image() }),
                    None => Ok(()),
                }
            }
        }
    }
}
