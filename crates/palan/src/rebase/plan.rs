//! Planning: everything is read and computed before anything is written.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::Arc,
};

use palan_core::{Bytes, Digest, Document, MediaType, PlatformPattern, Reference, Repository, Selector};

use super::{
    bases::Bases,
    policy::{Policy, Refuse},
    rebased::{Rebased, rebase},
    report::{Report, Verdict},
    statement,
    tree::Tree,
};
use crate::{
    Error,
    base::KnownBases,
    listings::Listings,
    place::{Location, Opened, Places, PutAs, Source},
    select::LayerSelector,
};

/// What is to be rebased.
#[derive(Clone, Debug)]
pub struct Request {
    /// The image: a single one or an index.
    pub image: Location,
    /// What it was built on.
    pub old_base: OldBase,
    /// What it shall stand on; `None`: what the name in its hints stands for now.
    pub new_base: Option<Location>,
    /// Where the result goes; `None`: where the image is, under the same tag.
    pub target: Option<Location>,
    /// Which platforms of an index; empty: all.
    pub platforms: Vec<PlatformPattern>,
    /// How to decide where there is a choice.
    pub policy: Policy,
    /// Attach a statement about the rebase to the result, as a referrer.
    pub attest: bool,
    /// What is known already; shared by requests, it is read once for all of them.
    pub knowledge: Knowledge,
}

/// What is known before a rebase is planned, and is learned while it is.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// What layers hold.
    pub listings: Arc<Listings>,
    /// Bases that may not be in any registry any more.
    pub bases: Option<Arc<KnownBases>>,
}

impl Request {
    /// Everything as it is by default.
    pub fn new(image: Location) -> Self {
        Self {
            image,
            old_base: OldBase::Find,
            new_base: None,
            target: None,
            platforms: Vec::new(),
            policy: Policy::default(),
            attest: false,
            knowledge: Knowledge::default(),
        }
    }
}

/// Which layers of an image are to be replaced.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum OldBase {
    /// Those of its base, which is to be found: by what the image says of it, by attestations, by its layers.
    #[default]
    Find,
    /// The same; but for images whose manifests have these digests, bases with these names and digests that were found
    /// before, as far as they are there. Then nothing else has to be known of them.
    Found(BTreeMap<Digest, Reference>),
    /// Those of this image.
    Image(Location),
    /// All up to this one, or up to the last of these.
    Boundary(LayerSelector),
    /// These, somewhere in the middle: those below stay. They are replaced by the layers of the new image or, if that
    /// stands on the layers that stay, by what it adds to them.
    Layers(LayerSelector),
}

/// A rebase, computed and not yet done.
pub struct Plan {
    pub(super) source: Arc<dyn Source>,
    /// The layers of the new bases, and where they are.
    pub(super) new_layers: Vec<(Arc<dyn Source>, HashSet<Digest>)>,
    /// The layers that the images have already.
    pub(super) own_layers: HashSet<Digest>,
    /// New manifests and indexes.
    pub(super) documents: Vec<Document>,
    /// New configs.
    pub(super) configs: Vec<Document>,
    /// Manifests that refer to new ones, and what they need that is new.
    pub(super) referrers: Vec<Document>,
    pub(super) blobs: Vec<(MediaType, Bytes)>,
    pub(super) root: Document,
    pub(super) target: Location,
    pub(super) role: PutAs,
    refuse: Refuse,
    report: Report,
}

impl Plan {
    /// The plan as data.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Whether nothing would change: the result stands at the target already.
    pub fn is_noop(&self) -> bool {
        self.report.noop
    }

    /// Whether the result is worth so little that [`apply`](super::apply()) will not write it.
    pub fn is_refused(&self) -> bool {
        !self.report.noop && self.refuse.concerns(self.report.verdict)
    }

    /// Digest of the result.
    pub fn digest(&self) -> Digest {
        self.root.digest()
    }

    /// What is done, as an in-toto statement (JSON, Statement v1) of the type [`PREDICATE_TYPE`]: what to sign.
    ///
    /// [`PREDICATE_TYPE`]: super::PREDICATE_TYPE
    pub fn statement(&self) -> String {
        statement::statement(&self.report).to_string()
    }

    /// Attaches the statement to the result, as a referrer that is written after it.
    fn attest(&mut self) -> Result<(), Error> {
        let (referrer, blobs) = statement::referrer(&self.report, &self.root)?;
        self.referrers.push(referrer);
        self.blobs.extend(blobs);
        Ok(())
    }

