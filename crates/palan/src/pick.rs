//! Pick: copy chosen layers of one image, with their history, on top of another.
//!
//! The target image may be an index: every image of it, or the chosen ones inside it, gets the layers of the source's
//! image for the same platform. Layers are mounted, linked or streamed when the result is written, and read once for
//! the verdict. Like a rebase, a pick is a [`Plan`] before it has any effect, and judged as one: the layers go from what
//! they were made on to another base.

mod content;

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use palan_core::{Descriptor, Digest, Platform, PlatformPattern, Role};
use serde::Serialize;
use serde_json::{Value, json};

use self::content::Look;
use crate::{
    Error,
    copy::{self, Options, Summary},
    grow::{self, Grow, Layers, Top},
    image::Image,
    listings::Listings,
    place::{Location, Overlay, Places, PutAs, Source},
    rebase::{Check, Finding, FindingKind, Refuse, Verdict, base::Base},
    rewrite::{Attestations, Rewritten, rewrite},
    select::{self, LayerSelector, resolve_all},
    verdict::Assessment,
};

/// What is to be picked.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where the layers are: an image or an index.
    pub source: Location,
    /// Which layers; the one that is named first comes lowest.
    pub layers: Vec<LayerSelector>,
    /// The image or index to put them on.
    pub onto: Location,
    /// Where the result goes.
    pub target: Location,
    /// Which platforms of an index; empty: all.
    pub platforms: Vec<PlatformPattern>,
    /// Whether layers of a single image may go onto images for other platforms.
    pub any_platform: bool,
    /// How closely the result is looked at: without [`Check::Content`] there is no verdict.
    pub check: Check,
    /// When a plan is not applied.
    pub refuse: Refuse,
    /// What layers hold, as far as it is known; shared by requests, each layer is read once for all of them.
    pub listings: Arc<Listings>,
}

impl Request {
    /// All platforms, looked at closely.
    pub fn new(source: Location, layers: Vec<LayerSelector>, onto: Location, target: Location) -> Self {
        Self {
            source,
            layers,
            onto,
            target,
            platforms: Vec::new(),
            any_platform: false,
            check: Check::default(),
            refuse: Refuse::default(),
            listings: Arc::default(),
        }
    }
}

/// A pick, computed and not yet done.
pub struct Plan {
    /// Where the image is that gets the layers.
    onto: Arc<dyn Source>,
    /// Where the picked layers are.
    source: Arc<dyn Source>,
    picked: HashSet<Digest>,
    grown: Rewritten,
    target: Location,
    role: PutAs,
    refuse: Refuse,
    report: Report,
}

/// A plan as data, for people and machines. Field names are part of palan's interface.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The image that gets the layers, as it was named.
    pub image: String,
    /// Its digest, of a manifest or an index.
    pub digest: Digest,
    /// The image that has the layers, as it was named.
    pub source: String,
    /// Its digest, of a manifest or an index.
    pub source_digest: Digest,
    /// Where the result goes.
    pub target: String,
    /// Digest of the result.
    pub new_digest: Digest,
    /// Whether the result can be expected to work.
    pub verdict: Verdict,
    /// One entry per image that gets layers, in the order of the index.
    pub platforms: Vec<PlatformReport>,
    /// What is worth knowing.
    pub findings: Vec<Finding>,
}

/// What one platform's image gets.
#[derive(Clone, Debug, Serialize)]
pub struct PlatformReport {
    /// The platform.
    pub platform: String,
    /// Digest of the image's manifest.
    pub digest: Digest,
    /// Digest of the new manifest.
    pub new_digest: Digest,
    /// Digest of the manifest that has the layers.
    pub source_digest: Digest,
    /// How many layers the image has beneath.
    pub own_layers: usize,
    /// The layers that it gets, lowest first.
    pub layers: Vec<LayerReport>,
    /// How much of a rebuild the result is: of running the layers' build steps on this image.
    pub verdict: Verdict,
    /// What a look at the files found; `None`: nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assessment: Option<Assessment>,
}

/// A layer that is picked.
#[derive(Clone, Debug, Serialize)]
pub struct LayerReport {
    /// Its number in the source, counted from 1.
    pub number: usize,
    /// Its digest, as stored.
    pub digest: Digest,
    /// Digest of the uncompressed layer.
    pub diff_id: Digest,
    /// Its size as stored, in bytes.
    pub size: u64,
    /// The command that made it; unknown where the history does not fit the layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
}

/// What applying a plan did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Digest of the result.
    pub digest: Digest,
    /// What moved.
    pub summary: Summary,
}

