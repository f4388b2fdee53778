//! Filter: take images out of an index, with what is about them.

use std::collections::{HashMap, HashSet};

use palan_core::{Descriptor, Digest, Document, Kind, Platform, PlatformPattern};
use serde_json::Value;

use super::{
    Replaced, point_to,
    tree::{At, Leaves, Level, PerEntry, Tree},
};
use crate::{
    Error,
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
    let old = root.digest();
    let sorted = Sorted::read(source.as_ref(), &root, &request.selection).await?;
    let Some(rewritten) = sorted.rewritten(root)? else {
        return Err(Error::NothingLeft { image: request.index.to_string() });
    };
    let attestations = Attestations::default();
    let subject =
        Subject { image: request.index, platforms: Vec::new(), target: request.target, attestations };
    Plan::new(&subject, old, rewritten, source)
}

/// A tree, and what leaves it.
struct Sorted {
    tree: Tree,
    abouts: PerEntry<Option<Digest>>,
    leaves: PerEntry<Option<Leaves>>,
    notes: Vec<String>,
}

impl Sorted {
    async fn read(source: &dyn Source, root: &Document, selection: &Selection) -> Result<Self, Error> {
        // An index that is for a platform is chosen as an image is.
        let tree = Tree::read(source, root, |entry| entry.platform.is_some()).await?;
        let images = tree.platforms(source).await?;
        let mut notes = check(source, &tree, &images, selection)?;
        let images: HashMap<At, Platform> = images.into_iter().collect();
        let mut leaves = tree.each(|at| {
            let stays = selection.keeps(tree.entry(at), images.get(&at));
            (!stays).then_some(Leaves::Chosen)
        });
        let is_other = |at: At| !images.contains_key(&at) && tree.levels[at.0].inner[at.1].is_none();
        let others: HashSet<Digest> =
            tree.all().filter(|at| is_other(*at)).map(|at| tree.entry(at).digest).collect();
        let abouts = tree.abouts(source, |entry| others.contains(&entry.digest)).await?;
        tree.follow(&mut leaves, &abouts, &HashSet::new());
        for at in tree.in_order() {
            let (entry, leaves) = (tree.entry(at).digest, leaves[at.0][at.1]);
            if let Some(Leaves::About(about)) = leaves {
                notes.push(format!("the entry {entry} is about {about}, which is left out: left out too"));
            }
            let unsaid = is_other(at) && abouts[at.0][at.1].is_none() && leaves.is_none();
            if unsaid && matches!(selection, Selection::Keep(_)) {
                notes.push(format!("the entry {entry} is for no platform: kept"));
            }
        }
        Ok(Self { tree, abouts, leaves, notes })
    }

    /// The documents without what leaves them; `None`: nothing is left.
    fn rewritten(mut self, root: Document) -> Result<Option<Rewritten>, Error> {
        let mut replaced = Replaced::new();
        let mut documents = Vec::new();
        for level in self.tree.inside_out(&self.abouts) {
            let (old, new) = (&self.tree.levels[level].document, self.level(level, &replaced)?);
            let stays = self.leaves[level].iter().any(Option::is_none);
            if level == 0 && !stays && !self.leaves[level].is_empty() {
                return Ok(None);
            }
            if new.digest() != old.digest() {
                documents.extend((level > 0 && stays).then(|| new.clone()));
                replaced.insert(old.digest(), new);
            }
        }
        self.say_changed(&replaced);
        let root = replaced.remove(&root.digest()).unwrap_or(root);
        Ok(Some(Rewritten { documents, ..Rewritten::new(root, self.notes) }))
    }

    fn level(&self, level: usize, replaced: &Replaced) -> Result<Document, Error> {
        let Level { document, view, inner, .. } = &self.tree.levels[level];
        Ok(document.edit(|json| {
            let Some(entries) = json.get_mut("manifests").and_then(Value::as_array_mut) else { return };
            let mut listed = view.manifests.iter().zip(inner).zip(&self.leaves[level]);
            entries.retain_mut(|json| {
                let Some(((entry, inner), leaves)) = listed.next() else { return true };
                if let (Some(new), Some(_)) = (replaced.get(&entry.digest), inner) {
                    point_to(json, new);
                }
                leaves.is_none()
            });
        })?)
    }

    /// Tells of what stays though the index that it is about becomes another one.
    fn say_changed(&mut self, replaced: &Replaced) {
        for at in self.tree.in_order() {
            let about = self.abouts[at.0][at.1].filter(|about| replaced.contains_key(about));
            if let (Some(about), None) = (about, self.leaves[at.0][at.1]) {
                let entry = self.tree.entry(at).digest;
                self.notes.push(format!("the entry {entry} is about {about}, which changes: kept"));
            }
        }
    }
}

impl Selection {
    /// Whether an entry stays, as far as it itself is asked. `platform`: of an image.
    fn keeps(&self, entry: &Descriptor, platform: Option<&Platform>) -> bool {
        let matches =
            |patterns: &[PlatformPattern]| platform.map(|found| patterns.iter().any(|p| p.matches(found)));
        match self {
            Self::Keep(platforms) => matches(platforms).unwrap_or(true),
            Self::Remove { digests, platforms } => {
                !digests.contains(&entry.digest) && !matches(platforms).unwrap_or(false)
            }
        }
    }
}

/// Whether what was asked for is there; what of it is not, where that is no error.
fn check(
    source: &dyn Source,
    tree: &Tree,
    images: &[(At, Platform)],
    selection: &Selection,
) -> Result<Vec<String>, Error> {
    let image = || format!("{}@{}", source.name(), tree.levels[0].document.digest());
    let unmatched = |p: &&PlatformPattern| !images.iter().any(|(_, found)| p.matches(found));
    let found = || images.iter().map(|(_, platform)| platform.clone()).collect();
    let no_platform = |wanted: String| Error::NoPlatform { image: image(), wanted, found: found() };
    match selection {
        Selection::Keep(wanted) => {
            let missing: Vec<&PlatformPattern> = wanted.iter().filter(unmatched).collect();
            if missing.len() == wanted.len() {
                let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
                return Err(no_platform(wanted.join(", ")));
            }
            Ok(missing.into_iter().map(|p| format!("there is no image for {p}")).collect())
        }
        Selection::Remove { digests, platforms } => {
            if let Some(wanted) = platforms.iter().find(unmatched) {
                return Err(no_platform(wanted.to_string()));
            }
            let is_missing = |digest: &&Digest| !tree.all().any(|at| tree.entry(at).digest == **digest);
            match digests.iter().find(is_missing) {
                Some(digest) => Err(Error::NotFound { name: digest.to_string(), place: image() }),
                None => Ok(Vec::new()),
            }
        }
    }
}
