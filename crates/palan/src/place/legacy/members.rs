//! The members of such an archive: what is in them and in which order they are written.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
};

use bytes::Bytes;
use palan_core::Digest;
use palan_layer::tar::{Meta, Writer};
use serde_json::{Map, Value, json};
use tempfile::TempPath;

use crate::{Error, cancel};

/// A layer that waits, uncompressed.
pub(super) struct Layer {
    pub(super) file: TempPath,
    pub(super) size: u64,
    pub(super) diff_id: Digest,
}

/// One image, as the archive will hold it.
pub(super) struct Image {
    pub(super) names: Vec<String>,
    pub(super) config: Bytes,
    pub(super) config_name: String,
    pub(super) layers: Vec<Step>,
}

/// A layer of an image.
pub(super) struct Step {
    pub(super) id: String,
    pub(super) parent: Option<String>,
    pub(super) blob: Digest,
    pub(super) diff_id: Digest,
}

/// The id of a layer says what is below it and, of an image's last one, with which config it runs.
pub(super) fn id(parent: Option<&str>, diff_id: Digest, config: Option<Digest>) -> String {
    let config = config.map(|digest| digest.to_string()).unwrap_or_default();
    let text = format!("{} {diff_id} {config}", parent.unwrap_or_default());
    Digest::sha256(text.as_bytes()).hex().to_string()
}

/// What `json` says about a layer. That of an image's last layer is the image's config, without what only came later.
fn layer_json(step: &Step, config: Option<&Bytes>) -> Value {
    let mut json = match config.and_then(|config| serde_json::from_slice(config).ok()) {
        Some(Value::Object(config)) => config,
        _ => Map::from_iter([("created".to_owned(), json!("1970-01-01T00:00:00Z"))]),
    };
    json.shift_remove("rootfs");
    json.shift_remove("history");
    json.insert("id".into(), json!(step.id));
    if let Some(parent) = &step.parent {
        json.insert("parent".into(), json!(parent));
    }
    Value::Object(json)
}

/// `repositories`: the last layer of each name, by repository and tag.
fn repositories(images: &[Image]) -> BTreeMap<&str, BTreeMap<&str, &str>> {
    let mut out: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for image in images {
        let Some(top) = image.layers.last() else { continue };
        for name in &image.names {
            if let Some((repository, tag)) = name.rsplit_once(':') {
                out.entry(repository).or_default().insert(tag, &top.id);
            }
        }
    }
    out
}

/// An archive on its way to the disk.
struct Output<'a> {
    tar: Writer<BufWriter<cancel::Writer<&'a File>>>,
    path: &'a Path,
    /// Folders that are there.
    written: HashSet<String>,
    /// Where each layer's content is, by diff ID: two images may compress one layer differently.
    content: HashMap<Digest, String>,
}

impl Output<'_> {
    fn unwritten(&self) -> impl FnOnce(palan_layer::Error) -> Error + use<> {
        let path = self.path.to_owned();
        move |error| Error::io("write", path)(error.into())
    }

    fn bytes(&mut self, name: &str, content: &[u8]) -> Result<(), Error> {
        let written = self.tar.bytes(name, &Meta::FILE, content);
        written.map_err(self.unwritten())
    }

    fn image(&mut self, image: &Image, layers: &mut HashMap<Digest, Layer>) -> Result<(), Error> {
        let last = image.layers.len().saturating_sub(1);
        for (n, step) in image.layers.iter().enumerate() {
            if self.written.insert(step.id.clone()) {
                self.bytes(&format!("{}/VERSION", step.id), b"1.0")?;
                let json = layer_json(step, (n == last).then_some(&image.config));
                self.bytes(&format!("{}/json", step.id), json.to_string().as_bytes())?;
                self.layer(step, layers)?;
            }
        }
        if self.written.insert(image.config_name.clone()) {
            self.bytes(&image.config_name, &image.config)?;
        }
        Ok(())
    }

    /// The content, once; other layers with the same content are links to it.
    fn layer(&mut self, step: &Step, layers: &mut HashMap<Digest, Layer>) -> Result<(), Error> {
        let name = format!("{}/layer.tar", step.id);
        if let Some(first) = self.content.get(&step.diff_id) {
            let linked = self.tar.symlink(&name, format!("../{first}"), &Meta::LINK);
            return linked.map_err(self.unwritten());
        }
        // Taken out, so that its temporary file goes as soon as it is copied.
        let Some(layer) = layers.remove(&step.blob) else { return Ok(()) };
        let file = File::open(&layer.file).map_err(Error::io("read", &*layer.file))?;
        let written = self.tar.file(&name, &Meta::FILE, layer.size, file);
        written.map_err(self.unwritten())?;
        self.content.insert(step.diff_id, name);
        Ok(())
    }
}

/// Writes all members of an archive that holds these images.
pub(super) fn write(
    images: &[Image],
    layers: &mut HashMap<Digest, Layer>,
    file: cancel::Writer<&File>,
    path: &Path,
) -> Result<(), Error> {
    let tar = Writer::new(BufWriter::with_capacity(128 * 1024, file));
    let mut out = Output { tar, path, written: HashSet::new(), content: HashMap::new() };
    for image in images {
        out.image(image, layers)?;
    }
    out.bytes("repositories", json!(repositories(images)).to_string().as_bytes())?;
    let list = images.iter().map(|image| {
        let layers: Vec<_> = image.layers.iter().map(|step| out.content.get(&step.diff_id)).collect();
        json!({"Config": image.config_name, "RepoTags": image.names, "Layers": layers})
    });
    let list: Vec<Value> = list.collect();
    // Last: an archive that was cut anywhere has none.
    out.bytes("manifest.json", json!(list).to_string().as_bytes())?;
    let unwritten = out.unwritten();
    let mut buffer = out.tar.finish().map_err(unwritten)?;
    buffer.flush().map_err(Error::io("write", path))
}