    /// Where the result goes.
    pub fn target(&self) -> &Location {
        &self.target
    }

    /// The same, with the result going to a repository in this role: to a tag, or by its digest.
    #[must_use]
    pub fn to(self, repository: &Repository, role: PutAs) -> Self {
        let digest = self.digest();
        let selector = role.tag().map_or(Selector::Digest(digest), |tag| Selector::Tag(tag.to_owned()));
        let target = Location::Registry(repository.at(&selector));
        let report = Report { target: target.to_string(), ..self.report };
        Self { target, role, report, ..self }
    }

    /// What is new and not a layer: indexes, manifests and configs.
    pub fn new_documents(&self) -> impl Iterator<Item = &Document> {
        self.documents.iter().chain(&self.configs)
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("report", &self.report).finish_non_exhaustive()
    }
}

/// Reads the image and both bases and computes the result. Writes nothing.
pub async fn plan(places: &Places, request: &Request) -> Result<Plan, Error> {
    let opened = places.source_for(&request.image, request.target.as_ref().unwrap_or(&request.image))?;
    let standing = async { Ok(standing(places, request).await) };
    let (tree, bases, standing) =
        tokio::try_join!(Tree::read(&opened, &request.platforms), Bases::given(places, request), standing,)?;
    // Now that everything is open that will be read.
    places.check_target(request.target.as_ref().unwrap_or(&request.image))?;
    let rebased = rebase(tree, &bases, request).await?;
    let destination = Destination::of(request, &opened, &rebased).await?;
    let mut plan = rebased.into_plan(request, opened, destination, standing);
    if request.attest {
        plan.attest()?;
    }
    Ok(plan)
}

/// What stands at a target that is not the image itself, where that is easy to tell.
async fn standing(places: &Places, request: &Request) -> Option<Digest> {
    let target = request.target.as_ref().filter(|target| **target != request.image)?;
    let selector @ Selector::Tag(_) = target.selector()? else { return None };
    match target {
        Location::Archive { .. } => None,
        _ => Some(places.standing(target).ok()?.place.resolve(&selector).await.ok()?.digest),
    }
}

/// Where the result goes.
struct Destination {
    role: PutAs,
    /// Whether that is where the image itself stands.
    in_place: bool,
}

impl Destination {
    async fn of(request: &Request, opened: &Opened<dyn Source>, rebased: &Rebased) -> Result<Self, Error> {
        let target = request.target.as_ref().unwrap_or(&request.image);
        let in_place = *target == request.image;
        let tag = match target.selector() {
            None if in_place => only_tag(opened, rebased.old).await?.map(Selector::Tag),
            selector => selector,
        };
        let role = match tag {
            Some(Selector::Tag(tag)) if in_place => PutAs::Replace { tag, expected: rebased.old },
            // An image that was given by digest stays, and the result stands beside it.
            _ if in_place => PutAs::Root,
            _ => PutAs::at(target, rebased.root.digest())?,
        };
        Ok(Self { role, in_place })
    }
}

/// The tag of an image that was given without one, being the only image of its place.
async fn only_tag(opened: &Opened<dyn Source>, digest: Digest) -> Result<Option<String>, Error> {
    let tags = opened.place.tags().await?;
    let [tag] = tags.as_slice() else { return Ok(None) };
    let found = opened.place.resolve(&Selector::Tag(tag.clone())).await?;
    Ok((found.digest == digest).then(|| tag.clone()))
}

impl Rebased {
    fn into_plan(
        self,
        request: &Request,
        opened: Opened<dyn Source>,
        destination: Destination,
        standing: Option<Digest>,
    ) -> Plan {
        let target = request.target.clone().unwrap_or_else(|| request.image.clone());
        let standing = if destination.in_place { Some(self.old) } else { standing };
        let report = Report {
            image: request.image.to_string(),
            digest: self.old,
            target: target.to_string(),
            new_digest: self.root.digest(),
            noop: standing == Some(self.root.digest()),
            verdict: Verdict::of_all(self.platforms.iter().map(|p| p.verdict)),
            platforms: self.platforms,
            findings: self.findings,
        };
        Plan {
            source: opened.place,
            new_layers: self.new_layers,
            own_layers: self.own_layers,
            documents: self.documents,
            configs: self.configs,
            referrers: self.referrers,
            blobs: Vec::new(),
            root: self.root,
            target,
            role: destination.role,
            refuse: request.policy.refuse,
            report,
        }
    }
}
