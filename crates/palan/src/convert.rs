//! Convert: the same images in another form. Media types of the other family, layers compressed otherwise, digests by
//! another algorithm, annotations left out or lifted up.
//!
//! What containers see stays what it is: the diff IDs of all layers that are stored anew are computed from what was
//! read, and compared with the config's. Configs keep their bytes. Their diff IDs stay SHA-256 whatever the digests are
//! by: image-spec `config.md` lets them be by any algorithm, and with other ones the config would be another.

mod documents;
mod layers;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use palan_core::{
    Algorithm, Compression, Descriptor, Digest, Document, Family, Kind, MediaType, Platform, Role, view,
};
use palan_layer::Level;
use serde_json::{Map, Value, json};

use self::{
    documents::{Members, Said, forget_bytes},
    layers::{Repacked, Storage, Wanted},
};
use crate::{
    Error,
    copy::Options,
    image::Image,
    json::{add_annotations, point_to_config, set_media_type},
    place::{Places, Source},
    rewrite::{self, Change, New, Plan, Subject, rewrite},
};

/// What to convert, and into what.
#[derive(Clone, Debug)]
pub struct Request {
    /// The images.
    pub subject: Subject,
    /// What they become.
    pub form: Form,
}

/// What images become; what is `None` stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Form {
    /// Media types of indexes, manifests, configs and layers.
    pub family: Option<Family>,
    /// Compression of layers. Layers that have it already stay as they are.
    pub compression: Option<Compression>,
    /// Whether that is for layers only that are not compressed.
    pub only_uncompressed: bool,
    /// How hard to compress.
    pub level: Level,
    /// Algorithm of the digests of indexes, manifests, configs and layers.
    pub algorithm: Option<Algorithm>,
    /// What becomes of annotations.
    pub annotations: Annotations,
}

/// What becomes of annotations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Annotations {
    /// They stay. Docker's family does not have them: an image that has some cannot become a Docker image.
    #[default]
    Keep,
    /// They are left out of indexes, manifests and descriptors of images; for Docker's family, so is whatever else it
    /// does not have: artifact types, subjects, embedded data. What is left out is noted.
    Strip,
    /// Labels `org.opencontainers.image.…` of the config are copied to the manifest's annotations, and annotations that
    /// all images of an index have in common to the index. What is annotated already stays.
    Promote,
}

/// Reads the images, and the layers that are to be stored otherwise, each once and some at the same time, into a temporary
/// folder that goes with the plan.
///
/// Fails with [`Error::Inexpressible`], which lists everything, where the family has no way to say what an image says,
/// before any layer is read; with [`Error::Layer`] where a layer is not what the config states. Non-distributable layers and content of unknown
/// type keep compression and digest, which is noted.
pub async fn plan(places: &Places, request: Request, options: &Options) -> Result<Plan, Error> {
    let Subject { image, target, .. } = &request.subject;
    let (opened, root) = rewrite::opened_to_change(places, image, target.as_ref()).await?;
    plan_opened(opened.place, root, request, options).await
}

/// As [`plan`], for an image of a place that is open already.
pub async fn plan_opened(
    source: Arc<dyn Source>,
    root: Document,
    request: Request,
    options: &Options,
) -> Result<Plan, Error> {
    let Request { subject, form } = request;
    if form.family.is_some() && root.kind() == Kind::Index && !subject.platforms.is_empty() {
        let what = "converting some images of an index to another family: filter the index first";
        return Err(Error::Unsupported(what.to_owned()));
    }
    let old = root.digest();
    let convert = async |root: Document, work: &Work| {
        let Subject { platforms, attestations, .. } = &subject;
        rewrite(source.as_ref(), root, platforms, *attestations, &Convert { form, work }).await
    };
    // What is refused is refused before a layer is read.
    let judged = Work::default();
    let rewritten = convert(root.clone(), &judged).await?;
    let (said, layers) = (judged.said.into_inner(), judged.wanted.into_inner());
    let Said { problems, notes } = said.unwrap_or_else(PoisonError::into_inner);
    if !problems.is_empty() {
        let (image, what) = (subject.image.to_string(), problems.into_iter().collect());
        return Err(Error::Inexpressible { image, family: Family::Docker, what });
    }
    let layers = layers.unwrap_or_else(PoisonError::into_inner);
    let (mut rewritten, content) = match layers.is_empty() {
        true => (rewritten, None),
        false => {
            let (repacked, content) = layers::repack_all(&source, layers, options).await?;
            let work = Work { repacked, ..Work::default() };
            (convert(root, &work).await?, Some(content))
        }
    };
    rewritten.notes.extend(notes);
    let plan = Plan::new(&subject, old, rewritten, source)?;
    Ok(match content {
        Some(content) => plan.with(content),
        None => plan,
    })
}

