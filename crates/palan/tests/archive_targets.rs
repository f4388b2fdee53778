//! What an archive may be written over: files, and only those that nobody is reading.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, path::Path, process::Command};

use palan::{Error, Location, Places};

fn places() -> Places {
    Places::new(palan::client::Client::builder().build().unwrap())
}

fn archive(path: &Path) -> Location {
    format!("oci-archive:{}", path.display()).parse().unwrap()
}

async fn write_empty(places: &Places, path: &Path) {
    places.target(&archive(path)).unwrap().place.finish().await.unwrap();
}

#[tokio::test]
async fn a_symbolic_link_is_followed_and_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("file.tar"), folder.path().join("link.tar"));
    fs::write(&file, "old").unwrap();
    std::os::unix::fs::symlink("file.tar", &link).unwrap();
    write_empty(&places(), &link).await;
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_ne!(fs::read(&file).unwrap(), b"old");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_gets_the_archive_and_stays_one() {
    use std::os::unix::fs::FileTypeExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (pipe, file) = (folder.path().join("pipe"), folder.path().join("file.tar"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read(pipe).unwrap()
    });
    write_empty(&places(), &pipe).await;
    write_empty(&places(), &file).await;
    assert_eq!(reader.join().unwrap(), fs::read(&file).unwrap());
    assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
}

#[tokio::test]
async fn a_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(places().target(&archive(folder.path())).is_err());
}

#[tokio::test]
async fn an_archive_that_is_being_read_is_not_replaced_under_any_of_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("a.tar"), folder.path().join("b.tar"));
    let places = places();
    write_empty(&places, &file).await;
    std::os::unix::fs::symlink("a.tar", &link).unwrap();
    let named = format!("oci-archive:{}:any", file.display()).parse().unwrap();
    let reading = places.source(&named).unwrap();
    for path in [file.clone(), link, folder.path().join("./a.tar")] {
        assert!(matches!(places.target(&archive(&path)), Err(Error::Unsupported(_))), "{}", path.display());
    }
    drop(reading);
    write_empty(&places, &file).await;
}
