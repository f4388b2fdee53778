//! Provenance: the images that builders wrote down as what they used.
//!
//! Attestations are found as BuildKit stores them (manifests in the image's index), as referrers, and under cosign's
//! `.att` tag; as bare in-toto statements, in DSSE envelopes and in sigstore bundles. Signatures are not checked: what
//! is read is a candidate only, and is compared with the image's layers.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{StreamExt as _, stream};
use palan_core::{Descriptor, Digest, MAX_DOCUMENT_SIZE, Selector, view};
use serde_json::Value;

use super::{
    Evidence,
    purl::ImageUrl,
    subject::{Candidate, Subject},
};
use crate::{
    Error,
    place::{Source, read_all, verified},
};

const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
/// How many attestation manifests are read, how many statements of each, and how many images are taken from all.
const MAX_MANIFESTS: usize = 32;
const MAX_STATEMENTS: usize = 16;
const MAX_IMAGES: usize = 64;
/// How many are read at the same time.
const JOBS: usize = 4;

/// The images that provenance names for the image's platform, each once. What cannot be read says nothing.
pub(super) async fn candidates(source: &dyn Source, subject: &Subject) -> Vec<Candidate> {
    let manifests = manifests(source, subject).await;
    // A statement is let go as soon as its images are known: hostile ones are large.
    let named = stream::iter(manifests).map(|selector| named(source, selector)).buffered(JOBS);
    let named: Vec<Vec<_>> = named.collect().await;
    let mut out: Vec<Candidate> = Vec::new();
    for image in named.into_iter().flatten() {
        let fits = image.platform.is_none_or(|wanted| wanted.matches(&subject.platform));
        let candidate =
            Candidate { evidence: Evidence::Provenance, name: Some(image.name), digest: image.digest };
        if fits && out.len() < MAX_IMAGES && !out.contains(&candidate) {
            out.push(candidate);
        }
    }
    out
}

/// The manifests of attestations about an image.
async fn manifests(source: &dyn Source, subject: &Subject) -> Vec<Selector> {
    let digest = subject.image.manifest.digest();
    let referrers = source.referrers(digest, None).await.unwrap_or_else(|error| {
        tracing::debug!("the referrers of {digest} cannot be read: {error}");
        Vec::new()
    });
    let may_attest = |d: &Descriptor| d.artifact_type.as_deref().is_none_or(is_attestation);
    let listed = subject.attestations().iter().chain(referrers.iter().filter(|d| may_attest(d)));
    let mut out: Vec<Selector> = listed.map(|d| d.digest.into()).take(MAX_MANIFESTS).collect();
    out.push(Selector::Tag(format!("{}.att", digest.referrers_tag())));
    out
}

/// Whether an artifact or layer of this type may hold an in-toto statement.
fn is_attestation(media_type: &str) -> bool {
    ["in-toto", "dsse", "sigstore.bundle", "attestation", "slsa"].iter().any(|part| media_type.contains(part))
}

async fn named(source: &dyn Source, selector: Selector) -> Vec<ImageUrl> {
    let read = async {
        let document = source.document(&selector).await?;
        let manifest: view::Manifest = crate::image::parsed(source, &document)?;
        let layers = manifest.layers.iter().filter(|layer| is_provenance(layer)).take(MAX_STATEMENTS);
        let mut out = Vec::new();
        for layer in layers {
            let content = verified(source.name(), layer, source.open(layer, 0).await?);
            if let Some(statement) = statement(&read_all(content).await?) {
                out.extend(images(&statement));
            }
        }
        Ok::<_, Error>(out)
    };
    read.await.unwrap_or_else(|error| {
        tracing::debug!("the attestation {selector} cannot be read: {error}");
        Vec::new()
    })
}

/// Whether a layer may hold provenance: by its predicate type, where that is stated.
fn is_provenance(layer: &Descriptor) -> bool {
    let predicate = layer.annotation(PREDICATE_TYPE).or_else(|| layer.annotation("predicateType"));
    layer.size <= MAX_DOCUMENT_SIZE
        && is_attestation(layer.media_type.as_str())
        && predicate.is_none_or(|p| p.contains("slsa.dev/provenance"))
}

/// The in-toto statement in a sigstore bundle, in a DSSE envelope, or bare.
fn statement(bytes: &[u8]) -> Option<Value> {
    let json: Value = serde_json::from_slice(bytes).ok()?;
    let bundled = json.get("dsseEnvelope").or_else(|| json.get("dsse_envelope"));
    let envelope = bundled.unwrap_or(&json);
    match envelope.get("payload").and_then(Value::as_str) {
        Some(payload) => serde_json::from_slice(&STANDARD.decode(payload).ok()?).ok(),
        None => Some(json),
    }
}

/// The images among what a build used: SLSA v0.2 `materials`, v1 `resolvedDependencies`.
fn images(statement: &Value) -> Vec<ImageUrl> {
    let used = ["/predicate/materials", "/predicate/buildDefinition/resolvedDependencies"];
    let used = used.iter().filter_map(|pointer| statement.pointer(pointer)?.as_array()).flatten();
    used.filter_map(image).take(MAX_IMAGES).collect()
}

fn image(material: &Value) -> Option<ImageUrl> {
    let image = ImageUrl::parse(material.get("uri")?.as_str()?)?;
    let sha256 = material.pointer("/digest/sha256").and_then(Value::as_str);
    let digest = sha256.and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
    Some(ImageUrl { digest: image.digest.or(digest), ..image })
}
