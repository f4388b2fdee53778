//! An index with the indexes in it, read before anything of it is decided.
//!
//! What becomes of an entry may depend on any other one: an attestation may be listed before the index whose image it is
//! about, or one image in several indexes. So the indexes are read first, then all entries are judged, and only then the
//! documents are rewritten, from the inside out.

use std::collections::{BTreeSet, HashMap, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use palan_core::{Descriptor, Digest, Document, Platform, Role, view};

use super::about;
use crate::{
    Error,
    image::{self, MAX_DEPTH, too_deep},
    place::Source,
};

/// How many documents of one tree are read at the same time.
pub(crate) const AT_ONCE: usize = 8;

/// The indexes of a tree.
pub(crate) struct Tree {
    /// Each index once, however often it is listed; the root first.
    pub(crate) levels: Vec<Level>,
    /// What is listed, at any depth, by indexes that were not entered, by their digests.
    beyond: HashMap<Digest, HashSet<Digest>>,
}

/// One index.
pub(crate) struct Level {
    pub(crate) document: Document,
    pub(crate) view: view::Index,
    /// The entries that are indexes of this tree, as numbers of levels.
    pub(crate) inner: Vec<Option<usize>>,
    /// The first entry that lists it; none lists the root.
    pub(crate) above: Option<At>,
}

/// An entry: the number of the level, and its number in there.
pub(crate) type At = (usize, usize);

/// Something for each entry, in the order of [`Tree::levels`].
pub(crate) type PerEntry<T> = Vec<Vec<T>>;

/// Why an entry leaves its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// It was not chosen.
    Chosen,
    /// It is about this, which is not listed any more.
    About(Digest),
    /// It is an index of which nothing is left.
    Empty,
}

/// Whether an entry lists an index.
pub(crate) fn is_index(entry: &Descriptor) -> bool {
    entry.media_type.role() == Role::Index && !entry.is_attestation()
}

impl Tree {
    /// Reads an index and the indexes in it, several at the same time. `is_leaf` says which of them are not entered:
    /// what those list is known only as being there, and may be missing.
    pub(crate) async fn read(
        source: &dyn Source,
        root: &Document,
        is_leaf: impl Fn(&Descriptor) -> bool,
    ) -> Result<Self, Error> {
        let mut tree = Self { levels: vec![Level::of(source, root.clone(), None)?], beyond: HashMap::new() };
        let mut known = HashMap::from([(root.digest(), 0)]);
        let (mut wave, mut depth) = (0..1, 0);
        while !wave.is_empty() {
            depth += 1;
            let ahead = tree.ahead(wave, &is_leaf, &mut known);
            if let Some((entry, _)) = ahead.first().filter(|_| depth >= MAX_DEPTH) {
                return Err(too_deep(source, *entry));
            }
            let first = tree.levels.len();
            let read = stream::iter(ahead).map(|(digest, above)| async move {
                Level::of(source, source.document(&digest.into()).await?, Some(above))
            });
            tree.levels.extend(read.buffered(AT_ONCE).try_collect::<Vec<_>>().await?);
            wave = first..tree.levels.len();
        }
        for level in &mut tree.levels {
            let inner = level.view.manifests.iter();
            level.inner =
                inner.map(|e| known.get(&e.digest).copied().filter(|_| is_index(e) && !is_leaf(e))).collect();
        }
        let leaves = tree.all().map(|at| tree.entry(at)).filter(|e| is_index(e) && is_leaf(e));
        let leaves: BTreeSet<Digest> = leaves.map(|e| e.digest).collect();
        let listed = stream::iter(leaves)
            .map(|leaf| async move { Ok::<_, Error>((leaf, beyond(source, leaf).await?)) });
        tree.beyond = listed.buffered(AT_ONCE).try_collect::<HashMap<_, _>>().await?;
        Ok(tree)
    }

    /// The indexes that some levels list and that are not known yet, which are so from now on.
    fn ahead(
        &self,
        levels: std::ops::Range<usize>,
        is_leaf: impl Fn(&Descriptor) -> bool,
        known: &mut HashMap<Digest, usize>,
    ) -> Vec<(Digest, At)> {
        let mut out = Vec::new();
        for level in levels {
            for (number, entry) in self.levels[level].view.manifests.iter().enumerate() {
                if is_index(entry) && !is_leaf(entry) && !known.contains_key(&entry.digest) {
                    known.insert(entry.digest, self.levels.len() + out.len());
                    out.push((entry.digest, (level, number)));
                }
            }
        }
        out
    }

