//! Hard links to files of lower layers: one layer alone cannot tell whether these are there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use palan_core::Digest;
use palan_layer::{OuterLink, Paths};

use super::{
    Fault, Severity,
    blobs::{Inside, more},
};

/// How many bytes are kept of all layers together; layers beyond are not judged.
const KEPT: usize = 32 * 1024 * 1024;
/// How many times a layer is asked for a path, all in all; links beyond are not judged. A second or two.
const QUESTIONS: usize = 20_000_000;
/// How many links are told of one layer.
const TOLD: usize = 100;

/// What was read of layers, and which images they belong to.
#[derive(Default)]
pub(super) struct Links {
    images: BTreeSet<Vec<Digest>>,
    layers: HashMap<Digest, Inside>,
    kept: usize,
}

/// Links that lead nowhere, of each layer, by position.
type Dangling = BTreeMap<Digest, BTreeSet<usize>>;

impl Links {
    /// Adds the layers of an image, the lowest first.
    pub(super) fn image(&mut self, layers: impl Iterator<Item = Digest>) {
        // A layer that comes again brings nothing that is not there.
        let mut seen = HashSet::new();
        self.images.insert(layers.filter(|layer| seen.insert(*layer)).collect());
    }

    /// Adds what was read of a layer.
    pub(super) fn layer(&mut self, digest: Digest, (paths, links): Inside) {
        self.kept += 8 * paths.len() + links.iter().map(OuterLink::memory).sum::<usize>();
        if paths.is_whole() && self.kept <= KEPT {
            self.layers.insert(digest, (paths, links));
        }
    }

    /// What leads nowhere, each said once, whatever images have the layer.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let (mut dangling, mut questions) = (Dangling::new(), QUESTIONS);
        for layers in &self.images {
            self.in_image(layers, &mut dangling, &mut questions);
        }
        let of_layer = |(digest, positions): (Digest, BTreeSet<usize>)| {
            let links = self.layers.get(&digest).map_or(&[][..], |(_, links)| links);
            let told = positions.iter().take(TOLD).filter_map(|position| links.get(*position)).map(|link| {
                let OuterLink { path, target, .. } = link;
                format!("the hard link {path} leads to {target}, where no layer up to it has a file")
            });
            let more = more(positions.len().saturating_sub(TOLD) as u64, "hard links that lead nowhere");
            let fault = |text| Fault { severity: Severity::Error, digest: Some(digest), text };
            told.chain(more).map(fault).collect::<Vec<_>>()
        };
        dangling.into_iter().flat_map(of_layer).collect()
    }

    fn in_image(&self, layers: &[Digest], dangling: &mut Dangling, questions: &mut usize) {
        let mut below: Vec<&Paths> = Vec::new();
        for digest in layers {
            // Above a layer that is not known, nothing is.
            let Some((paths, links)) = self.layers.get(digest) else { break };
            below.push(paths);
            let found = dangling.entry(*digest).or_default();
            for (position, link) in links.iter().enumerate() {
                if found.contains(&position) {
                    continue;
                }
                let Some(left) = questions.checked_sub(link.questions(below.len())) else { return };
                *questions = left;
                if link.leads_nowhere(&below) {
                    found.insert(position);
                }
            }
        }
    }
}