impl Plan {
    /// The plan as data.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Whether the result is worth so little that [`apply`] will not write it.
    pub fn is_refused(&self) -> bool {
        self.refuse.concerns(self.report.verdict)
    }

    /// Where the result goes.
    pub fn target(&self) -> &Location {
        &self.target
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("report", &self.report).finish_non_exhaustive()
    }
}

/// Reads both images and computes the result. Writes nothing.
///
/// Fails where a selector does not mean layers of the source ([`Error::Unresolved`]), where the source has no image for
/// a platform ([`Error::NoPlatform`], [`Error::WrongPlatform`]), and where the family of the image has no media type
/// for a layer ([`Error::Family`]).
pub async fn plan(places: &Places, request: &Request) -> Result<Plan, Error> {
    let (from, onto) =
        (places.source(&request.source)?, places.to_change(&request.onto, Some(&request.target))?);
    let root = async { onto.place.document(onto.chosen()?).await };
    let reference = request.source.reference().cloned();
    let (root, source) = tokio::try_join!(root, Base::read(&from, reference, Arc::default()))?;
    places.check_target(&request.target)?;
    let old = root.digest();
    let picker = Picker { request, source: &source, found: Mutex::default() };
    let grown =
        rewrite(onto.place.as_ref(), root, &request.platforms, Attestations::Drop, &Grow(&picker)).await?;
    let mut found = picker.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    if request.check == Check::Content {
        let look = Look { onto: onto.place.as_ref(), source: &source, request };
        look.at(&mut found, &grown.configs).await?;
    }
    let role = match PutAs::at(&request.target, grown.root.digest())? {
        PutAs::Tag(tag) if request.target == request.onto => PutAs::Replace { tag, expected: old },
        role => role,
    };
    Ok(Plan {
        picked: found.picked.difference(&found.own).copied().collect(),
        target: request.target.clone(),
        role,
        refuse: request.refuse,
        report: report(request, old, &source, &grown, found),
        grown,
        onto: onto.place,
        source: source.source,
    })
}

fn report(request: &Request, old: Digest, source: &Base, grown: &Rewritten, found: Found) -> Report {
    let Found { mut platforms, mut findings, .. } = found;
    for (platform, (_, new)) in platforms.iter_mut().zip(&grown.images) {
        platform.new_digest = *new;
    }
    let dropped =
        |text: &String| Finding { kind: FindingKind::AttestationDropped, platform: None, text: text.clone() };
    findings.extend(grown.notes.iter().map(dropped));
    Report {
        image: request.onto.to_string(),
        digest: old,
        source: request.source.to_string(),
        source_digest: source.root.digest(),
        target: request.target.to_string(),
        new_digest: grown.root.digest(),
        verdict: Verdict::of_all(platforms.iter().map(|p| p.verdict)),
        platforms,
        findings,
    }
}

/// Writes a plan's result: the picked layers are adopted, then configs, manifests, an index, and last the tag.
///
/// Fails with [`Error::Refused`], nothing written, when the verdict is one that the request refuses, and with
/// [`Error::Moved`], the tag untouched, when the tag of the image itself was to be replaced and is not what the plan was
/// made for any more.
pub async fn apply(places: &Places, plan: &Plan, options: &Options) -> Result<Outcome, Error> {
    if plan.is_refused() {
        let (image, verdict) = (plan.report.image.clone(), plan.report.verdict.to_string());
        return Err(Error::Refused { image, verdict });
    }
    let target = places.target(&plan.target)?.place;
    let mut overlay = Overlay::new(plan.grown.memory(), Arc::clone(&plan.onto));
    overlay.route(plan.picked.iter().copied(), Arc::clone(&plan.source));
    let overlay: Arc<dyn Source> = Arc::new(overlay);
    let summary =
        copy::copy(&overlay, &target, vec![(plan.grown.root.clone(), plan.role.clone())], options).await?;
    target.finish().await?;
    Ok(Outcome { digest: plan.grown.root.digest(), summary })
}

struct Picker<'a> {
    request: &'a Request,
    source: &'a Base,
    found: Mutex<Found>,
}

/// What was found while images were looked at.
#[derive(Default)]
struct Found {
    platforms: Vec<PlatformReport>,
    findings: Vec<Finding>,
    pairs: Vec<Pair>,
    picked: HashSet<Digest>,
    /// Layers that the images have already.
    own: HashSet<Digest>,
}