struct Convert<'a> {
    form: Form,
    work: &'a Work,
}

/// What a conversion has to do, and has done.
#[derive(Default)]
struct Work {
    said: Mutex<Said>,
    /// The annotations of new manifests, for the index that lists them.
    annotations: Mutex<HashMap<Digest, BTreeMap<String, String>>>,
    /// Layers that are to be stored otherwise.
    wanted: Mutex<Vec<Wanted>>,
    /// Layers that are, by their old digests.
    repacked: HashMap<Digest, Repacked>,
}

/// What becomes of a layer's descriptor.
struct Layer<'a> {
    media_type: MediaType,
    stored: Option<&'a Repacked>,
    /// Whether its bytes become others.
    is_recompressed: bool,
}

impl Convert<'_> {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.work.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A media type in the family that was asked for.
    fn in_family(&self, media_type: &MediaType) -> MediaType {
        let new = self.form.family.and_then(|family| media_type.in_family(family));
        new.unwrap_or_else(|| media_type.clone())
    }

    fn layer(&self, layer: &Descriptor, diff_id: Digest) -> Layer<'_> {
        let stays = |media_type| Layer { media_type, stored: None, is_recompressed: false };
        let Role::Layer { compression, foreign } = layer.media_type.role() else {
            return stays(self.left_alone(layer, "of unknown type"));
        };
        let wanted = self.form.compression.filter(|wanted| *wanted != compression);
        let wanted = wanted.filter(|_| !self.form.only_uncompressed || compression == Compression::None);
        let algorithm = self.form.algorithm.unwrap_or(layer.digest.algorithm());
        let family = self.form.family.or(layer.media_type.family()).unwrap_or(Family::Oci);
        let result = wanted.unwrap_or(compression);
        if foreign {
            if self.form.family.is_some_and(|f| layer.media_type.in_family(f).is_none()) {
                self.problem(format!("the layer {} is non-distributable {compression}", layer.digest));
            }
            return stays(self.left_alone(layer, "not distributable"));
        }
        if MediaType::layer(family, result).is_none() {
            self.problem(format!("the layer {} would be {result}", layer.digest));
            return stays(layer.media_type.clone());
        }
        if wanted.is_none() && algorithm == layer.digest.algorithm() {
            return stays(self.in_family(&layer.media_type));
        }
        let stored = self.work.repacked.get(&layer.digest);
        let compression = stored.map_or(result, |stored| stored.compression);
        if stored.is_none() {
            let storage = Storage { compression: wanted, level: self.form.level, algorithm };
            let mut all = self.work.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(Wanted { layer: layer.clone(), diff_id, storage });
        }
        let media_type = MediaType::layer(family, compression);
        let media_type = media_type.unwrap_or_else(|| layer.media_type.clone());
        Layer { media_type, stored, is_recompressed: wanted.is_some() }
    }

    /// The media type of a layer whose content stays.
    fn left_alone(&self, layer: &Descriptor, why: &str) -> MediaType {
        if self.form.compression.is_some() || self.form.algorithm.is_some() {
            let note = format!("the layer {} is {why}: its content stays as it is", layer.digest);
            self.said().notes.insert(note);
        }
        self.in_family(&layer.media_type)
    }

    fn problem(&self, text: String) {
        self.said().problems.insert(text);
    }

    fn rehashed(&self, document: Document) -> Result<Document, Error> {
        match self.form.algorithm {
            Some(algorithm) if algorithm != document.digest().algorithm() => {
                let media_type = document.media_type().clone();
                let new =
                    Document::parse_with(document.bytes().clone(), Some(media_type.clone()), algorithm)?;
                Ok(new.with_media_type(media_type))
            }
            _ => Ok(document),
        }
    }

    fn edit_manifest(
        &self,
        image: &Image,
        config: &Document,
        layers: &[Layer<'_>],
        json: &mut Map<String, Value>,
    ) {
        let media_type = self.in_family(image.manifest.media_type());
        set_media_type(json, image.manifest.media_type(), &media_type);
        point_to_config(json, config);
        if let Some(descriptor) = json.get_mut("config").and_then(Value::as_object_mut) {
            set_media_type(descriptor, &image.manifest_view.config.media_type, config.media_type());
        }
        let listed = json.get_mut("layers").and_then(Value::as_array_mut).into_iter().flatten();
        for ((json, layer), old) in listed.zip(layers).zip(&image.manifest_view.layers) {
            let Some(json) = json.as_object_mut() else { continue };
            set_media_type(json, &old.media_type, &layer.media_type);
            if let Some(stored) = &layer.stored {
                json.insert("digest".into(), json!(stored.digest));
                json.insert("size".into(), json!(stored.size));
                json.shift_remove("data");
            }
            if layer.is_recompressed {
                self.forget_bytes(old, json);
            }
        }
        self.promote_labels(image, json);
        let name = format!("the image for {}", image.platform());
        let said = &mut *self.said();
        let family = self.judged_as(&media_type);
        let mut members = Members { family, annotations: self.form.annotations, name: &name, said };
        members.document(json);
        json.get_mut("config").into_iter().for_each(|json| members.descriptor(json, "its config"));
        let listed = json.get_mut("layers").and_then(Value::as_array_mut).into_iter().flatten();
        listed.enumerate().for_each(|(i, json)| members.descriptor(json, &format!("layer {}", i + 1)));
    }

    /// The family that a document must fit into: what is not asked for is not judged.
    fn judged_as(&self, media_type: &MediaType) -> Family {
        match (self.form.family, self.form.annotations) {
            (Some(family), _) => family,
            (None, Annotations::Promote) => media_type.family().unwrap_or(Family::Oci),
            (None, _) => Family::Oci,
        }
    }

    /// What a descriptor says about the bytes that the layer had is not true of the new ones.
    fn forget_bytes(&self, layer: &Descriptor, json: &mut Map<String, Value>) {
        let gone = forget_bytes(json);
        if !gone.is_empty() {
            let gone = gone.join(", ");
            let note = format!(
                "the layer {}: left out what its annotations say about its old bytes: {gone}",
                layer.digest
            );
            self.said().notes.insert(note);
        }
    }

    fn promote_labels(&self, image: &Image, json: &mut Map<String, Value>) {
        if self.form.annotations != Annotations::Promote {
            return;
        }
        let labels = image.config_view.config.as_ref().and_then(|config| config.labels.as_ref());
        let labels = labels.into_iter().flatten();
        add_annotations(json, labels.filter(|(key, _)| key.starts_with("org.opencontainers.image.")));
    }

    /// Edits what an index says, after its entries were updated.
    fn edit_index(&self, index: &Document, view: &view::Index, json: &mut Map<String, Value>) {
        let media_type = self.in_family(index.media_type());
        let family = media_type.family().unwrap_or(Family::Oci);
        set_media_type(json, index.media_type(), &media_type);
        if self.form.annotations == Annotations::Promote {
            add_annotations(json, &self.common_annotations(view));
        }
        let said = &mut *self.said();
        let to_docker = self.form.family == Some(Family::Docker);
        let (annotations, name) = (self.form.annotations, "the index");
        let mut members = Members { family: self.judged_as(&media_type), annotations, name, said };
        members.document(json);
        let listed = json.get_mut("manifests").and_then(Value::as_array_mut).into_iter().flatten();
        for (json, entry) in listed.zip(&view.manifests) {
            let other = entry.is_attestation() || entry.media_type.family() != Some(family);
            if other && to_docker {
                let what = if entry.is_attestation() { "attestation" } else { "entry" };
                members.said.problems.insert(format!("the index lists the {what} {}", entry.digest));
            } else if other && self.form.family.is_some() && !entry.is_attestation() {
                let note = format!("the entry {} is no container image: its media types stay", entry.digest);
                members.said.notes.insert(note);
            } else if !other {
                members.descriptor(json, &format!("its entry {}", entry.digest));
            }
        }
    }

    /// What all images that an index lists are annotated with.
    fn common_annotations(&self, index: &view::Index) -> BTreeMap<String, String> {
        let known = self.work.annotations.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = index.manifests.iter().filter_map(|entry| known.get(&entry.digest));
        let mut common = all.next().cloned().unwrap_or_default();
        all.for_each(|other| common.retain(|key, value| other.get(key) == Some(value)));
        common
    }
}

#[async_trait]
impl Change for Convert<'_> {
    async fn image(&self, image: &Image, _platform: &Platform) -> Result<New, Error> {
        let listed = image.manifest_view.layers.iter().zip(&image.config_view.rootfs.diff_ids);
        let layers: Vec<_> = listed.map(|(layer, diff_id)| self.layer(layer, *diff_id)).collect();
        let config = self.rehashed(image.config.clone())?;
        let media_type = self.in_family(config.media_type());
        let config = config.with_media_type(media_type);
        let manifest = image.manifest.edit(|json| self.edit_manifest(image, &config, &layers, json))?;
        let manifest = self.rehashed(manifest)?;
        let annotations = manifest.view::<view::Manifest>()?.annotations;
        let mut known = self.work.annotations.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(manifest.digest(), annotations);
        let is_new = config.digest() != image.config.digest();
        Ok(New { manifest, configs: is_new.then_some(config).into_iter().collect() })
    }

    fn index(&self, index: Document, _is_root: bool) -> Result<Document, Error> {
        let view: view::Index = index.view()?;
        let edited = index.edit(|json| self.edit_index(&index, &view, json))?;
        self.rehashed(edited)
    }
}
