//! The two forms of a BuildKit attestation: an artifact that refers to its image, and a manifest with an image config.

use palan_core::{Descriptor, Digest, Document, MediaType, view};
use serde_json::{Map, Value, json};

use crate::{Error, image, place::Source};

/// What an attestation's manifest calls itself as an artifact.
pub(super) const ARTIFACT_TYPE: &str = "application/vnd.docker.attestation.manifest.v1+json";

/// In which form an attestation is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// With an image config for `unknown/unknown`, without a subject.
    Legacy,
    /// With artifact type, empty config, and the image as its subject.
    Artifact,
}

/// An attestation in another form, and its config where that is a new one. What has the form already stays, to the byte.
pub(super) fn convert(
    source: &dyn Source,
    manifest: &Document,
    subject: &Descriptor,
    form: Form,
) -> Result<(Document, Option<Document>), Error> {
    let found: view::Manifest = image::parsed(source, manifest)?;
    let is_about = found.subject.as_ref().is_some_and(|s| s.digest == subject.digest);
    let has_form = match form {
        Form::Legacy => found.is_image(),
        Form::Artifact => is_about && (found.artifact_type.is_some() || !found.is_image()),
    };
    if has_form {
        return Ok((manifest.clone(), None));
    }
    let config = match form {
        Form::Legacy => legacy_config(&found.layers)?,
        Form::Artifact => Document::parse(b"{}".as_slice(), None)?.with_media_type(MediaType::OCI_EMPTY),
    };
    let new = manifest.edit(|json| {
        insert_after(json, "config", json!(config.descriptor()), "mediaType");
        match form {
            Form::Legacy => {
                json.shift_remove("artifactType");
                json.shift_remove("subject");
            }
            Form::Artifact => {
                insert_after(json, "artifactType", json!(ARTIFACT_TYPE), "mediaType");
                insert_after(json, "subject", json!(subject), "layers");
            }
        }
    })?;
    Ok((new, Some(config)))
}

/// Sets a member; a new one comes after `before`, as BuildKit writes it.
fn insert_after(json: &mut Map<String, Value>, key: &str, value: Value, before: &str) {
    if let Some(found) = json.get_mut(key) {
        *found = value;
        return;
    }
    let position = json.keys().position(|k| k == before).map_or(json.len(), |at| at + 1);
    json.shift_insert(position, key.to_owned(), value);
}

/// Statements are stored as they are: their digests are their diff IDs.
fn legacy_config(statements: &[Descriptor]) -> Result<Document, Error> {
    let diff_ids: Vec<Digest> = statements.iter().map(|s| s.digest).collect();
    let config = json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    Ok(Document::from_value(&config, MediaType::OCI_CONFIG)?)
}

/// Which manifest a manifest refers to.
pub(super) fn subject(manifest: &Document) -> Option<Digest> {
    manifest.view::<view::Manifest>().ok()?.subject.map(|subject| subject.digest)
}

/// What became of an attestation, where that is said.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Became {
    LeftOut,
    Missing,
    Kept,
    Legacy,
    Referrer,
}

/// The sentence for as many attestations.
pub(super) fn counted(n: usize, what: Became) -> String {
    let (subject, end) = match n {
        1 => ("1 attestation was".to_owned(), ["a referrer of its image", "it", "it is"]),
        n => (format!("{n} attestations were"), ["referrers of their images", "them", "they are"]),
    };
    let [referrer, object, about] = end;
    match what {
        Became::LeftOut => format!("{subject} left out of the index"),
        Became::Missing => format!("{subject} left out of the index, for the source does not have {object}"),
        Became::Kept => format!("{subject} kept in the index, which does not list what {about} about"),
        Became::Legacy => format!("{subject} rewritten to the legacy form"),
        Became::Referrer => format!("{subject} made {referrer}"),
    }
}