    /// All entries, level by level.
    pub(crate) fn all(&self) -> impl Iterator<Item = At> {
        let levels = self.levels.iter().enumerate();
        levels.flat_map(|(level, l)| (0..l.view.manifests.len()).map(move |number| (level, number)))
    }

    /// All entries as somebody comes by who enters each index where it is listed first.
    pub(crate) fn in_order(&self) -> Vec<At> {
        let (mut out, mut entered) = (Vec::new(), HashSet::from([0]));
        let mut ahead = vec![(0, 0)];
        while let Some((level, number)) = ahead.pop() {
            let Some(inner) = self.levels[level].inner.get(number) else { continue };
            out.push((level, number));
            ahead.push((level, number + 1));
            if let Some(inner) = inner.filter(|inner| entered.insert(*inner)) {
                ahead.push((inner, 0));
            }
        }
        out
    }

    pub(crate) fn entry(&self, (level, number): At) -> &Descriptor {
        &self.levels[level].view.manifests[number]
    }

    /// The digest of an entry and, where that is an index that was not entered, of what it lists.
    pub(crate) fn with_inside(&self, at: At) -> impl Iterator<Item = Digest> {
        let digest = self.entry(at).digest;
        std::iter::once(digest).chain(self.beyond.get(&digest).into_iter().flatten().copied())
    }

    /// The same for each entry.
    pub(crate) fn each<T>(&self, of: impl Fn(At) -> T) -> PerEntry<T> {
        let levels = self.levels.iter().enumerate();
        levels
            .map(|(level, l)| (0..l.view.manifests.len()).map(|number| of((level, number))).collect())
            .collect()
    }

    /// What is listed at any depth, if some entries are not. What an index lists that nothing lists is not listed.
    pub(crate) fn listed(&self, is_there: impl Fn(At) -> bool) -> HashSet<Digest> {
        let (mut out, mut entered, mut ahead) = (HashSet::new(), HashSet::from([0]), vec![0]);
        while let Some(level) = ahead.pop() {
            for (number, inner) in self.levels[level].inner.iter().enumerate() {
                let at = (level, number);
                if !is_there(at) {
                    continue;
                }
                match inner {
                    Some(inner) => {
                        out.insert(self.entry(at).digest);
                        ahead.extend(entered.insert(*inner).then_some(*inner));
                    }
                    None => out.extend(self.with_inside(at)),
                }
            }
        }
        out
    }

    /// What entries are about that are not images; reads those of which it must. Of others than these it is not asked.
    pub(crate) async fn abouts(
        &self,
        source: &dyn Source,
        is_asked: impl Fn(&Descriptor) -> bool,
    ) -> Result<PerEntry<Option<Digest>>, Error> {
        let unsaid = |e: &&Descriptor| is_asked(e) && e.attested_digest().is_none();
        let mut seen = HashSet::new();
        let ahead: Vec<&Descriptor> =
            self.all().map(|at| self.entry(at)).filter(unsaid).filter(|e| seen.insert(e.digest)).collect();
        let read = stream::iter(ahead).map(|e| async { Ok::<_, Error>((e.digest, about(source, e).await?)) });
        let read: HashMap<Digest, Option<Digest>> = read.buffered(AT_ONCE).try_collect().await?;
        Ok(self.each(|at| {
            let entry = Some(self.entry(at)).filter(|e| is_asked(e))?;
            entry.attested_digest().or_else(|| read.get(&entry.digest).copied().flatten())
        }))
    }

