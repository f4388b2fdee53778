//! Append: add layers on top of an image, or start one.

mod layers;
mod windows;

use std::sync::Arc;

use async_trait::async_trait;
use palan_core::{Compression, Digest, Document, Family, MediaType, Platform, PlatformPattern, annotation};
use palan_layer::{Level, Limits};
use serde_json::{Map, Value, json};

use self::layers::Packed;
pub(crate) use self::layers::{How, Stack, pack_all};
pub use self::layers::{LayerContent, LayerSource};
use crate::{
    Error,
    convert::{self, Form},
    copy::Options,
    grow::{self, Grow, Layers, Top},
    history,
    image::Image,
    place::{Location, Places, Source},
    rewrite::{self, Attestations, Outcome, Plan, Rewritten, Subject, rewrite},
};

/// How hard layers are compressed where nobody says: who appends, in a script that used crane, waits for it, and crane
/// compresses at the quickest level. Images that are to be small are flattened or converted.
pub const LEVEL: Level = Level::QUICK;

/// What to append, and to what.
pub struct Request {
    /// The image to append to; `None`: an empty one.
    pub base: Option<Location>,
    /// The layers, lowest first.
    pub layers: Vec<LayerSource>,
    /// Where the result goes.
    pub target: Location,
    /// Which platforms of a base index; empty: all. For an empty base: its platform, by default `linux/amd64`.
    pub platforms: Vec<PlatformPattern>,
    /// Which platform an empty base is for.
    pub empty_platform: Platform,
    /// How layers are compressed that come uncompressed.
    pub compression: Compression,
    /// How hard.
    pub level: Level,
    /// Whether layers are compressed anew, with `compression`, that come in a compression which the base's family of
    /// media types does not have (zstd in Docker's). Otherwise they are refused. What the family has is always kept.
    pub recompress: bool,
    /// Whether the base becomes an OCI image first, where it is Docker's.
    pub oci: bool,
    /// What the history says about the layers.
    pub history: History,
    /// Whether to write the base hints.
    pub base_annotations: bool,
    /// What becomes of a base index's entries about the images that are appended to.
    pub attestations: Attestations,
    /// Bounds on what a layer may make us do.
    pub limits: Limits,
    /// Whether the result is sure to be written: layers are sent to a registry while they are packed then.
    pub ahead: bool,
}

/// What the history of an image says about new layers.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What made them; `None`: `palan append`.
    pub created_by: Option<String>,
    /// A remark.
    pub comment: Option<String>,
    /// When they were made, RFC 3339; the image counts as made then, too. `None`: that is not said, and the image keeps
    /// its time.
    pub created: Option<String>,
}

impl Request {
    /// Layers on top of `base`, gzip at [`LEVEL`], with all else as it is by default.
    pub fn new(base: Option<Location>, layers: Vec<LayerSource>, target: Location) -> Self {
        Self {
            base,
            layers,
            target,
            platforms: Vec::new(),
            empty_platform: Platform::default_choice(),
            compression: Compression::Gzip,
            level: LEVEL,
            recompress: false,
            oci: false,
            history: History::default(),
            base_annotations: false,
            attestations: Attestations::default(),
            limits: Limits::default(),
            ahead: false,
        }
    }
}

/// Reads the layers and the base. Layers are read once: packed, hashed both ways and spooled to a temporary file, so that an
/// upload can be repeated. An empty layer and one without end marker are taken, which is noted. Every platform of an index (or the chosen ones, inside it) gets the same layers.
pub async fn plan(places: &Places, request: Request) -> Result<Plan, Error> {
    let Request { base, layers, target, platforms, attestations, history, .. } = request;
    history::check_time(history.created.as_deref(), &base.as_ref().unwrap_or(&target).to_string())?;
    let Request { compression, level, recompress, limits, .. } = request;
    let how = How { compression, level, recompress, limits };
    let base = match base {
        None => None,
        Some(image) => {
            let subject = Subject { image, platforms, target: Some(target.clone()), attestations };
            Some((Base::open(places, &subject, request.oci).await?, subject))
        }
    };
    let family = base.as_ref().map_or(Family::Oci, |(base, _)| base.root.family());
    let ahead = if request.ahead { places.ahead(&target)? } else { None };
    let stack = pack_all(layers, family, how, places.scratch(), ahead).await?;
    let mut work = Work { stack: &stack, history, hints: None };
    let mut plan = match base {
        None => Plan::fresh(target, work.empty(&request.empty_platform).await?, stack.spool())?,
        Some((Base { source, root, old, notes }, subject)) => {
            work.hints = request
                .base_annotations
                .then(|| subject.image.reference().and_then(palan_core::Reference::base_name));
            let mut rewritten =
                rewrite(source.as_ref(), root, &subject.platforms, attestations, &Grow(&work)).await?;
            rewritten.notes.splice(..0, notes);
            Plan::new(&subject, old, rewritten, source)?
        }
    };
    plan.rewritten.notes.extend(stack.notes());
    stack.sent().await;
    Ok(plan.with(stack.into_content()))
}

