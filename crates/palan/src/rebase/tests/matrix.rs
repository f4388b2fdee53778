//! The matrix of histories, stacks, compressions and families: every cell keeps all of the image's layers and none of
//! the old base's.

use palan_core::{Compression, Digest, Family, MediaType};
use palan_testkit::image::{Graph, History, Image, ImageSpec, Layer};
use serde_json::{Value, json};

use super::{Bed, Files, assert_history_is_none_or_whole, block_on, layer};

#[derive(Clone, Copy, Debug)]
enum BaseHistory {
    Full,
    None,
    WithoutCreated,
    /// More steps than the image's copy of it.
    Longer,
    /// More steps that made a layer than layers.
    TooMany,
}

const BASE_HISTORIES: [BaseHistory; 5] = [
    BaseHistory::Full,
    BaseHistory::None,
    BaseHistory::WithoutCreated,
    BaseHistory::Longer,
    BaseHistory::TooMany,
];
const HISTORIES: [History; 5] =
    [History::Full, History::None, History::OwnOnly, History::Padded, History::NullCreated];
const OWN: [usize; 4] = [0, 1, 2, 5];

#[derive(Clone, Copy, Debug)]
struct Bases {
    old: usize,
    new: usize,
    /// How many layers, counted from the lowest, both have.
    common: usize,
}

