use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures_util::future::join_all;
use serde_json::json;

use super::*;

fn manifest(n: usize) -> Document {
    let value =
        json!({"schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": {}, "layers": [], "n": n});
    Document::from_value(&value, MediaType::OCI_MANIFEST).unwrap()
}

fn config(n: usize) -> Document {
    Document::from_value(&json!({"architecture": "amd64", "n": n}), MediaType::OCI_CONFIG).unwrap()
}

/// Reads a manifest through `documents`; whether it had to be read.
async fn is_read(documents: &Documents, document: &Document) -> bool {
    let reads = AtomicUsize::new(0);
    let read = || async {
        reads.fetch_add(1, SeqCst);
        Ok(document.clone())
    };
    let found = documents.document_or(document.digest(), read).await.unwrap();
    assert_eq!((found.bytes(), found.media_type()), (document.bytes(), document.media_type()));
    reads.into_inner() > 0
}

#[tokio::test]
async fn what_is_known_is_not_read_again() {
    let documents = Documents::default();
    assert!(is_read(&documents, &manifest(1)).await);
    assert!(!is_read(&documents.clone(), &manifest(1)).await);
    documents.insert(&manifest(2));
    assert!(!is_read(&documents, &manifest(2)).await);
    // A config is no manifest, whatever its digest is.
    let read = || async { Ok(config(1).bytes().clone()) };
    let bytes = documents.config_or(&config(1).descriptor(), read).await.unwrap();
    assert_eq!(bytes, config(1).bytes());
    assert!(documents.document(config(1).digest()).is_none());
    let never = || async { unreachable!("it is known") };
    assert_eq!(documents.config_or(&config(1).descriptor(), never).await.unwrap(), config(1).bytes());
}

#[tokio::test]
async fn however_many_ask_at_once_one_reads() {
    let documents = Documents::default();
    let (reads, document) = (AtomicUsize::new(0), manifest(1));
    let ask = || async {
        let read = || async {
            tokio::task::yield_now().await;
            match reads.fetch_add(1, SeqCst) {
                // Who fails is not the last to try.
                0 => Err(Error::Cancelled),
                _ => Ok(document.clone()),
            }
        };
        documents.document_or(document.digest(), read).await.is_ok()
    };
    let all = join_all((0..20).map(|_| ask())).await;
    assert_eq!((all.iter().filter(|ok| **ok).count(), reads.into_inner()), (19, 2));
    assert!(documents.0.turns.lock().unwrap().is_empty(), "nobody waits any more");
}

#[test]
fn memory_is_bounded_and_what_is_asked_for_stays() {
    let half = 20 * (manifest(1000).bytes().len() + OVERHEAD);
    let documents = Documents::in_memory(2 * half);
    let base = manifest(1000);
    let made = manifest(1001);
    documents.keep(&base);
    documents.insert(&made);
    for n in 2000..2200 {
        documents.keep(&manifest(n));
        assert!(documents.document(base.digest()).is_some(), "{n}");
        let memory = documents.memory();
        let sum = |known: &HashMap<Digest, Known>| known.values().map(Known::size).sum::<usize>();
        assert!(sum(&memory.young) == memory.size && memory.size <= half && sum(&memory.old) <= half);
    }
    assert!(documents.document(manifest(2000).digest()).is_none(), "nobody asked for it");
    assert!(documents.document(made.digest()).is_some(), "what was inserted stays");
    let none = Documents::in_memory(0);
    none.keep(&base);
    assert!(none.document(base.digest()).is_none());
}

#[tokio::test]
async fn a_directory_keeps_what_was_read_and_only_what_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("documents");
    let open = || Documents::in_directory(&path, Observer::default());
    let (good, cut, other) = (manifest(1), manifest(2), manifest(3));
    let documents = open();
    for document in [&good, &cut, &other] {
        assert!(is_read(&documents, document).await);
    }
    documents.insert(&manifest(4));
    let read = || async { Ok(config(1).bytes().clone()) };
    documents.config_or(&config(1).descriptor(), read).await.unwrap();
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 4, "nothing that was only computed");
    let file = |document: &Document| {
        let digest = document.digest();
        path.join(format!("{}-{}", digest.algorithm(), digest.hex()))
    };
    let whole = std::fs::read(file(&cut)).unwrap();
    std::fs::write(file(&cut), &whole[..whole.len() - 1]).unwrap();
    std::fs::copy(file(&good), file(&other)).unwrap();
    let documents = open();
    assert!(!is_read(&documents, &good).await);
    assert!(is_read(&documents, &cut).await && is_read(&documents, &other).await);
    let never = || async { unreachable!("it is known") };
    assert_eq!(documents.config_or(&config(1).descriptor(), never).await.unwrap(), config(1).bytes());
    assert!(!is_read(&open(), &cut).await, "it was put right");
    std::fs::remove_dir_all(&path).unwrap();
    assert!(is_read(&open(), &good).await);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "").unwrap();
    let notes = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let notes = Arc::clone(&notes);
        Observer::new(move |event| {
            if let crate::Event::Note { text } = event {
                notes.lock().unwrap().push(text.clone());
            }
        })
    };
    let documents = Documents::in_directory(path.join("documents"), observer);
    assert!(is_read(&documents, &manifest(1)).await && is_read(&documents, &manifest(2)).await);
    assert!(!is_read(&documents, &manifest(1)).await, "memory is left");
    let notes = notes.lock().unwrap();
    assert!(
        notes.len() == 1 && notes[0].starts_with("no more manifests and configs are kept in "),
        "{notes:?}"
    );
}
