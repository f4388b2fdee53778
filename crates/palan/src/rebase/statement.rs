//! What was done, as a statement that can be attached and, one day, signed.
//!
//! Source: in-toto attestation framework, Statement v1; image-spec `manifest.md`, "Guidelines for Artifact Usage". The
//! predicate is documented in `docs/reference/rebase-predicate.md`. The same rebase makes the same bytes: there is no
//! time in it.

use palan_core::{Bytes, Digest, Document, MediaType};
use serde_json::{Value, json};

use super::report::{BaseReport, PlatformReport, Report};
use crate::Error;

/// The predicate type of a rebase.
pub const PREDICATE_TYPE: &str = "https://github.com/palan-rs/palan/rebase/v1";
/// Media type of in-toto statements, also the artifact type of what carries one.
pub(super) const IN_TOTO: &str = "application/vnd.in-toto+json";

/// The statement about a rebase, as in-toto's JSON.
pub(super) fn statement(report: &Report) -> Value {
    let mut subjects = vec![subject(&report.target, report.new_digest)];
    let platforms = report.platforms.iter().filter(|p| p.new_digest != report.new_digest);
    subjects.extend(platforms.map(|p| subject(&format!("{} ({})", report.target, p.platform), p.new_digest)));
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "tool": {"name": "palan", "version": env!("CARGO_PKG_VERSION")},
            "image": {"name": report.image, "digest": digest_map(report.digest)},
            "verdict": report.verdict,
            "platforms": report.platforms.iter().map(platform).collect::<Vec<_>>(),
        },
    })
}

fn subject(name: &str, digest: Digest) -> Value {
    json!({"name": name, "digest": digest_map(digest)})
}

fn digest_map(digest: Digest) -> Value {
    json!({digest.algorithm().as_str(): digest.hex()})
}

fn platform(report: &PlatformReport) -> Value {
    json!({
        "platform": report.platform,
        "image": {"digest": digest_map(report.digest)},
        "result": {"digest": digest_map(report.new_digest)},
        "oldBase": base(&report.old_base),
        "newBase": base(&report.new_base),
        "boundary": report.boundary,
        "below": report.below,
        "ownLayers": report.own_layers,
        "verdict": report.verdict,
        "gates": report.assessment.as_ref().map(|a| &a.gates),
    })
}

fn base(base: &BaseReport) -> Value {
    json!({
        "name": base.name,
        "digest": base.digest.map(digest_map),
        "evidence": base.evidence,
        "chainID": base.chain_id,
    })
}

/// A manifest that attaches a statement to the result, and the statement's bytes.
pub(super) fn referrer(
    report: &Report,
    root: &Document,
) -> Result<(Document, Vec<(MediaType, Bytes)>), Error> {
    let statement = Bytes::from(statement(report).to_string());
    let digest = Digest::sha256(&statement);
    let annotations = json!({"in-toto.io/predicate-type": PREDICATE_TYPE});
    let empty = Bytes::from_static(b"{}");
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "artifactType": IN_TOTO,
        "config": {"mediaType": MediaType::OCI_EMPTY, "digest": Digest::sha256(&empty), "size": empty.len()},
        "layers": [{"mediaType": IN_TOTO, "digest": digest, "size": statement.len(), "annotations": annotations}],
        "subject": {"mediaType": root.media_type(), "digest": root.digest(), "size": root.size()},
        "annotations": annotations,
    });
    let document = Document::parse(Bytes::from(manifest.to_string()), Some(MediaType::OCI_MANIFEST))?;
    Ok((document, vec![(MediaType::OCI_EMPTY, empty), (MediaType::new(IN_TOTO), statement)]))
}
