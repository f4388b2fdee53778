//! Copies that are not the whole, and what travels with an image: nothing is listed that is not there, nothing
//! travels that is not about the image, and what travels comes after what it is about.

#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use common::{
    Kind, chain, memory,
    recorder::{Call, Recorder},
    server, store,
};
use palan::{
    Error, Event, Observer,
    companions::{Finder, Found, Which},
    copy::{AttestationForm, Copier, Options, Shape, Shaped, shape},
    place::{BlobStream, Memory, Origin, PutAs, Source, Target},
};
use palan_core::{Descriptor, Digest, Document, Kind as DocumentKind, MediaType, Selector, view};
use palan_testkit::image::{Attestation, Graph, Image, ImageSpec, Index, IndexSpec, layer};
use serde_json::json;

fn image(platform: &str) -> Image {
    ImageSpec::new(platform).layer(layer(&[("arch", platform.as_bytes())])).build()
}

/// amd64, arm64 and, in an index inside, riscv64 and s390x, each with an attestation.
fn index(form: Attestation) -> Index {
    let inner =
        IndexSpec::new().image(image("linux/riscv64")).image(image("linux/s390x")).attest(form).build();
    IndexSpec::new()
        .image(image("linux/amd64"))
        .image(image("linux/arm64"))
        .nested(&inner)
        .attest(form)
        .annotation("team", "blue")
        .build()
}

fn shape_of(platforms: &[&str], attestations: AttestationForm) -> Shape {
    Shape { platforms: platforms.iter().map(|p| p.parse().unwrap()).collect(), attestations }
}

async fn copied(source: &Arc<dyn Source>, shaped: &Shaped, found: &Found) -> Arc<Memory> {
    let target = Arc::new(Memory::new());
    let place: Arc<dyn Target> = target.clone();
    let copier = Copier::new(source, &place, &Options::default());
    copier.shaped(shaped, &found.companions, PutAs::Tag("v1".into())).await.unwrap();
    target
}

/// Everything below a document, which must be there: platforms of images, and how many attestations are listed.
async fn walk(place: &dyn Source, root: &Document) -> (Vec<String>, usize) {
    let (mut platforms, mut attestations, mut open) = (Vec::new(), 0, vec![root.clone()]);
    while let Some(document) = open.pop() {
        if document.kind() != DocumentKind::Index {
            let manifest: view::Manifest = document.view().unwrap();
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                assert!(place.has(blob).await.unwrap(), "{} is not there", blob.digest);
            }
            continue;
        }
        for entry in document.view::<view::Index>().unwrap().manifests {
            attestations += usize::from(entry.is_attestation());
            if let (false, Some(platform)) = (entry.is_attestation(), &entry.platform) {
                platforms.push(platform.to_string());
            }
            let child = place.document(&entry.digest.into()).await;
            let child = child.unwrap_or_else(|e| panic!("a hole: {}", chain(&e)));
            assert_eq!((child.size(), child.media_type()), (entry.size, &entry.media_type));
            open.push(child);
        }
    }
    platforms.sort();
    (platforms, attestations)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_some_platforms_has_no_holes() {
    // skopeo #2874, #2882, oras #1945, regclient #836.
    let index = index(Attestation::Artifact);
    let source = memory(&index.graph()).await;
    let all = ["linux/amd64", "linux/arm64", "linux/riscv64", "linux/s390x"];
    let cases: [(&[&str], &[&str], usize); 6] = [
        (&["linux/amd64", "linux/arm64"], &["linux/amd64", "linux/arm64"], 2),
        (&["linux/amd64", "linux/riscv64"], &["linux/amd64", "linux/riscv64"], 2),
        (&["linux/riscv64", "linux/s390x"], &["linux/riscv64", "linux/s390x"], 2),
        (&["linux", "linux/amd64"], &all, 4),
        (&all, &all, 4),
        (&[], &all, 4),
    ];
    for (wanted, expected, attestations) in cases {
        let shaped =
            shape(source.as_ref(), index.document.clone(), &shape_of(wanted, AttestationForm::Keep)).await;
        let shaped = shaped.unwrap();
        let target = copied(&source, &shaped, &Found::default()).await;
        let root = target.document(&Selector::Tag("v1".into())).await.unwrap();
        assert_eq!(root.digest(), shaped.root.digest());
        let (platforms, found) = walk(target.as_ref(), &root).await;
        assert_eq!((platforms, found), (expected.iter().map(|p| (*p).to_owned()).collect(), attestations));
        let is_whole = expected.len() == all.len();
        assert_eq!(root.digest() == index.digest(), is_whole, "{wanted:?}");
        assert_eq!(shaped.notes.is_empty(), is_whole, "{wanted:?}: {:?}", shaped.notes);
        assert_eq!(root.view::<view::Index>().unwrap().annotations["team"], "blue");
    }
}