const BASES: [Bases; 6] = [
    Bases { old: 1, new: 1, common: 0 },
    Bases { old: 2, new: 2, common: 0 },
    Bases { old: 5, new: 2, common: 0 },
    Bases { old: 2, new: 5, common: 0 },
    Bases { old: 2, new: 2, common: 1 },
    Bases { old: 2, new: 3, common: 2 },
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stored {
    Gzip,
    Zstd,
    Plain,
    Recompressed,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Types {
    Oci,
    Docker,
    /// An OCI manifest with Docker's config and layers.
    Mixed,
}

/// What a recompressed base is stored as where it is a base, and in the image.
const AS_BASE: Compression = Compression::None;
const IN_IMAGE: Compression = Compression::Gzip;

fn stack(name: &str, range: std::ops::Range<usize>, compression: Compression) -> Vec<Layer> {
    let one = |i| layer(&Files::from([("l", Some(format!("{name} {i}")))]), compression);
    range.map(one).collect()
}

fn with_history(spec: ImageSpec, history: BaseHistory) -> ImageSpec {
    let plain = || {
        let object = spec.clone().build().config.object().unwrap();
        object["history"].as_array().cloned().unwrap_or_default()
    };
    let steps: Vec<Value> = match history {
        BaseHistory::Full => return spec,
        BaseHistory::None => return spec.history(History::None),
        BaseHistory::WithoutCreated => plain()
            .into_iter()
            .map(|mut step| {
                step.as_object_mut().unwrap().remove("created");
                step
            })
            .collect(),
        BaseHistory::Longer => {
            plain().into_iter().chain([json!({"created_by": "LABEL", "empty_layer": true})]).collect()
        }
        BaseHistory::TooMany => plain().into_iter().chain([json!({"created_by": "COPY"})]).collect(),
    };
    spec.config_field("/history", steps)
}

struct Cell {
    old_history: BaseHistory,
    history: History,
    own: usize,
    bases: Bases,
    stored: Stored,
    types: Types,
}

impl Cell {
    fn family(&self) -> Family {
        if self.types == Types::Docker { Family::Docker } else { Family::Oci }
    }

    fn images(&self) -> [Image; 3] {
        let Bases { old, new, common } = self.bases;
        let (as_base, in_image) = match self.stored {
            Stored::Gzip => (Compression::Gzip, Compression::Gzip),
            Stored::Zstd => (Compression::Zstd, Compression::Zstd),
            Stored::Plain => (Compression::None, Compression::None),
            Stored::Recompressed => (AS_BASE, IN_IMAGE),
        };
        let spec = || ImageSpec::new("linux/amd64").family(self.family());
        let stored = |compression| spec().layers(stack("old", 0..old, compression));
        let shared = stack("old", 0..common, as_base);
        let new = spec().layers(shared).layers(stack("new", common..new, as_base)).build();
        // The image was built on the base as it was before its history grew.
        let built_on = match self.old_history {
            BaseHistory::Longer => stored(in_image).build(),
            _ => with_history(stored(in_image), self.old_history).build(),
        };
        let own = stack("own", 0..self.own, in_image);
        let app = spec().on(&built_on).layers(own).history(self.history).build();
        [with_history(stored(as_base), self.old_history).build(), new, app]
    }

    fn graph(&self, app: &Image) -> Graph {
        if self.types != Types::Mixed {
            return app.graph();
        }
        let docker = |value: &mut Value| {
            let media_type: MediaType = serde_json::from_value(value["mediaType"].clone()).unwrap();
            value["mediaType"] = json!(media_type.in_family(Family::Docker).unwrap());
        };
        let mixed = app.manifest.edit(|json| {
            docker(&mut json["config"]);
            json["layers"].as_array_mut().unwrap().iter_mut().for_each(docker);
        });
        Graph { documents: vec![mixed.unwrap()], ..app.graph() }
    }

    async fn check(&self, what: &str) {
        let [old, new, app] = self.images();
        let graph = self.graph(&app);
        let bed = Bed::with([&old.graph(), &new.graph(), &graph]);
        let rebased = bed.rebase(graph.root(), &old.manifest, &new.manifest).await;
        let result = bed.image(&rebased.root).await;
        let expected = || new.layers.iter().chain(&app.layers[self.bases.old..]);
        let ids: Vec<Digest> = expected().map(|l| l.diff_id).collect();
        assert_eq!(result.config_view.rootfs.diff_ids, ids, "{what}");
        let digests: Vec<Digest> = expected().map(|l| l.digest).collect();
        let found: Vec<Digest> = result.manifest_view.layers.iter().map(|l| l.digest).collect();
        assert_eq!(found, digests, "{what}");
        for layer in &result.manifest_view.layers {
            assert_eq!(layer.media_type.family(), Some(self.family()), "{what}");
        }
        assert_history_is_none_or_whole(&result, what);
        self.check_steps(&result, &app, what);
    }

    /// Where history can be told apart, the image's own steps are still there.
    fn check_steps(&self, result: &crate::image::Image, app: &Image, what: &str) {
        if !matches!(self.history, History::Full | History::OwnOnly)
            || matches!(self.old_history, BaseHistory::TooMany)
            // Without the base's steps, an image's history only proves to be its own where the base has none.
            || (self.history == History::OwnOnly && !matches!(self.old_history, BaseHistory::None))
        {
            return;
        }
        let steps: Vec<_> = result.config_view.history.iter().filter_map(|h| h.created_by.as_ref()).collect();
        for layer in &app.layers[self.bases.old..] {
            assert!(steps.contains(&&layer.created_by), "{what}: {steps:?}");
        }
    }
}

fn check(types: Types) {
    let mut cells = 0;
    for stored in [Stored::Gzip, Stored::Zstd, Stored::Plain, Stored::Recompressed] {
        if stored == Stored::Zstd && types != Types::Oci {
            continue;
        }
        for bases in BASES {
            for own in OWN {
                for old_history in BASE_HISTORIES {
                    for history in HISTORIES {
                        let cell = Cell { old_history, history, own, bases, stored, types };
                        let what =
                            format!("{types:?} {stored:?} {bases:?} {own} {old_history:?} {history:?}");
                        block_on(cell.check(&what));
                        cells += 1;
                    }
                }
            }
        }
    }
    assert_eq!(cells, BASES.len() * OWN.len() * 25 * if types == Types::Oci { 4 } else { 3 });
}

#[test]
fn every_cell_of_oci_images() {
    check(Types::Oci);
}

#[test]
fn every_cell_of_docker_images() {
    check(Types::Docker);
}

#[test]
fn every_cell_of_mixed_images() {
    check(Types::Mixed);
}
