//! The matrix of what is at the top, where the hints are and how the old base is found. Every cell: all the app's
//! layers kept, no old base layer left, the files those of the new base and the app.

use palan_core::{
    Digest,
    annotation::{BASE_DIGEST, BASE_NAME},
};
use palan_testkit::image::{Attestation, Graph, Image, ImageSpec, IndexSpec};

use crate::{
    fixture::{APP, NEW, OLD, app, assert_stacked, base, merged},
    world::World,
};

const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Top {
    Image,
    Index,
    Legacy,
    Artifacts,
    Nested,
    Platformless,
    Twice,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Hint {
    None,
    Manifest,
    Index,
    Descriptor,
    Labels,
    Contradicted,
    NameOnly,
}

#[derive(Clone, Copy, Debug)]
enum Named {
    Index,
    Child,
}

use Hint::{Contradicted, Descriptor, Labels, Manifest, NameOnly};
use Top::{Artifacts, Legacy, Nested, Platformless, Twice};

const TOPS: [Top; 7] = [Top::Image, Top::Index, Legacy, Artifacts, Nested, Platformless, Twice];
const HINTS: [Hint; 7] = [Hint::None, Manifest, Hint::Index, Descriptor, Labels, Contradicted, NameOnly];

struct Cell<'a> {
    world: &'a World,
    old: [Image; 2],
    new: [Image; 2],
    old_index: Digest,
}

impl Cell<'_> {
    fn digest(&self, i: usize, named: Named) -> String {
        match named {
            Named::Index => self.old_index.to_string(),
            Named::Child => self.old[i].digest().to_string(),
        }
    }

    fn image(&self, i: usize, hint: Hint, named: Named) -> Image {
        let (name, digest) = (self.world.text("base:latest"), self.digest(i, named));
        let spec: ImageSpec = app(&self.old[i]);
        match hint {
            Manifest => spec.annotation(BASE_NAME, name).annotation(BASE_DIGEST, digest),
            Labels => spec.label(BASE_NAME, name).label(BASE_DIGEST, digest),
            Contradicted => spec
                .annotation(BASE_NAME, name)
                .annotation(BASE_DIGEST, digest)
                .label(BASE_NAME, "example.com/parent:1")
                .label(BASE_DIGEST, Digest::sha256(b"parent").to_string()),
            NameOnly => spec.annotation(BASE_NAME, name),
            Hint::None | Hint::Index | Descriptor => spec,
        }
        .build()
    }

    fn graph(&self, top: Top, hint: Hint, named: Named) -> Graph {
        let images = [0, 1].map(|i| self.image(i, hint, named));
        if top == Top::Image {
            return images[0].graph();
        }
        let name = self.world.text("base:latest");
        let mut spec = IndexSpec::new();
        let digest = self.old_index.to_string();
        if hint == Hint::Index {
            spec = spec.annotation(BASE_NAME, name.clone()).annotation(BASE_DIGEST, digest);
        }
        for (i, image) in images.into_iter().enumerate() {
            let digest = self.digest(i, named);
            let notes = [(BASE_NAME, name.as_str()), (BASE_DIGEST, digest.as_str())];
            let noted = hint == Descriptor;
            spec = match (top, i) {
                (Nested, 1) if noted => spec.nested(&IndexSpec::new().annotated_image(image, &notes).build()),
                (Nested, 1) => spec.nested(&IndexSpec::new().image(image).build()),
                (Platformless, 1) if !noted => spec.image_without_platform(image),
                (Twice, 1) if noted => {
                    spec.annotated_image(image.clone(), &notes).annotated_image(image, &notes)
                }
                (Twice, 1) => spec.image(image.clone()).image(image),
                _ if noted => spec.annotated_image(image, &notes),
                _ => spec.image(image),
            };
        }
        match top {
            Legacy => spec = spec.attest(Attestation::Legacy),
            Artifacts => spec = spec.attest(Attestation::Artifact),
            _ => {}
        }
        spec.build().graph()
    }

    async fn check(&self, top: Top, hint: Hint, named: Named, what: &str) {
        self.world.put("app:v1", &self.graph(top, hint, named)).await;
        let mut rebase = self.world.rebase("app:v1");
        if hint == Hint::None {
            rebase = rebase.new_base("base:latest");
        }
        if matches!(hint, Hint::None | NameOnly) {
            rebase = rebase.old_base("base:old");
        }
        let done = rebase.run().await;
        let reports = &done.plan.report().platforms;
        assert_eq!(reports.len(), if top == Top::Image { 1 } else { 2 }, "{what}");
        for (i, report) in reports.iter().enumerate() {
            let name = format!("app@{}", report.new_digest);
            assert_stacked(&self.world.image(&name).await, &self.new[i], &app(&self.old[i]).build(), 2);
            assert_eq!(self.world.files(&name).await, merged(PLATFORMS[i], &[&NEW, &APP]), "{what}");
        }
        self.world.assert_valid("app:v1").await;
        self.world.rebase("app:v1").changes_nothing().await;
    }
}

#[tokio::test]
async fn every_top_level_with_every_kind_of_hint() {
    let world = World::new().await;
    let images = |stack: &[_]| PLATFORMS.map(|p| base(p, stack).build());
    let (old, new) = (images(&OLD), images(&NEW));
    let index = |images: &[Image; 2]| IndexSpec::new().images(images.clone()).build();
    world.put("base:old", &index(&old).graph()).await;
    world.put("base:latest", &index(&new).graph()).await;
    let cell = Cell { world: &world, old_index: index(&old).digest(), old, new };
    for top in TOPS {
        // A single image has neither an index nor a descriptor to say something.
        let hints = HINTS.into_iter().filter(|h| top != Top::Image || ![Hint::Index, Descriptor].contains(h));
        for hint in hints {
            for named in [Named::Index, Named::Child] {
                cell.check(top, hint, named, &format!("{top:?} {hint:?} {named:?}")).await;
            }
        }
    }
    world.stop().await;
}
