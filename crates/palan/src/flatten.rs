//! Flatten: the layers of an image, or the upper ones, made one.
//!
//! The files stay the same (how layers are merged: [`palan_layer::merge`]), and so does the config but for its layers and
//! history. The same image gives the same result: nothing depends on the time.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use palan_core::{Compression, Descriptor, Digest, Document, Kind, Platform};
use palan_layer::{
    Level, Packed, Packing,
    merge::{Merge, Written},
    pack_merged,
};
use serde_json::{Map, Value, json};

use crate::{
    Error,
    base::{self, Detector, KnownBases},
    cancel::{Cancelled, blocking, on_thread},
    copy::Options,
    grow::history_is_whole,
    history,
    image::Image,
    index::chosen::Chosen,
    json::point_to_config,
    place::{Layout, Location, Places, Source},
    rewrite::{self, Change, Content, New, Plan, Subject, rewrite},
    spool::Spool,
};

/// What the history says about the layer that is made.
const CREATED_BY: &str = "palan flatten";

/// How hard to compress if nobody says: as crane does with gzip, of which most is compressed already; quickly with zstd, which
/// makes smaller layers than gzip all the same.
pub fn usual_level(compression: Compression) -> Level {
    if compression == Compression::Zstd { Level::QUICK } else { Level::DEFAULT }
}

/// What to flatten, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// The image or index, and where the result goes.
    pub subject: Subject,
    /// Which layers stay.
    pub keep: Keep,
    /// Compression of the layer that is made. Docker images cannot hold zstd.
    pub compression: Compression,
    /// How hard to compress.
    pub level: Level,
    /// When the result is said to be created, RFC 3339; `None`: its layer, when the newest of those it is made from
    /// was, as the history tells, or else when the image was.
    pub created: Option<String>,
    /// Whether the result is sure to be written: layers are sent to a registry while they are made then.
    pub ahead: bool,
}

/// Which layers stay as they are: always the lowest ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// None: the image has one layer afterwards.
    #[default]
    Nothing,
    /// This many.
    Lowest(usize),
    /// All but this many.
    AllBut(usize),
    /// Those of the image's base, which must be found ([`base::detect`](fn@base::detect)).
    Base,
    /// Those of this image, or of one of an index, which the image must begin with.
    Of(Location),
}

/// Reads the layers that are to be one, each once, and makes that one. Fails with [`Error::BaseUnknown`] where the base's
/// layers are to stay and it is not known.
pub async fn plan(
    places: &Places,
    request: &Request,
    known: Option<&KnownBases>,
    options: &Options,
) -> Result<Plan, Error> {
    let subject = &request.subject;
    history::check_time(request.created.as_deref(), &subject.image.to_string())?;
    let (opened, root) = rewrite::opened_to_change(places, &subject.image, subject.target.as_ref()).await?;
    let boundaries = match request.keep {
        Keep::Base => {
            let detector = Detector::new(places, known);
            boundaries(&detector, opened.place.as_ref(), &root, subject).await?
        }
        _ => HashMap::new(),
    };
    let bases = match &request.keep {
        Keep::Of(base) => diff_ids(places, base).await?,
        _ => Vec::new(),
    };
    let (old, source) = (root.digest(), opened.place);
    let target = subject.target.as_ref().unwrap_or(&subject.image);
    let ahead = if request.ahead { places.ahead(target)? } else { None };
    let spool = Arc::new(Layout::in_temporary_folder(&options.scratch)?.sending(ahead));
    let work = Work {
        source: source.as_ref(),
        request,
        options,
        boundaries,
        bases,
        spool: Arc::clone(&spool),
        made: Mutex::default(),
    };
    let mut rewritten =
        rewrite(source.as_ref(), root, &subject.platforms, subject.attestations, &work).await?;
    spool.sent().await;
    let Made { digests, notes } = work.made.into_inner().unwrap_or_else(PoisonError::into_inner);
    rewritten.notes.extend(notes);
    let plan = Plan::new(subject, old, rewritten, source)?;
    Ok(plan.with(Content { digests, source: spool }))
}

/// How many layers the base has, by the digest of the image's manifest.
async fn boundaries(
    detector: &Detector<'_>,
    source: &dyn Source,
    root: &Document,
    subject: &Subject,
) -> Result<HashMap<Digest, usize>, Error> {
    let (detection, _) = detector.subjects_in(source, root, &subject.image, &subject.platforms).await?;
    let boundary = |platform: base::PlatformBase| {
        let found = platform.base.as_ref().and_then(|base| base.boundary);
        match found.or(platform.scratch.then_some(0)) {
            Some(boundary) => Ok((platform.digest, boundary)),
            None => {
                let image = format!("{} ({})", detection.image, platform.platform);
                Err(unknown(image, "nothing that is written about it could be compared with its layers"))
            }
        }
    };
    detection.platforms.into_iter().map(boundary).collect()
}

