//! Tree: everything that hangs below a tag or digest, and what refers to it.

use futures_util::future::{BoxFuture, try_join_all};
use palan_core::{Descriptor, Digest, Document, Kind, MediaType, Selector, view};
use serde::Serialize;

use crate::{
    Error,
    image::{self, MAX_DEPTH},
    place::Source,
};

/// One node of the graph.
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// What the node is to the one above: `index`, `manifest`, `config`, `layer`, `attestation`, `referrer`, `blob`.
    pub role: &'static str,
    /// Digest.
    pub digest: Digest,
    /// Media type.
    pub media_type: MediaType,
    /// Size in bytes, as stored.
    pub size: u64,
    /// Platform, for images in an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Artifact type, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Whether the place does not have it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub missing: bool,
    /// What it names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Node>,
    /// What has it as its subject.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub referrers: Vec<Node>,
}

impl Node {
    fn of(role: &'static str, descriptor: &Descriptor) -> Self {
        Self {
            role,
            digest: descriptor.digest,
            media_type: descriptor.media_type.clone(),
            size: descriptor.size,
            platform: descriptor.platform.as_ref().map(ToString::to_string),
            artifact_type: descriptor.artifact_type.clone(),
            missing: false,
            children: Vec::new(),
            referrers: Vec::new(),
        }
    }
}

/// Reads documents, no configs and no layers. Missing children are marked, not an error.
pub async fn tree(source: &dyn Source, selector: &Selector) -> Result<Node, Error> {
    let root = source.document(selector).await?;
    let role = if root.kind() == Kind::Index { "index" } else { "manifest" };
    let node = Node::of(role, &root.descriptor());
    document(source, node, root, 0).await
}

fn document(
    source: &dyn Source,
    mut node: Node,
    found: Document,
    depth: usize,
) -> BoxFuture<'_, Result<Node, Error>> {
    Box::pin(async move {
        if depth > MAX_DEPTH {
            return Err(image::too_deep(source, node.digest));
        }
        match found.kind() {
            Kind::Index => {
                let index: view::Index = image::parsed(source, &found)?;
                node.children =
                    try_join_all(index.manifests.iter().map(|e| child(source, entry_role(e), e, depth + 1)))
                        .await?;
            }
            Kind::Manifest => {
                let manifest: view::Manifest = image::parsed(source, &found)?;
                node.artifact_type = manifest.artifact_type;
                node.children.push(Node::of("config", &manifest.config));
                node.children.extend(manifest.layers.iter().map(|l| Node::of("layer", l)));
            }
            Kind::Other => {}
        }
        let referrers = source.referrers(node.digest, None).await?;
        node.referrers =
            try_join_all(referrers.iter().map(|r| child(source, "referrer", r, depth + 1))).await?;
        Ok(node)
    })
}

fn entry_role(entry: &Descriptor) -> &'static str {
    match entry.media_type.role() {
        _ if entry.is_attestation() => "attestation",
        palan_core::Role::Index => "index",
        palan_core::Role::Manifest => "manifest",
        _ => "blob",
    }
}

async fn child(
    source: &dyn Source,
    role: &'static str,
    entry: &Descriptor,
    depth: usize,
) -> Result<Node, Error> {
    let mut node = Node::of(role, entry);
    if !entry.media_type.is_document() {
        return Ok(node);
    }
    match source.document(&entry.digest.into()).await {
        Ok(found) => document(source, node, found, depth).await,
        Err(e) if e.is_not_found() => {
            node.missing = true;
            Ok(node)
        }
        Err(e) => Err(e),
    }
}
