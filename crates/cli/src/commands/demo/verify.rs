//! Verification: the results are read back from the registry and compared with what the fixture says they must be.

use std::collections::BTreeMap;

use palan::{
    files,
    image::Image,
    place::{Opened, Source},
    validate,
};
use palan_core::{Digest, Document, Kind, annotation, view};
use palan_layer::tree::{Content, Tree};

use super::{
    build::Base,
    fixture::{Layer, NEW_BASE, OLD_BASE, PLATFORMS, Service, Shape},
};
use crate::exit::Result;

/// Everything that is wrong with a result; empty when all is right.
pub(super) async fn check(
    service: &Service,
    before: &Document,
    result: &Opened<dyn Source>,
    digest: Digest,
    base: &Base,
) -> Result<Vec<String>> {
    let source = result.place.as_ref();
    let root = source.document(result.chosen()?).await?;
    let mut faults = Vec::new();
    if root.digest() != digest {
        faults.push(format!("the tag is {}, the rebase reported {digest}", root.digest()));
    }
    if root.media_type() != before.media_type() {
        faults.push(format!("the media type changed from {} to {}", before.media_type(), root.media_type()));
    }
    let report = validate::validate(source, result.chosen()?, &validate::Options::default()).await?;
    faults.extend(report.faults.into_iter().map(|f| f.text));
    let expected: Vec<&str> = match &service.shape {
        Shape::Single(arch) => vec![arch],
        _ => PLATFORMS.to_vec(),
    };
    let mut found = Vec::new();
    for manifest in manifests(source, root).await? {
        let image = Image::load(source, manifest).await?;
        found.push(image.config_view.architecture.clone());
        faults.extend(check_documents(service, &image, base));
        let tree = files(source, &image, Content::Digest).await?;
        faults.extend(check_files(service, &image.config_view.architecture, &tree));
    }
    if found != expected {
        faults.push(format!("platforms are {}, expected {}", found.join(", "), expected.join(", ")));
    }
    Ok(faults)
}

/// The images at a tag. An attestation that is still listed must be about one of them.
async fn manifests(source: &dyn Source, root: Document) -> Result<Vec<Document>> {
    if root.kind() != Kind::Index {
        return Ok(vec![root]);
    }
    let mut out = Vec::new();
    for entry in root
        .view::<view::Index>()
        .map_err(palan::Error::from)?
        .manifests
        .iter()
        .filter(|e| !e.is_attestation())
    {
        out.push(source.document(&entry.digest.into()).await?);
    }
    Ok(out)
}

fn check_documents(service: &Service, image: &Image, base: &Base) -> Vec<String> {
    let mut faults = Vec::new();
    let arch = &image.config_view.architecture;
    let annotations = &image.manifest_view.annotations;
    if annotations.get("org.example.team").map(String::as_str) != Some(service.name) {
        faults.push(format!("{arch}: an annotation was lost"));
    }
    let unknown = |document: &Document| document.object().is_ok_and(|o| o.contains_key("x-demo"));
    if !unknown(&image.manifest) || !unknown(&image.config) {
        faults.push(format!("{arch}: an unknown field was lost"));
    }
    if image.manifest.family() != service.family {
        faults.push(format!("{arch}: the media type family changed"));
    }
    if annotations.get(annotation::BASE_NAME) != base.reference.base_name().as_ref() {
        faults.push(format!("{arch}: the base's name is {:?}", annotations.get(annotation::BASE_NAME)));
    }
    let expected = base.manifests.iter().find(|(a, _)| a == arch).map(|(_, d)| d.to_string());
    if annotations.get(annotation::BASE_DIGEST) != expected.as_ref() {
        faults.push(format!("{arch}: the base's digest is {:?}", annotations.get(annotation::BASE_DIGEST)));
    }
    faults
}

/// The squashed file system: every file of the patched base, every file of the application, and nothing else.
fn check_files(service: &Service, arch: &str, tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    let expected = merged(NEW_BASE.iter().chain(service.layers), arch);
    let old = merged(OLD_BASE.iter(), arch);
    for (path, content) in &expected {
        match tree.get(path).map(palan_layer::tree::Node::digest) {
            None => faults.push(format!("{arch}: {path} is missing")),
            Some(found) if found == Some(*content) => {}
            Some(found) if found == old.get(path).copied() => {
                faults.push(format!("{arch}: {path} is not patched"));
            }
            Some(_) => faults.push(format!("{arch}: {path} has other content")),
        }
    }
    for (path, node) in tree.iter() {
        let path = String::from_utf8_lossy(path);
        if !node.is_dir() && !expected.contains_key(path.as_ref()) {
            faults.push(format!("{arch}: {path} should not be there"));
        }
    }
    faults
}

/// What a stack of the fixture's layers amounts to.
fn merged<'a>(layers: impl Iterator<Item = &'a Layer>, arch: &str) -> BTreeMap<&'static str, Digest> {
    let mut files = BTreeMap::new();
    for (path, content) in layers.flat_map(|layer| layer.iter()) {
        match content {
            Some(content) => files.insert(*path, Digest::sha256(content.replace("{arch}", arch).as_bytes())),
            None => files.remove(path),
        };
    }
    files
}