/// The diff IDs of an image, or of each image of an index.
async fn diff_ids(places: &Places, base: &Location) -> Result<Vec<Vec<Digest>>, Error> {
    let opened = places.source(base)?;
    let root = opened.place.document(opened.chosen()?).await?;
    let source = opened.place.as_ref();
    let images = match root.kind() {
        Kind::Index => Chosen::read(source, &root, &[]).await?.images.into_iter().map(|f| f.image).collect(),
        _ => vec![Arc::new(Image::load(source, root).await?)],
    };
    Ok(images.iter().map(|image| image.config_view.rootfs.diff_ids.clone()).collect())
}

fn unknown(image: String, reason: &str) -> Error {
    Error::BaseUnknown { image, which: "current", reason: reason.into() }
}

struct Work<'a> {
    source: &'a dyn Source,
    request: &'a Request,
    options: &'a Options,
    boundaries: HashMap<Digest, usize>,
    /// The diff IDs of the images that one of is to stay below.
    bases: Vec<Vec<Digest>>,
    spool: Arc<Layout>,
    made: Mutex<Made>,
}

/// What came of it beside documents.
#[derive(Default)]
struct Made {
    digests: HashSet<Digest>,
    notes: Vec<String>,
}

#[async_trait]
impl Change for Work<'_> {
    async fn image(&self, image: &Image, platform: &Platform) -> Result<New, Error> {
        let layers = image.manifest_view.layers.len();
        let keep = self.kept(image)?;
        if layers.saturating_sub(keep) < 2 {
            self.note(format!("{platform}: there is nothing to flatten, {}", unchanged(layers, keep)));
            return Ok(New { manifest: image.manifest.clone(), configs: Vec::new() });
        }
        let (packed, written) = self.pack(image, platform, keep).await?;
        if written.escaping > 0 {
            let names: Vec<String> = written.escaping_names.iter().map(ToString::to_string).collect();
            let count = written.escaping;
            self.note(format!(
                "{platform}: names of {count} entries lead out of the root: {}",
                names.join(", ")
            ));
        }
        let merged = &image.manifest_view.layers[keep..];
        let annotated =
            merged.iter().filter(|layer| layer.annotations.as_ref().is_some_and(|all| !all.is_empty()));
        let count = annotated.count();
        if count > 0 {
            self.note(format!("{platform}: annotations of {count} layers that are one now are not kept"));
        }
        let layer = self.descriptor(image, &packed)?;
        let whole = history_is_whole(image);
        if keep > 0 && !whole {
            self.note(format!("{platform}: the history does not tell of every layer and stays as it is"));
        }
        let created = self.request.created.as_deref();
        let config = image.config.edit(|json| {
            edit_rootfs(json, keep, packed.diff_id);
            if keep == 0 || whole {
                edit_history(json, keep, created);
            }
            if let Some(created) = created {
                json.insert("created".into(), json!(created));
            }
        })?;
        let config = config.with_media_type(image.config.media_type().clone());
        let manifest = image.manifest.edit(|json| {
            point_to_config(json, &config);
            if let Some(layers) = json.get_mut("layers").and_then(Value::as_array_mut) {
                layers.truncate(keep);
                layers.push(json!(layer));
            }
        })?;
        Ok(New { manifest, configs: vec![config] })
    }
}

impl Work<'_> {
    fn kept(&self, image: &Image) -> Result<usize, Error> {
        let layers = image.manifest_view.layers.len();
        Ok(match &self.request.keep {
            Keep::Nothing => 0,
            Keep::Lowest(n) => *n,
            Keep::AllBut(n) => layers.saturating_sub(*n),
            Keep::Of(base) => {
                let own = &image.config_view.rootfs.diff_ids;
                let below = self.bases.iter().filter(|ids| !ids.is_empty() && own.starts_with(ids));
                let found = below.map(Vec::len).max();
                found.ok_or_else(|| {
                    unknown(image.name.clone(), &format!("its lowest layers are not those of {base}"))
                })?
            }
            Keep::Base => {
                let found = self.boundaries.get(&image.manifest.digest());
                *found.ok_or_else(|| unknown(image.name.clone(), "it was not looked for"))?
            }
        })
    }

    fn note(&self, note: String) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).notes.push(note);
    }

    fn descriptor(&self, image: &Image, packed: &Packed) -> Result<Descriptor, Error> {
        let family = image.manifest.family();
        packed.descriptor(family).ok_or_else(|| no_media_type(self.request.compression, image))
    }

    async fn pack(
        &self,
        image: &Image,
        platform: &Platform,
        keep: usize,
    ) -> Result<(Packed, Written), Error> {
        let Request { compression, level, .. } = *self.request;
        let mut packing = Packing::for_family(image.manifest.family(), compression)
            .ok_or_else(|| no_media_type(compression, image))?;
        packing.level = level;
        let (layers, merge) = self.stacked(image, platform, keep, packing.keeps_blocks()).await?;
        let (spool, name) = (Arc::clone(&self.spool), image.name.clone());
        let work = move |cancelled: &Cancelled| {
            spool.write_blob(|file| {
                let mut stacked = layers.finish(merge)?;
                let (archives, originals) = (&mut stacked.archives, Arc::clone(&stacked.originals));
                let packed =
                    pack_merged(&packing, &stacked.merged, archives, originals, cancelled.writer(file));
                stacked.release();
                let packed =
                    packed.map_err(|source| Error::NoFileSystem { image: name, layer: None, source })?;
                Ok((packed.0.digest, packed))
            })
        };
        let packed = blocking(work).await?;
        self.made.lock().unwrap_or_else(PoisonError::into_inner).digests.insert(packed.0.digest);
        Ok(packed)
    }

    /// The layers that are to be one, stacked. Those that stay are read only where what is above them links to files of
    /// theirs that it replaces.
    async fn stacked(
        &self,
        image: &Image,
        platform: &Platform,
        keep: usize,
        keeps_blobs: bool,
    ) -> Result<(Spool, Merge), Error> {
        let read = async |range: Range<usize>| {
            let layers = &image.manifest_view.layers[range.clone()];
            let diff_ids = &image.config_view.rootfs.diff_ids[range];
            Spool::read(self.source, &image.name, layers, Some(diff_ids), keeps_blobs, self.options).await
        };
        let layers = read(keep..image.manifest_view.layers.len()).await?;
        let above = keep > 0;
        let stack = move || {
            let mut merge = if above { Merge::above() } else { Merge::whole() };
            layers.stack(&mut merge)?;
            Ok::<_, Error>((layers, merge))
        };
        let (mut layers, merge) = on_thread(stack).await??;
        if !merge.needs_below() {
            return Ok((layers, merge));
        }
        let below = read(0..keep).await?;
        let provide = move || {
            let lower = layers.add_below(below)?;
            let mut merge = Merge::above_known(&lower);
            layers.stack(&mut merge)?;
            let taken = merge.provide(&lower);
            Ok::<_, Error>((layers, merge, taken))
        };
        let (layers, merge, taken) = on_thread(provide).await??;
        if !taken.is_empty() {
            let taken = taken.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            self.note(format!(
                "{platform}: replaced files that hard links still name are written again: {taken}"
            ));
        }
        Ok((layers, merge))
    }
}

