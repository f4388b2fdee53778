//! Hard links to files of lower layers: one layer alone cannot tell whether these are there.

use std::collections::{BTreeSet, HashMap};

use palan_core::Digest;
use palan_layer::{OuterLink, Paths};

use super::{Fault, Severity};

/// How many paths are kept of all layers together; layers beyond are not judged. 32 MB.
const KEPT: usize = 4_000_000;

/// What was read of layers, and which images they belong to.
#[derive(Default)]
pub(super) struct Links {
    images: Vec<Vec<Digest>>,
    layers: HashMap<Digest, (Paths, Vec<OuterLink>)>,
    kept: usize,
}

impl Links {
    /// Adds the layers of an image, the lowest first.
    pub(super) fn image(&mut self, layers: Vec<Digest>) {
        self.images.push(layers);
    }

    /// Adds what was read of a layer.
    pub(super) fn layer(&mut self, digest: Digest, paths: Paths, links: Vec<OuterLink>) {
        self.kept += paths.len();
        if paths.is_whole() && self.kept <= KEPT {
            self.layers.insert(digest, (paths, links));
        }
    }

    /// What leads nowhere, each said once, whatever images have the layer.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let told: BTreeSet<(Digest, String)> =
            self.images.iter().flat_map(|layers| self.in_image(layers)).collect();
        let fault = |(digest, text)| Fault { severity: Severity::Error, digest: Some(digest), text };
        told.into_iter().map(fault).collect()
    }

    fn in_image(&self, layers: &[Digest]) -> Vec<(Digest, String)> {
        let (mut below, mut out) = (Vec::new(), Vec::new());
        for digest in layers {
            // Above a layer that is not known, nothing is.
            let Some((paths, links)) = self.layers.get(digest) else { break };
            below.push(paths);
            for link in links.iter().filter(|link| link.leads_nowhere(&below)) {
                let OuterLink { path, target, .. } = link;
                let text =
                    format!("the hard link {path} leads to {target}, where no layer up to it has a file");
                out.push((*digest, text));
            }
        }
        out
    }
}
