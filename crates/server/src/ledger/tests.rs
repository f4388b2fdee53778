use bytes::Bytes;
use palan_core::{Algorithm, Descriptor, MediaType};
use serde_json::json;

use super::*;
use crate::{
    condition::Conditions,
    store::{Session, memory::Memory},
};

/// A store whose content cannot be opened while `fault` says so.
struct Failing {
    memory: Arc<Memory>,
    fault: Arc<Mutex<Option<io::ErrorKind>>>,
}

impl Store for Failing {
    fn blocks(&self) -> bool {
        false
    }

    fn stage(&self) -> io::Result<Staging> {
        self.memory.stage()
    }

    fn stage_session(&self, id: &str, session: &Session) -> io::Result<Staging> {
        self.memory.stage_session(id, session)
    }

    fn drop_session(&self, id: &str) -> io::Result<()> {
        self.memory.drop_session(id)
    }

    fn publish(&self, staged: Staging, digest: &Digest) -> io::Result<()> {
        self.memory.publish(staged, digest)
    }

    fn open(&self, digest: &Digest, size: u64, from: u64) -> io::Result<Content> {
        match *lock(&self.fault) {
            Some(kind) => Err(kind.into()),
            None => self.memory.open(digest, size, from),
        }
    }

    fn remove(&self, digest: &Digest) -> io::Result<()> {
        self.memory.remove(digest)
    }

    fn set_aside(&self, digest: &Digest) -> io::Result<()> {
        self.memory.set_aside(digest)
    }

    fn record(&self, fact: &Fact<'_>) -> io::Result<()> {
        self.memory.record(fact)
    }

    fn forget(&self, fact: &Fact<'_>) -> io::Result<()> {
        self.memory.forget(fact)
    }
}

type FaultSwitch = Arc<Mutex<Option<io::ErrorKind>>>;

fn ledger(memory: &Arc<Memory>) -> (Ledger, FaultSwitch) {
    let fault = FaultSwitch::default();
    let store = Failing { memory: Arc::clone(memory), fault: Arc::clone(&fault) };
    (Ledger::new(Box::new(store)), fault)
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn staged(content: &[u8]) -> Staging {
    let mut staged = Memory::default().stage().unwrap();
    staged.append(content).unwrap();
    staged
}

/// An index of nothing, or of what is not there.
fn index(children: &[Digest]) -> Parsed {
    let child = |digest| json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1});
    let children: Vec<_> = children.iter().map(child).collect();
    let json = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": children});
    Parsed::read(Bytes::from(json.to_string()), None, Algorithm::Sha256).unwrap()
}

fn put(ledger: &Ledger, repository: &str, parsed: Parsed) -> Result<Arc<Manifest>, Problem> {
    let put = Put::new(parsed, Selector::Tag("v1".to_owned()), Vec::new(), Conditions::default());
    ledger.put_manifest(&name(repository), put)
}

/// What a store with one blob and one tagged manifest finds, and their digests.
fn filled(memory: &Arc<Memory>) -> (Found, Digest, Digest) {
    let (ledger, _) = ledger(memory);
    let blob = Digest::sha256(b"blob");
    ledger.add_blob(&name("a"), &blob, staged(b"blob")).unwrap();
    let manifest = put(&ledger, "a", index(&[])).unwrap();
    let Descriptor { digest, size, ref media_type, .. } = manifest.descriptor;
    let found = Found {
        contents: vec![(blob, 4), (digest, size)],
        blobs: vec![(name("a"), blob, 4)],
        manifests: vec![(name("a"), digest, media_type.clone())],
        tags: vec![(name("a"), "v1".to_owned(), digest)],
    };
    (found, blob, digest)
}

const REFUSALS: [io::ErrorKind; 3] =
    [io::ErrorKind::PermissionDenied, io::ErrorKind::Other, io::ErrorKind::ResourceBusy];

#[test]
fn a_refusal_of_the_system_is_no_damage() {
    for kind in REFUSALS {
        let memory = Arc::default();
        let (found, blob, manifest) = filled(&memory);
        let (ledger, fault) = ledger(&memory);
        ledger.restore(found).unwrap();
        *lock(&fault) = Some(kind);
        let mut reported: Vec<_> = ledger.verify().into_iter().map(|d| d.digest).collect();
        reported.sort();
        let mut all = [blob, manifest];
        all.sort();
        assert_eq!(reported, all, "{kind}");
        assert!(ledger.open(&blob, 4, 0).is_err());
        *lock(&fault) = None;
        assert_eq!(ledger.damage(), [], "{kind}");
        assert_eq!(ledger.verify(), [], "{kind}");
        assert_eq!(ledger.blob(&name("a"), &blob), Some(4));
        assert!(ledger.manifest(&name("a"), &Selector::Digest(manifest)).is_some());
        assert!(ledger.open(&blob, 4, 0).is_ok());
    }
}

#[test]
fn restoring_fails_when_the_system_refuses_and_goes_on_when_content_is_damaged() {
    for kind in REFUSALS {
        let memory = Arc::default();
        let (found, _, manifest) = filled(&memory);
        let (ledger, fault) = ledger(&memory);
        *lock(&fault) = Some(kind);
        let (digest, error) = ledger.restore(found).unwrap_err();
        assert_eq!((digest, error.kind()), (manifest, kind));
        *lock(&fault) = None;
        assert_eq!(ledger.damage(), []);
        assert!(ledger.open(&manifest, index(&[]).bytes.len() as u64, 0).is_ok(), "{kind}");
    }
    for kind in [io::ErrorKind::NotFound, io::ErrorKind::InvalidData] {
        let memory = Arc::default();
        let (found, _, manifest) = filled(&memory);
        let (ledger, fault) = ledger(&memory);
        *lock(&fault) = Some(kind);
        ledger.restore(found).unwrap();
        assert_eq!(ledger.damage().iter().map(|d| d.digest).collect::<Vec<_>>(), [manifest]);
        assert!(ledger.manifest(&name("a"), &Selector::Digest(manifest)).is_none());
    }
}

#[test]
fn a_refused_manifest_leaves_no_repository() {
    let (ledger, _) = ledger(&Arc::default());
    let refused = put(&ledger, "a", index(&[Digest::sha256(b"missing")]));
    assert!(refused.is_err());
    let headers = [(http::header::IF_MATCH, http::HeaderValue::from_static("\"sha256:00\""))];
    let conditions = Conditions::of(&headers.into_iter().collect());
    let tag = Selector::Tag("v1".to_owned());
    let put_if = Put::new(index(&[]), tag, Vec::new(), conditions);
    assert!(ledger.put_manifest(&name("b"), put_if).is_err());
    assert!(read(&ledger.repositories).is_empty());
    put(&ledger, "c", index(&[])).unwrap();
    assert!(read(&ledger.repositories).keys().eq([&name("c")]));
}