#[tokio::test]
async fn platforms_must_be_there() {
    let index = index(Attestation::Legacy);
    let source = memory(&index.graph()).await;
    let single = image("linux/amd64");
    let run = async |root: &Document, platforms: &[&str]| {
        shape(source.as_ref(), root.clone(), &shape_of(platforms, AttestationForm::Keep)).await
    };
    let error = run(&index.document, &["linux/amd64", "windows/amd64"]).await.unwrap_err();
    assert!(matches!(error, Error::NoPlatform { .. }), "{error}");
    let one = run(&index.document, &["linux/s390x"]).await.unwrap();
    assert_eq!(one.root.digest(), image("linux/s390x").digest(), "one is copied as an image");
    let fits = run(&single.manifest, &["linux/arm64", "linux/amd64"]).await.unwrap();
    assert_eq!(fits.root.digest(), single.digest());
    let error = run(&single.manifest, &["linux/arm64", "linux/s390x"]).await.unwrap_err();
    assert!(matches!(error, Error::WrongPlatform { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attestations_change_their_form() {
    use Attestation as Form;
    let attestation = |form: Form| form.about(&image("linux/amd64")).manifest.digest();
    for (form, what, listed, referrers) in [
        (Form::Legacy, AttestationForm::Keep, 4, 0),
        (Form::Artifact, AttestationForm::Keep, 4, 0),
        (Form::Legacy, AttestationForm::Strip, 0, 0),
        (Form::Artifact, AttestationForm::Strip, 0, 0),
        (Form::Legacy, AttestationForm::Legacy, 4, 0),
        (Form::Artifact, AttestationForm::Legacy, 4, 0),
        (Form::Legacy, AttestationForm::Referrers, 0, 4),
        (Form::Artifact, AttestationForm::Referrers, 0, 4),
    ] {
        let index = index(form);
        let source = memory(&index.graph()).await;
        let shaped = shape(source.as_ref(), index.document.clone(), &shape_of(&[], what)).await.unwrap();
        let target = copied(&source, &shaped, &Found::default()).await;
        let (platforms, found) = walk(target.as_ref(), &shaped.root).await;
        assert_eq!(
            (platforms.len(), found, shaped.referrers.len()),
            (4, listed, referrers),
            "{form:?} {what:?}"
        );
        let is_same =
            what == AttestationForm::Keep || (form, what) == (Form::Legacy, AttestationForm::Legacy);
        assert_eq!(shaped.root.digest() == index.digest(), is_same, "{form:?} {what:?}");
        let amd64 = image("linux/amd64").digest();
        let about = target.referrers(amd64, None).await.unwrap();
        // To the byte what BuildKit would have written.
        match what {
            AttestationForm::Legacy => {
                let legacy = target.document(&attestation(Form::Legacy).into()).await.unwrap();
                assert_eq!(walk(target.as_ref(), &legacy).await.1, 0);
                assert!(about.is_empty(), "{about:?}");
            }
            AttestationForm::Referrers => {
                assert_eq!(about.len(), 1);
                assert_eq!(about[0].digest, attestation(Form::Artifact), "{form:?}");
                assert_eq!(
                    about[0].artifact_type.as_deref(),
                    Some("application/vnd.docker.attestation.manifest.v1+json")
                );
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn attestations_of_one_image_become_its_referrers() {
    let index = index(Attestation::Legacy);
    let source = memory(&index.graph()).await;
    let shape_of = shape_of(&["linux/arm64"], AttestationForm::Referrers);
    let shaped = shape(source.as_ref(), index.document.clone(), &shape_of).await.unwrap();
    let target = copied(&source, &shaped, &Found::default()).await;
    let arm64 = image("linux/arm64").digest();
    assert_eq!(shaped.root.digest(), arm64);
    assert_eq!(target.referrers(arm64, None).await.unwrap().len(), 1);
}

/// Signatures of images, and signatures of attestations, go where those go.
#[tokio::test]
async fn what_is_about_an_image_that_is_left_out_is_left_out() {
    let [amd, arm] = ["linux/amd64", "linux/arm64"].map(image);
    let one = IndexSpec::new().images([amd.clone(), arm.clone()]).attest(Attestation::Artifact).build();
    let signatures = [
        artifact(&arm.manifest, "arm64"),
        artifact(&one.attestations[1].manifest, "attestation"),
        artifact(&amd.manifest, "amd64"),
        artifact(&one.attestations[0].manifest, "other attestation"),
    ];
    let spec = IndexSpec::new().images([amd.clone(), arm]).attest(Attestation::Artifact);
    let spec = signatures.iter().fold(spec, |spec, signature| {
        let graph = Graph { blobs: Default::default(), documents: vec![signature.clone()] };
        spec.entry(json!(signature.descriptor()), &graph)
    });
    let index = spec.image(image("linux/s390x")).build();
    let source = memory(&index.graph()).await;
    let listed = async |attestations| {
        let asked = shape_of(&["linux/amd64", "linux/s390x"], attestations);
        let shaped = shape(source.as_ref(), index.document.clone(), &asked).await.unwrap();
        let view: view::Index = shaped.root.view().unwrap();
        view.manifests.iter().map(|entry| entry.digest).collect::<HashSet<_>>()
    };
    let kept = listed(AttestationForm::Keep).await;
    assert_eq!(signatures.each_ref().map(|s| kept.contains(&s.digest())), [false, false, true, true]);
    let stripped = listed(AttestationForm::Strip).await;
    assert_eq!(signatures.each_ref().map(|s| stripped.contains(&s.digest())), [false, false, true, false]);
    assert_eq!((kept.len(), stripped.len()), (6, 3));
}

/// One image for two platforms and one attestation of two images are two entries each; what is about images may be in an
/// index before theirs.
#[tokio::test]
async fn entries_of_one_digest_are_chosen_one_by_one() {
    let [amd, arm] = ["linux/amd64", "linux/arm64"].map(image);
    let both = Attestation::Legacy.about(&amd);
    let graph = Graph { blobs: both.blobs.clone(), documents: vec![both.manifest.clone()] };
    let first = [&amd, &arm].into_iter().fold(IndexSpec::new(), |index, image| {
        let mut entry = json!(both.descriptor);
        entry["annotations"]["vnd.docker.reference.digest"] = json!(image.digest());
        index.entry(entry, &graph)
    });
    let other = Descriptor { platform: Some("linux/riscv64".parse().unwrap()), ..amd.descriptor() };
    let images = IndexSpec::new().images([amd.clone(), arm.clone()]).image_as(amd.clone(), other).build();
    let index = IndexSpec::new().nested(&first.build()).nested(&images).image(image("linux/s390x")).build();
    let source = memory(&index.graph()).await;
    let listed = async |platforms: &[&str], attestations| {
        let asked = shape_of(platforms, attestations);
        let shaped = shape(source.as_ref(), index.document.clone(), &asked).await.unwrap();
        let mut abouts = Vec::new();
        for document in &shaped.documents {
            let entries = document.view::<view::Index>().unwrap().manifests;
            abouts.extend(entries.iter().filter_map(Descriptor::attested_digest));
        }
        assert!(!shaped.left_out.contains(&amd.digest()) && shaped.left_out.contains(&arm.digest()));
        (shaped.root.view::<view::Index>().unwrap().manifests.len(), abouts)
    };
    let platforms = ["linux/riscv64", "linux/s390x"];
    assert_eq!(listed(&platforms, AttestationForm::Keep).await, (3, vec![amd.digest()]));
    assert_eq!(listed(&platforms, AttestationForm::Strip).await, (2, vec![]));
}

#[tokio::test]
async fn an_index_is_never_emptied() {
    let only = Attestation::Legacy.about(&image("linux/amd64"));
    let mut graph = Graph::default();
    graph.blobs.clone_from(&only.blobs);
    graph.documents.push(only.manifest.clone());
    let index = IndexSpec::new().entry(serde_json::to_value(&only.descriptor).unwrap(), &graph).build();
    let source = memory(&index.graph()).await;
    let result = shape(source.as_ref(), index.document, &shape_of(&[], AttestationForm::Strip)).await;
    assert!(matches!(result, Err(Error::WrongKind { .. })));
}

#[tokio::test]
async fn mirrors_may_leave_attestations_out() {
    // oc-mirror #1526.
    for form in [Attestation::Legacy, Attestation::Artifact] {
        let index = index(form);
        let mut graph = index.graph();
        let lost = form.about(&image("linux/arm64")).manifest.digest();
        graph.documents.retain(|d| d.digest() != lost);
        let source = memory(&graph).await;
        let target: Arc<dyn Target> = Arc::new(Memory::new());
        let error = common::copy(&source, &target, &index.document, PutAs::Root).await.unwrap_err();
        assert!(matches!(&error, Error::NoAttestation { digest, .. } if *digest == lost), "{error}");
        for what in [AttestationForm::Strip, AttestationForm::Legacy, AttestationForm::Referrers] {
            let shaped = shape(source.as_ref(), index.document.clone(), &shape_of(&[], what)).await.unwrap();
            let target = copied(&source, &shaped, &Found::default()).await;
            assert_eq!(walk(target.as_ref(), &shaped.root).await.0.len(), 4, "{form:?} {what:?}");
        }
    }
}

/// An artifact that refers to `subject`; its only blob is the empty config.
fn artifact(subject: &Document, name: &str) -> Document {
    let config = Descriptor::new(MediaType::OCI_EMPTY, Digest::sha256(b"{}"), 2);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": format!("example/{name}"),
        "config": config, "layers": [], "subject": subject.descriptor(),
    });
    Document::from_value(&manifest, MediaType::OCI_MANIFEST).unwrap()
}

/// An index; an SBOM of an image in it, a signature of the SBOM, a signature of the index, and a digest tag.
struct Signed {
    index: Index,
    sbom: Document,
    signature: Document,
    of_index: Document,
    tagged: Image,
    tag: String,
}

impl Signed {
    fn new() -> Self {
        let index = index(Attestation::Artifact);
        let amd64 = index.image("linux/amd64").unwrap();
        let sbom = artifact(&amd64.manifest, "sbom");
        Self {
            signature: artifact(&sbom, "signature"),
            of_index: artifact(&index.document, "signature"),
            tagged: ImageSpec::new("linux/amd64").layer(layer(&[("signature", b"cosign")])).build(),
            tag: format!("sha256-{}.sig", index.image("linux/arm64").unwrap().digest().hex()),
            index,
            sbom,
        }
    }

    /// Stores all of it, the index as `v1`.
    async fn store(&self, target: &dyn Target) {
        let mut graph = self.index.graph();
        graph.blobs.push((Descriptor::new(MediaType::OCI_EMPTY, Digest::sha256(b"{}"), 2), "{}".into()));
        store(target, &graph, PutAs::Tag("v1".into())).await.unwrap();
        for artifact in [&self.sbom, &self.signature, &self.of_index] {
            target.put_document(artifact, &PutAs::Root).await.unwrap();
        }
        store(target, &self.tagged.graph(), PutAs::Tag(self.tag.clone())).await.unwrap();
        target.finish().await.unwrap();
    }

    async fn shaped(&self, source: &dyn Source, shape_of: &Shape) -> Shaped {
        shape(source, self.index.document.clone(), shape_of).await.unwrap()
    }
}

const ALL: Which = Which { referrers: true, digest_tags: true };

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_travels_between_all_places() {
    let (folder, from_server, to_server) = (tempfile::tempdir().unwrap(), server().await, server().await);
    let signed = Signed::new();
    let kinds = [Kind::Memory, Kind::Layout, Kind::OciArchive, Kind::Registry];
    for from in kinds {
        let id = format!("{from:?}").to_lowercase();
        let filled = from.create(folder.path(), &from_server, &id);
        signed.store(filled.as_ref()).await;
        let source = from.reopen(folder.path(), &from_server, &id, &filled);
        let shaped = signed.shaped(source.as_ref(), &Shape::default()).await;
        let found = Finder::new(source.as_ref(), ALL).find(&shaped).await.unwrap();
        assert_eq!(found.notes, [""; 0], "{from:?}");
        assert_eq!(found.companions.len(), 4, "{from:?}");
        for to in kinds {
            let id = format!("{from:?}-{to:?}").to_lowercase();
            let target = to.create(folder.path(), &to_server, &id);
            let copier = Copier::new(&source, &target, &Options::default());
            copier.shaped(&shaped, &found.companions, PutAs::Tag("v1".into())).await.unwrap();
            target.finish().await.unwrap();
            assert_eq!(copier.summary().companions, 4, "{id}");
            let result = to.reopen(folder.path(), &to_server, &id, &target);
            let root = result.document(&Selector::Tag("v1".into())).await.unwrap();
            assert_eq!(root.digest(), signed.index.digest(), "{id}");
            walk(result.as_ref(), &root).await;
            for artifact in [&signed.sbom, &signed.signature, &signed.of_index] {
                let subject = artifact.view::<view::Manifest>().unwrap().subject.unwrap().digest;
                let listed = result.referrers(subject, None).await.unwrap();
                assert!(listed.iter().any(|d| d.digest == artifact.digest()), "{id}: {listed:?}");
            }
            let tagged = result.resolve(&Selector::Tag(signed.tag.clone())).await.unwrap();
            assert_eq!(tagged.digest, signed.tagged.digest(), "{id}");
        }
    }
    from_server.stop().await;
    to_server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_come_before_what_refers_to_them_and_the_tag_last() {
    // buildkit #7007: there are registries that refuse the other order.
    let (signed, place) = (Signed::new(), Arc::new(Memory::new()));
    signed.store(place.as_ref()).await;
    let source: Arc<dyn Source> = place;
    let shaped = signed.shaped(source.as_ref(), &Shape::default()).await;
    let found = Finder::new(source.as_ref(), ALL).find(&shaped).await.unwrap();
    let recorder = Recorder::new(Arc::new(Memory::new()));
    let target: Arc<dyn Target> = recorder.clone();
    let copier = Copier::new(&source, &target, &Options { jobs: 8, ..Options::default() });
    copier.shaped(&shaped, &found.companions, PutAs::Tag("v1".into())).await.unwrap();
    let mut there = HashSet::new();
    for call in recorder.calls() {
        if let Call::Document(digest, _) = call {
            let document = source.document(&digest.into()).await.unwrap();
            if let Some(subject) = document.view::<view::Manifest>().ok().and_then(|m| m.subject) {
                assert!(there.contains(&subject.digest), "{digest} came before {}", subject.digest);
            }
            there.insert(digest);
        }
    }
    let last = recorder.calls().pop();
    assert_eq!(last, Some(Call::Document(signed.index.digest(), PutAs::Tag("v1".into()))));
}

#[tokio::test]
async fn what_travels_is_chosen() {
    let (signed, place) = (Signed::new(), Memory::new());
    signed.store(&place).await;
    let rewritten = shape_of(&["linux/amd64", "linux/riscv64"], AttestationForm::Keep);
    let stripped = shape_of(&[], AttestationForm::Strip);
    let (sbom, signature) = (signed.sbom.digest(), signed.signature.digest());
    let (of_index, tagged) = (signed.of_index.digest(), signed.tagged.digest());
    let referrers = Which { referrers: true, digest_tags: false };
    let tags = Which { referrers: false, digest_tags: true };
    for (which, shape_of, expected, notes) in [
        (Which::default(), &Shape::default(), vec![], 0),
        (referrers, &Shape::default(), vec![of_index, sbom, signature], 0),
        (tags, &Shape::default(), vec![tagged], 0),
        // What is about the old index stays there, and what is about images that do not come along.
        (ALL, &rewritten, vec![sbom, signature], 1),
        // Attestations that are not wanted do not come back as referrers.
        (ALL, &stripped, vec![sbom, tagged, signature], 1),
    ] {
        let shaped = signed.shaped(&place, shape_of).await;
        let found = Finder::new(&place, which).find(&shaped).await.unwrap();
        let digests: Vec<Digest> = found.companions.iter().map(|c| c.document.digest()).collect();
        assert_eq!(digests, expected, "{which:?} {shape_of:?}");
        assert_eq!(found.notes.len(), notes, "{:?}", found.notes);
    }
}

/// A place that lists what it should not.
struct Lying(Arc<dyn Source>, Vec<Descriptor>);

#[async_trait]
impl Source for Lying {
    fn name(&self) -> String {
        self.0.name()
    }

    async fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        self.0.resolve(selector).await
    }

    async fn document(&self, selector: &Selector) -> Result<Document, Error> {
        self.0.document(selector).await
    }

    async fn open(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        self.0.open(blob, offset).await
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        self.0.has(blob).await
    }

    async fn tags(&self) -> Result<Vec<String>, Error> {
        self.0.tags().await
    }

    async fn referrers(&self, _: Digest, _: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        Ok(self.1.clone())
    }

    fn origin(&self, digest: Digest) -> Origin {
        self.0.origin(digest)
    }
}

#[tokio::test]
async fn referrers_must_refer() {
    // oras #2148: the list is the image itself. oras #1907: others are listed, too.
    let (subject, other) = (image("linux/amd64"), image("linux/arm64"));
    let mut graph = other.graph();
    graph.extend(&subject.graph());
    let place = memory(&graph).await;
    let (good, lost) = (artifact(&subject.manifest, "good"), artifact(&subject.manifest, "lost"));
    let about_other = artifact(&other.manifest, "other");
    let memory = Memory::new();
    for document in [&subject.manifest, &other.manifest, &good, &about_other] {
        memory.add_document(document);
    }
    drop(place);
    let lies = [&subject.manifest, &other.manifest, &about_other, &lost, &good].map(Document::descriptor);
    let lying = Lying(Arc::new(memory), lies.to_vec());
    let shaped = shape(&lying, subject.manifest.clone(), &Shape::default()).await.unwrap();
    let which = Which { referrers: true, digest_tags: false };
    let found = Finder::new(&lying, which).find(&shaped).await.unwrap();
    let digests: Vec<Digest> = found.companions.iter().map(|c| c.document.digest()).collect();
    assert_eq!(digests, [good.digest()]);
    let notes = found.notes.join("\n");
    for reason in ["does not say so itself", "is about", "is not there"] {
        assert!(notes.contains(reason), "{reason}: {notes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_that_must_be_absent() {
    let (folder, server) = (tempfile::tempdir().unwrap(), server().await);
    let (signed, place) = (Signed::new(), Arc::new(Memory::new()));
    signed.store(place.as_ref()).await;
    let source: Arc<dyn Source> = place;
    let shaped = signed.shaped(source.as_ref(), &Shape::default()).await;
    let found = Finder::new(source.as_ref(), ALL).find(&shaped).await.unwrap();
    let old = image("linux/s390x");
    for kind in [Kind::Memory, Kind::Layout, Kind::OciArchive, Kind::Registry] {
        let target = kind.create(folder.path(), &server, &format!("absent-{kind:?}").to_lowercase());
        for tag in ["v1", signed.tag.as_str()] {
            store(target.as_ref(), &old.graph(), PutAs::Tag(tag.into())).await.unwrap();
        }
        let notes = Arc::new(std::sync::Mutex::new(Vec::new()));
        let heard = Arc::clone(&notes);
        let observer = Observer::new(move |event| {
            if let Event::Note { text } = event {
                heard.lock().unwrap().push(text.clone());
            }
        });
        let copier = Copier::new(&source, &target, &Options { observer, ..Options::default() });
        let absent = |tag: &str| PutAs::Absent(tag.to_owned());
        let error = copier.shaped(&shaped, &found.companions, absent("v1")).await.unwrap_err();
        assert!(matches!(error, Error::Exists { .. }), "{kind:?}: {error}");
        copier.shaped(&shaped, &found.companions, absent("v2")).await.unwrap();
        assert_eq!(notes.lock().unwrap().len(), 2, "{kind:?}: the digest tag, each time");
        for (tag, digest) in
            [("v1", old.digest()), (&signed.tag, old.digest()), ("v2", signed.index.digest())]
        {
            let found = target.resolve(&Selector::Tag(tag.to_owned())).await.unwrap().digest;
            assert_eq!(found, digest, "{kind:?} {tag}");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_do_not_depend_on_what_came_first() {
    let folder = tempfile::tempdir().unwrap();
    let graph = index(Attestation::Artifact).graph();
    let mut made = Vec::new();
    for turn in 0..3 {
        let path = folder.path().join(format!("{turn}.tar"));
        let writer = palan::place::ArchiveWriter::create(&path, palan::place::Format::Oci).unwrap();
        let mut turned = graph.clone();
        let half = turned.blobs.len() / 2;
        match turn {
            1 => turned.blobs.reverse(),
            2 => turned.blobs.rotate_left(half),
            _ => {}
        }
        store(&writer, &turned, PutAs::Tag("v1".into())).await.unwrap();
        writer.finish().await.unwrap();
        made.push(std::fs::read(&path).unwrap());
    }
    assert!(made[0] == made[1] && made[1] == made[2], "the same image, other bytes");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "something is left behind");
}

mod random {
    //! Whatever the index, its platforms and attestations: no holes, nothing but what was chosen, and twice is once.

    use proptest::{prelude::*, sample::subsequence};

    use super::*;

    const PLATFORMS: [&str; 4] = ["linux/amd64", "linux/arm64", "linux/riscv64", "linux/s390x"];

    /// The platforms of an index, and of one inside it, and how they are attested.
    fn indexes() -> impl Strategy<Value = (Vec<&'static str>, Option<Vec<&'static str>>, Option<Attestation>)>
    {
        let platforms = || subsequence(PLATFORMS.to_vec(), 1..=4);
        let form = prop_oneof![Just(Attestation::Legacy), Just(Attestation::Artifact)];
        (platforms(), prop::option::of(platforms()), prop::option::of(form))
    }

    fn build(outer: &[&str], inner: Option<&[&str]>, form: Option<Attestation>) -> Index {
        let spec = |platforms: &[&str]| {
            let spec =
                IndexSpec::new().images(platforms.iter().map(|p| image(p))).field("/x-mine", json!([1]));
            form.into_iter().fold(spec, IndexSpec::attest)
        };
        match inner {
            Some(inner) => spec(outer).nested(&spec(inner).build()).build(),
            None => spec(outer).build(),
        }
    }

    fn policies() -> impl Strategy<Value = AttestationForm> {
        use AttestationForm::{Keep, Legacy, Referrers, Strip};
        prop_oneof![Just(Keep), Just(Strip), Just(Legacy), Just(Referrers)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn shapes_have_no_holes(
            (outer, inner, form) in indexes(),
            wanted in subsequence(PLATFORMS.to_vec(), 2..=4),
            what in policies(),
        ) {
            let index = build(&outer, inner.as_deref(), form);
            let all: Vec<&str> = outer.iter().chain(inner.iter().flatten()).copied().collect();
            let shape_of = shape_of(&wanted, what);
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
            runtime.block_on(async {
                let source = memory(&index.graph()).await;
                let shaped = shape(source.as_ref(), index.document.clone(), &shape_of).await;
                if wanted.iter().any(|p| !all.contains(p)) {
                    let refused = matches!(shaped, Err(Error::NoPlatform { .. }));
                    prop_assert!(refused);
                    return Ok(());
                }
                let shaped = shaped.unwrap();
                let target = copied(&source, &shaped, &Found::default()).await;
                let (platforms, attestations) = walk(target.as_ref(), &shaped.root).await;
                let mut expected: Vec<&str> = all.iter().copied().filter(|p| wanted.contains(p)).collect();
                expected.sort_unstable();
                prop_assert_eq!(&platforms, &expected);
                let listed = matches!(what, AttestationForm::Keep | AttestationForm::Legacy) && form.is_some();
                prop_assert_eq!(attestations, if listed { expected.len() } else { 0 });
                for referrer in &shaped.referrers {
                    let subject = referrer.view::<view::Manifest>().unwrap().subject.unwrap().digest;
                    prop_assert!(target.document(&subject.into()).await.is_ok());
                }
                let kept = shaped.root.object().unwrap().get("x-mine").cloned();
                prop_assert_eq!(kept, Some(json!([1])));
                let again = shape(target.as_ref(), shaped.root.clone(), &shape_of).await.unwrap();
                prop_assert_eq!(again.root.digest(), shaped.root.digest());
                Ok(())
            })?;
        }
    }
}
