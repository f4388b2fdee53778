//! The blobs of a validation: each is read once, whatever lists it.

use std::collections::HashMap;

use futures_util::StreamExt as _;
use palan_core::{Descriptor, Digest, MediaType, Role};
use palan_layer::{Examined, OuterLink, Paths, codec, examine_expecting};

use super::{Options, Severity, chain};
use crate::{
    Error, Event, Transfer,
    place::{Source, open_announced, verified, with_reader},
};

/// What is to be read, in the order in which it was listed.
#[derive(Default)]
pub(super) struct Blobs {
    all: Vec<Blob>,
    positions: HashMap<Digest, usize>,
}

/// What a blob is of the document that lists it.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// A layer of an image, with its diff ID where a config states one.
    Layer(Option<Digest>),
    Other,
}

/// A blob, and all that is said about it.
pub(super) struct Blob {
    pub(super) descriptor: Descriptor,
    media_types: Vec<MediaType>,
    is_of_image: bool,
    /// The diff IDs that configs state for it.
    diff_ids: Vec<Digest>,
}

impl Blobs {
    /// Adds what one document says about a blob; returns how it contradicts another one.
    pub(super) fn add(&mut self, descriptor: Descriptor, part: Part) -> Option<String> {
        let next = self.all.len();
        let position = *self.positions.entry(descriptor.digest).or_insert(next);
        let media_type = descriptor.media_type.clone();
        let size = descriptor.size;
        if position == next {
            let (media_types, diff_ids) = (Vec::new(), Vec::new());
            self.all.push(Blob { descriptor, media_types, is_of_image: false, diff_ids });
        }
        let blob = &mut self.all[position];
        if !blob.media_types.contains(&media_type) {
            blob.media_types.push(media_type);
        }
        if let Part::Layer(diff_id) = part {
            blob.is_of_image = true;
            blob.diff_ids.extend(diff_id.filter(|id| !blob.diff_ids.contains(id)));
        }
        let known = blob.descriptor.size;
        (known != size).then(|| format!("is listed with {known} bytes and with {size} bytes"))
    }

    pub(super) fn into_vec(self) -> Vec<Blob> {
        self.all
    }
}

impl Blob {
    fn is_layer(&self) -> bool {
        let layer = |t: &MediaType| matches!(t.role(), Role::Layer { .. });
        self.is_of_image && self.media_types.iter().any(layer)
    }

    fn is_foreign(&self) -> bool {
        let foreign = |t: &MediaType| matches!(t.role(), Role::Layer { foreign: true, .. });
        self.media_types.iter().all(foreign)
    }
}

type Found = Vec<(Severity, String)>;
/// What of a layer matters to those above.
pub(super) type Inside = (Paths, Vec<OuterLink>);

/// Reads a blob, or asks for it; what is wrong with it, and what was in it.
pub(super) async fn check(
    source: &dyn Source,
    blob: &Blob,
    options: &Options,
) -> Result<(Found, Option<Inside>), Error> {
    let descriptor = &blob.descriptor;
    if (options.fast || blob.is_foreign()) && !source.has(descriptor).await? {
        let found = if blob.is_foreign() {
            (Severity::Warning, "is a non-distributable layer that is not here".into())
        } else {
            (Severity::Error, "is missing".into())
        };
        return Ok((vec![found], None));
    }
    if options.fast {
        return Ok((Vec::new(), None));
    }
    let content = open_announced(source, descriptor, &options.observer).await?;
    let found = if blob.is_layer() {
        let (expected, limits) = (content.expected(descriptor), options.limits);
        let examine = move |reader: &mut _| examine_expecting(reader, &expected, &limits);
        match with_reader(content, examine).await? {
            Ok(layer) => (judge(blob, &layer), Some((layer.paths, layer.outer_links))),
            Err(e) => (vec![(Severity::Error, chain(&e))], None),
        }
    } else {
        let mut content = verified(source.name(), descriptor, content);
        while let Some(piece) = content.next().await {
            piece?;
        }
        (Vec::new(), None)
    };
    options.observer.emit(&Event::BlobDone { blob: descriptor, how: Transfer::Moved });
    Ok(found)
}

fn judge(blob: &Blob, layer: &Examined) -> Found {
    let layers = blob.media_types.iter().filter(|t| matches!(t.role(), Role::Layer { .. }));
    let compression =
        layers.filter_map(|t| codec::check(t, layer.compression?).err()).map(|error| chain(&error));
    let diff_ids = blob.diff_ids.iter().filter_map(|stated| {
        let found = layer.diff_id.filter(|found| found != stated)?;
        Some(format!("its uncompressed content has digest {found}, the config states {stated}"))
    });
    let bad = more(layer.more_faults, "entries that no layer may have");
    let faults = layer.faults.iter().map(|error| chain(error)).chain(bad).chain(compression).chain(diff_ids);
    let unknown = layer.unknown.iter().map(|(path, flag)| {
        let flag = char::from(*flag);
        format!("the entry {path} is of type {flag:?}, which programs that run containers refuse")
    });
    let duplicate = layer.duplicate.iter().map(|path| format!("has two entries for {path}"));
    let links = layer.more_links;
    let links =
        (links > 0).then(|| format!("hard links that are too many or too deep to be followed: {links}"));
    let warnings = unknown
        .chain(more(layer.more_unknown, "entries of types that programs that run containers refuse"))
        .chain(duplicate)
        .chain(more(layer.more_duplicates, "entries of paths that have one already"))
        .chain(links)
        .map(|text| (Severity::Warning, text));
    faults.map(|text| (Severity::Error, text)).chain(warnings).collect()
}

/// What a list leaves out.
pub(super) fn more(count: u64, what: &str) -> Option<String> {
    (count > 0).then(|| format!("more {what}: {count}"))
}