fn unchanged(layers: usize, keep: usize) -> String {
    match (layers, keep) {
        (0, _) => "the image has no layers".to_owned(),
        (1, _) => "the image has one layer".to_owned(),
        (layers, keep) if keep >= layers => format!("all {layers} layers stay"),
        (layers, _) => format!("all but one of {layers} layers stay"),
    }
}

fn no_media_type(compression: Compression, image: &Image) -> Error {
    let family = image.manifest.family();
    Error::NoMediaType { layer: format!("the flattened layer of {}", image.name), compression, family }
}

fn edit_rootfs(config: &mut Map<String, Value>, keep: usize, diff_id: Digest) {
    let ids = config.get_mut("rootfs").and_then(|rootfs| rootfs.get_mut("diff_ids"));
    if let Some(ids) = ids.and_then(Value::as_array_mut) {
        ids.truncate(keep);
        ids.push(json!(diff_id));
    }
}

/// Puts one entry in the place of those of the layers that are one now, and what those said into its comment.
fn edit_history(config: &mut Map<String, Value>, keep: usize, created: Option<&str>) {
    let mut kept = match config.get_mut("history").map(Value::take) {
        Some(Value::Array(entries)) => entries,
        _ => Vec::new(),
    };
    let mut steps = kept.iter().enumerate().filter(|(_, entry)| history::makes_layer(entry));
    let cut = match keep {
        0 => 0,
        keep => steps.nth(keep - 1).map_or(kept.len(), |(number, _)| number + 1),
    };
    let replaced = kept.split_off(cut);
    let mut entry = Map::new();
    let told = || history::newest(&replaced).or_else(|| config.get("created").and_then(Value::as_str));
    if let Some(created) = created.or_else(told) {
        entry.insert("created".into(), json!(created));
    }
    entry.insert("created_by".into(), json!(CREATED_BY));
    if !replaced.is_empty() {
        entry.insert("comment".into(), json!(Value::Array(replaced).to_string()));
    }
    kept.push(Value::Object(entry));
    config.insert("history".into(), Value::Array(kept));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_is_cut_where_the_layers_are() {
        let step = |name: &str| json!({"created_by": name});
        let empty = |name: &str| json!({"created_by": name, "empty_layer": true});
        let old = vec![empty("ARG"), step("a"), empty("ENV"), step("b"), step("c"), empty("CMD")];
        for (keep, left) in [(0, 0), (1, 2), (2, 4), (3, 5)] {
            let mut config = Map::from_iter([("history".to_owned(), Value::Array(old.clone()))]);
            edit_history(&mut config, keep, Some("2025-01-01T00:00:00Z"));
            let history = config["history"].as_array().unwrap();
            assert_eq!(history[..left], old[..left], "{keep}");
            assert_eq!(history.len(), left + 1);
            let comment: Value = serde_json::from_str(history[left]["comment"].as_str().unwrap()).unwrap();
            assert_eq!(comment, Value::Array(old[left..].to_vec()));
        }
        let mut config = Map::new();
        edit_history(&mut config, 0, None);
        assert_eq!(config["history"], json!([{"created_by": CREATED_BY}]));
    }
}
