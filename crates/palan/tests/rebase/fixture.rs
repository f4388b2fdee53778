//! Bases and applications whose files tell which layer they are from.

use std::collections::BTreeMap;

use palan::image::Image as Loaded;
use palan_core::{Compression, Digest};
use palan_testkit::image::{Image, ImageSpec, Layer, LayerSpec};
use serde_json::Value;

/// What a layer does: files with their content; `None` hides one.
pub(crate) type Files<'a> = &'a [(&'a str, Option<&'a str>)];

/// Two layers; the second one patched differently.
pub(crate) const OLD: [Files<'static>; 2] = [
    &[("etc/os-release", Some("old")), ("usr/lib/libc.so", Some("libc 1.0"))],
    &[("usr/lib/libssl.so", Some("ssl 1.0")), ("usr/share/obsolete", Some("obsolete"))],
];
pub(crate) const NEW: [Files<'static>; 2] = [
    &[("etc/os-release", Some("new")), ("usr/lib/libc.so", Some("libc 1.0"))],
    &[("usr/lib/libssl.so", Some("ssl 1.1")), ("usr/share/added", Some("added"))],
];
pub(crate) const APP: [Files<'static>; 2] =
    [&[("app/bin", Some("app")), ("app/tmp", Some("tmp"))], &[("app/conf", Some("conf")), ("app/tmp", None)]];

pub(crate) fn layer(files: Files<'_>, compression: Compression) -> Layer {
    let spec = LayerSpec::new().compression(compression);
    let add = |spec: LayerSpec, (path, content): &(&str, Option<&str>)| match content {
        Some(content) => spec.file(path, content),
        None => spec.whiteout(path),
    };
    files.iter().fold(spec, add).build()
}

pub(crate) fn layers(stack: &[Files<'_>]) -> Vec<Layer> {
    stack.iter().map(|files| layer(files, Compression::Gzip)).collect()
}

pub(crate) fn old_base() -> Image {
    base("linux/amd64", &OLD).build()
}

pub(crate) fn new_base() -> Image {
    base("linux/amd64", &NEW).build()
}

/// A base image of layers; every platform has its own.
pub(crate) fn base(platform: &str, stack: &[Files<'_>]) -> ImageSpec {
    let marker = [("etc/platform", Some(platform))];
    let mut all = vec![marker.as_slice()];
    all.extend_from_slice(stack);
    // The marker is in the lowest layer, so that no platform's layers are a prefix of another's.
    let first: Vec<_> = all[0].iter().chain(all[1]).copied().collect();
    let rest = layers(&all[2..]);
    ImageSpec::new(platform).layer(layer(&first, Compression::Gzip)).layers(rest)
}

/// An application on a base.
pub(crate) fn app(base: &Image) -> ImageSpec {
    ImageSpec::for_platform(base.platform.clone()).on(base).layers(layers(&APP))
}

/// The files that a stack of layers amounts to, for a platform.
pub(crate) fn merged(platform: &str, stacks: &[&[Files<'_>]]) -> BTreeMap<String, Digest> {
    let mut out = BTreeMap::from([("etc/platform".to_owned(), Digest::sha256(platform.as_bytes()))]);
    for (path, content) in stacks.iter().copied().flatten().copied().flatten() {
        match content {
            Some(content) => out.insert((*path).to_owned(), Digest::sha256(content.as_bytes())),
            None => out.remove(*path),
        };
    }
    out
}

pub(crate) fn diff_ids(image: &Loaded) -> Vec<Digest> {
    image.config_view.rootfs.diff_ids.clone()
}

/// The layers of `result` are those of `new` and then `app`'s above its first `base_layers`, by content and as stored.
pub(crate) fn assert_stacked(result: &Loaded, new: &Image, app: &Image, base_layers: usize) {
    let expected = new.layers.iter().chain(&app.layers[base_layers..]);
    let (ids, digests): (Vec<_>, Vec<_>) = expected.map(|l| (l.diff_id, l.digest)).unzip();
    assert_eq!(diff_ids(result), ids);
    assert_eq!(result.manifest_view.layers.iter().map(|l| l.digest).collect::<Vec<_>>(), digests);
    assert_whole_history(result);
}

/// Either no history, or one entry for each layer.
pub(crate) fn assert_whole_history(image: &Loaded) {
    let history = &image.config_view.history;
    if !history.is_empty() {
        let filled = history.iter().filter(|h| !h.empty_layer).count();
        assert_eq!(filled, image.manifest_view.layers.len(), "{history:?}");
    }
}

/// What made each step, in order.
pub(crate) fn steps(image: &Loaded) -> Vec<String> {
    let steps = image.config_view.history.iter();
    steps.map(|h| h.created_by.clone().unwrap_or_else(|| "-".to_owned())).collect()
}

/// A field by JSON pointer.
pub(crate) fn field(document: &palan_core::Document, pointer: &str) -> Option<Value> {
    Value::Object(document.object().unwrap()).pointer(pointer).cloned()
}