/// What is appended to.
struct Base {
    source: Arc<dyn Source>,
    root: Document,
    /// What it is where it stands.
    old: Digest,
    /// What is to be said about what became of it.
    notes: Vec<String>,
}

impl Base {
    /// With `oci`, a Docker image is read as the OCI image that it would be.
    async fn open(places: &Places, subject: &Subject, oci: bool) -> Result<Self, Error> {
        let (opened, root) =
            rewrite::opened_to_change(places, &subject.image, subject.target.as_ref()).await?;
        let old = root.digest();
        if !oci || root.family() == Family::Oci {
            return Ok(Self { source: opened.place, root, old, notes: Vec::new() });
        }
        let form = Form { family: Some(Family::Oci), ..Form::default() };
        // An index has one family: all of its images are converted, whichever are appended to.
        let all = Subject { platforms: Vec::new(), ..subject.clone() };
        // No layer is read for another family.
        let plan = convert::plan_opened(
            opened.place,
            root,
            convert::Request { subject: all, form },
            &Options::default(),
        )
        .await?;
        Ok(Self { source: plan.result(), root: plan.root().clone(), old, notes: plan.notes().to_vec() })
    }
}

/// Appends: [`plan`], then [`rewrite::apply`].
pub async fn append(places: &Places, request: Request, options: &Options) -> Result<Outcome, Error> {
    rewrite::apply(places, &plan(places, request).await?, options).await
}

/// Packed layers, to be put on top of images.
pub(crate) struct Work<'a> {
    pub(crate) stack: &'a Stack,
    pub(crate) history: History,
    /// Write base hints; the base's name, where it has one.
    pub(crate) hints: Option<Option<String>>,
}

impl Work<'_> {
    /// An image of nothing but the layers.
    async fn empty(&self, platform: &Platform) -> Result<Rewritten, Error> {
        let mut config = json!({"architecture": platform.architecture, "os": platform.os});
        if let Some(variant) = &platform.variant {
            config["variant"] = json!(variant);
        }
        if let Some(version) = &platform.os_version {
            config["os.version"] = json!(version);
        }
        config["config"] = json!({});
        config["rootfs"] = json!({"type": "layers", "diff_ids": []});
        config["history"] = json!([]);
        let tops = self.tops(self.stack.on(platform).await?, "an empty image", Family::Oci)?;
        let config = Document::from_value(&config, MediaType::OCI_CONFIG)?;
        let config = config.edit(|json| {
            grow::edit_config(json, &tops, true);
            self.touch_config(json);
        })?;
        let config = config.with_media_type(MediaType::OCI_CONFIG);
        let layers: Vec<Value> = tops.into_iter().map(|top| top.descriptor).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST,
            "config": config.descriptor(),
            "layers": layers,
        });
        let root = Document::from_value(&manifest, MediaType::OCI_MANIFEST)?;
        Ok(Rewritten { configs: vec![config], ..Rewritten::new(root, Vec::new()) })
    }

    /// Fails where the family has no media type for a layer: an OCI index may list Docker images, and layers are packed
    /// for the index's family.
    fn tops(&self, layers: &[Packed], image: &str, family: Family) -> Result<Vec<Top>, Error> {
        let top = |layer: &Packed| {
            let packed = &layer.packed;
            let described = packed.descriptor(family).ok_or_else(|| Error::Family {
                image: image.to_owned(),
                family,
                layer: packed.digest,
                media_type: packed
                    .descriptor(Family::Oci)
                    .map_or_else(|| packed.compression.to_string(), |d| d.media_type.to_string()),
            })?;
            let history = self.entry();
            Ok(Top { descriptor: json!(described), diff_id: packed.diff_id, history })
        };
        layers.iter().map(top).collect()
    }

    fn entry(&self) -> Value {
        let mut entry = Map::new();
        if let Some(created) = &self.history.created {
            entry.insert("created".into(), json!(created));
        }
        // Not where the layer was read: the same layer makes the same image.
        let made_by = self.history.created_by.as_deref().unwrap_or("palan append");
        entry.insert("created_by".into(), json!(made_by));
        if let Some(comment) = &self.history.comment {
            entry.insert("comment".into(), json!(comment));
        }
        entry.into()
    }
}

#[async_trait]
impl Layers for Work<'_> {
    async fn on(&self, image: &Image, platform: &Platform) -> Result<Vec<Top>, Error> {
        self.tops(self.stack.on(platform).await?, &image.name, image.manifest.family())
    }

    fn touch_config(&self, config: &mut Map<String, Value>) {
        if let Some(created) = &self.history.created {
            config.insert("created".into(), json!(created));
        }
    }

    fn touch(&self, image: &Image, manifest: &mut Map<String, Value>) {
        let Some(name) = &self.hints else { return };
        if !manifest.get("annotations").is_some_and(Value::is_object) {
            manifest.insert("annotations".into(), json!({}));
        }
        if let Some(name) = name {
            manifest["annotations"][annotation::BASE_NAME] = json!(name);
        }
        manifest["annotations"][annotation::BASE_DIGEST] = json!(image.manifest.digest());
    }
}