/// Two images of a platform, and what goes from one to the other.
struct Pair {
    onto: Image,
    source: Arc<Image>,
    /// Numbers of the source's layers, from 0, as they will lie.
    chosen: Vec<usize>,
}

#[async_trait]
impl Layers for Picker<'_> {
    async fn on(&self, image: &Image, platform: &Platform) -> Result<Vec<Top>, Error> {
        let (source, made_for) = self.source.image(platform).await?;
        let other = !made_for.same_machine(platform);
        if other && !self.request.any_platform {
            let (image, wanted) = (self.source.name(), platform.to_string());
            return Err(Error::WrongPlatform { image, wanted, found: made_for });
        }
        let chosen = resolve_all(&self.request.layers, &source)?;
        let tops = tops(image, &source, &chosen)?;
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let mut say = |kind, text| {
            found.findings.push(Finding { kind, platform: Some(platform.to_string()), text });
        };
        if other {
            say(FindingKind::OtherPlatform, format!("the layers were made for {made_for}"));
        }
        findings(image, &source, &chosen, say);
        let layers = chosen.iter().map(|at| layer_report(&source, *at)).collect::<Vec<_>>();
        found.picked.extend(layers.iter().map(|layer| layer.digest));
        found.own.extend(image.manifest_view.layers.iter().map(|layer| layer.digest));
        found.platforms.push(PlatformReport {
            platform: platform.to_string(),
            digest: image.manifest.digest(),
            new_digest: image.manifest.digest(),
            source_digest: source.manifest.digest(),
            own_layers: image.manifest_view.layers.len(),
            layers,
            verdict: Verdict::NotAssessed,
            assessment: None,
        });
        found.pairs.push(Pair { onto: image.clone(), source, chosen });
        Ok(tops)
    }
}

/// The chosen layers as they stand in the source, in the image's family.
fn tops(image: &Image, source: &Image, chosen: &[usize]) -> Result<Vec<Top>, Error> {
    let (manifest, config) = (source.manifest.object()?, source.config.object()?);
    let entry =
        |object: &serde_json::Map<String, Value>, list: &str, at: usize| object.get(list)?.get(at).cloned();
    let history = select::history(source);
    let family = image.manifest.family();
    let top = |at: &usize| {
        let (layer, diff_id) = (&source.manifest_view.layers[*at], source.config_view.rootfs.diff_ids[*at]);
        let media_type = grow::in_family(layer, family).ok_or_else(|| Error::Family {
            image: image.name.clone(),
            family,
            layer: layer.digest,
            media_type: layer.media_type.to_string(),
        })?;
        let mut descriptor = entry(&manifest, "layers", *at).unwrap_or_else(|| json!(layer));
        descriptor["mediaType"] = json!(media_type);
        let told = history.as_ref().and_then(|history| entry(&config, "history", *history.get(*at)?));
        let history = told.unwrap_or_else(|| json!({"created_by": format!("palan layers pick {diff_id}")}));
        Ok(Top { descriptor, diff_id, history })
    };
    chosen.iter().map(top).collect()
}

fn findings(image: &Image, source: &Image, chosen: &[usize], mut say: impl FnMut(FindingKind, String)) {
    if select::history(source).is_none() {
        let text = "the history of the layers' image does not fit its layers: theirs is written anew";
        say(FindingKind::History, text.to_owned());
    }
    if !grow::history_is_whole(image) {
        let text = "the image's history does not fit its layers: it is not continued";
        say(FindingKind::History, text.to_owned());
    }
    let is_foreign = |l: &Descriptor| matches!(l.media_type.role(), Role::Layer { foreign: true, .. });
    for at in chosen {
        let diff_id = source.config_view.rootfs.diff_ids[*at];
        if let Some(own) = image.config_view.rootfs.diff_ids.iter().position(|own| *own == diff_id) {
            let text = format!("layer {} is in the image already, as its layer {}", at + 1, own + 1);
            say(FindingKind::LayerRepeated, text);
        }
        if is_foreign(&source.manifest_view.layers[*at]) {
            let text = format!("layer {} is not distributable: its descriptor is carried", at + 1);
            say(FindingKind::Foreign, text);
        }
    }
}

fn layer_report(source: &Image, at: usize) -> LayerReport {
    let layer = &source.manifest_view.layers[at];
    let entry = select::history(source).and_then(|history| source.config_view.history.get(*history.get(at)?));
    LayerReport {
        number: at + 1,
        digest: layer.digest,
        diff_id: source.config_view.rootfs.diff_ids[at],
        size: layer.size,
        created_by: entry.and_then(|entry| entry.created_by.clone()),
    }
}