    /// The images, in order, with their platforms: as entries state them or, where they do not, as configs do.
    pub(crate) async fn platforms(&self, source: &dyn Source) -> Result<Vec<(At, Platform)>, Error> {
        let entered = |at: &At| self.levels[at.0].inner[at.1].is_some();
        let all: Vec<At> = self.in_order().into_iter().filter(|at| !entered(at)).collect();
        let read = stream::iter(all).map(|at| async move {
            let platform = image::entry_platform(source, self.entry(at)).await?;
            Ok::<_, Error>(platform.map(|platform| (at, platform)))
        });
        Ok(read.buffered(AT_ONCE).try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    /// Lets leave what cannot stay without what leaves already: entries about what nothing lists any more (nor `also`
    /// has), what is about those in turn, and indexes of which nothing is left.
    pub(crate) fn follow(
        &self,
        leaves: &mut PerEntry<Option<Leaves>>,
        abouts: &PerEntry<Option<Digest>>,
        also: &HashSet<Digest>,
    ) {
        let before = self.listed(|_| true);
        loop {
            let now = self.listed(|(level, number)| leaves[level][number].is_none());
            let is_gone =
                |about: &Digest| before.contains(about) && !now.contains(about) && !also.contains(about);
            let why = |at: At, leaves: &PerEntry<Option<Leaves>>| {
                if let Some(about) = abouts[at.0][at.1].filter(is_gone) {
                    return Some(Leaves::About(about));
                }
                let inner = &leaves[self.levels[at.0].inner[at.1]?];
                (!inner.is_empty() && inner.iter().all(Option::is_some)).then_some(Leaves::Empty)
            };
            let staying = self.all().filter(|at| leaves[at.0][at.1].is_none());
            let more: Vec<(At, Leaves)> = staying.filter_map(|at| Some((at, why(at, leaves)?))).collect();
            if more.is_empty() {
                return;
            }
            more.into_iter().for_each(|((level, number), why)| leaves[level][number] = Some(why));
        }
    }

    /// The levels in an order in which each comes after those that it lists, or has entries about.
    pub(crate) fn inside_out(&self, abouts: &PerEntry<Option<Digest>>) -> Vec<usize> {
        let numbers: HashMap<Digest, usize> =
            self.levels.iter().enumerate().map(|(n, level)| (level.document.digest(), n)).collect();
        let needs = |level: usize| -> HashSet<usize> {
            let about = abouts[level].iter().flatten().filter_map(|about| numbers.get(about).copied());
            let inner = self.levels[level].inner.iter().flatten().copied();
            about.chain(inner).filter(|other| *other != level).collect()
        };
        let mut needed: Vec<HashSet<usize>> = (0..self.levels.len()).map(needs).collect();
        let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); needed.len()];
        for (level, needs) in needed.iter().enumerate() {
            needs.iter().for_each(|other| needed_by[*other].push(level));
        }
        let mut ready: BTreeSet<usize> =
            (0..needed.len()).filter(|level| needed[*level].is_empty()).collect();
        let mut out = Vec::new();
        // The last one first, as it is the innermost.
        while let Some(level) = ready.pop_last() {
            out.push(level);
            for other in &needed_by[level] {
                needed[*other].remove(&level);
                if needed[*other].is_empty() {
                    ready.insert(*other);
                }
            }
        }
        out
    }
}

impl Level {
    fn of(source: &dyn Source, document: Document, above: Option<At>) -> Result<Self, Error> {
        let view: view::Index = image::parsed(source, &document)?;
        let inner = vec![None; view.manifests.len()];
        Ok(Self { document, view, inner, above })
    }
}

/// What an index lists that is not entered, at any depth.
async fn beyond(source: &dyn Source, index: Digest) -> Result<HashSet<Digest>, Error> {
    let (mut out, mut wave) = (HashSet::new(), vec![index]);
    for _ in 0..MAX_DEPTH {
        let read = stream::iter(std::mem::take(&mut wave)).map(|digest| async move {
            match source.document(&digest.into()).await {
                Ok(document) => Ok(image::parsed::<view::Index>(source, &document)?.manifests),
                Err(error) if error.is_not_found() => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        });
        let read: Vec<Vec<Descriptor>> = read.buffered(AT_ONCE).try_collect().await?;
        for entry in read.into_iter().flatten() {
            if out.insert(entry.digest) && is_index(&entry) {
                wave.push(entry.digest);
            }
        }
        if wave.is_empty() {
            return Ok(out);
        }
    }
    Err(too_deep(source, index))
}

#[cfg(test)]
mod tests;
