//! Blobs: what is stored comes back, what is wrong never becomes visible.

use palan_core::{Algorithm, Descriptor};

use super::{Check, Fault, Feed, Place};

pub(super) async fn run(place: &dyn Place) {
    stored_blobs_come_back(place).await;
    wrong_blobs_are_refused(place).await;
    wrong_descriptors_are_noticed(place).await;
    big_blobs_stream(place).await;
    adopting_is_all_or_nothing(place).await;
}

async fn stored_blobs_come_back(place: &dyn Place) {
    let check = Check::new(place, "blobs");
    let mut feed = Feed::new(7);
    let mut blobs = Vec::new();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        for size in [0, 1, 511, 512, 513, 10_000] {
            let content: Vec<u8> = (0..size).map(|i: u32| (i % 251) as u8).collect();
            blobs.push((feed.add(algorithm, content.clone()), content));
        }
    }
    for (blob, _) in &blobs {
        check.that("an unknown blob is not there", !check.ok("has", check.target.has(blob).await));
        check.missing("opening an unknown blob", check.read(check.target.as_ref(), blob, 0).await);
        // Twice: putting is idempotent.
        for _ in 0..2 {
            check.ok("put_blob", check.target.put_blob(blob, &feed).await);
        }
    }
    for source in check.finish().await {
        for (blob, content) in &blobs {
            check.that("a stored blob is there", check.ok("has", source.has(blob).await));
            let size = blob.size;
            for offset in [0, 1, size / 2, size].into_iter().filter(|o| *o <= size) {
                let found = check.ok("reading a blob", check.read(source.as_ref(), blob, offset).await);
                let expected = &content[usize::try_from(offset).expect("small")..];
                check.that(&format!("{size} bytes from {offset} on come back"), found == expected);
            }
        }
    }
}

async fn wrong_blobs_are_refused(place: &dyn Place) {
    let check = Check::new(place, "wrong-blobs");
    let mut feed = Feed::new(100);
    let mut blobs = Vec::new();
    for (n, fault) in (0u8..).zip(Fault::ALL) {
        let blob = feed.add(Algorithm::Sha256, vec![n; 1000]);
        feed.fault(blob.digest, Some(fault));
        blobs.push(blob.clone());
        let stored = check.target.put_blob(&blob, &feed).await;
        // Who sends as many bytes as promised and no more may never see that there were more.
        if fault == Fault::Long && stored.is_ok() {
            continue;
        }
        check.fails(&format!("storing a {fault:?} blob"), stored);
        check
            .that(&format!("a {fault:?} blob is not there"), !check.ok("has", check.target.has(&blob).await));
        check.missing("opening it", check.read(check.target.as_ref(), &blob, 0).await);
    }
    // Nothing of the failed attempts is in the way of the next one.
    for blob in &blobs {
        feed.fault(blob.digest, None);
        check.ok("storing it when it is right", check.target.put_blob(blob, &feed).await);
    }
    for source in check.finish().await {
        for (n, blob) in (0u8..).zip(&blobs) {
            let found = check.ok("reading it", check.read(source.as_ref(), blob, 0).await);
            check.that("it is right", found == vec![n; 1000]);
        }
    }
}

async fn wrong_descriptors_are_noticed(place: &dyn Place) {
    let check = Check::new(place, "wrong-descriptors");
    let mut feed = Feed::new(100);
    let blob = feed.add(Algorithm::Sha256, vec![5; 1000]);
    check.ok("put_blob", check.target.put_blob(&blob, &feed).await);
    for source in check.finish().await {
        for size in [0, 999, 1001] {
            let wrong = Descriptor { size, ..blob.clone() };
            for offset in [0, 500].into_iter().filter(|o| *o <= size) {
                let text = format!("reading 1000 bytes from {offset} on as {size}");
                check.fails(&text, check.read(source.as_ref(), &wrong, offset).await);
            }
        }
        check.fails("reading from behind the end", check.read(source.as_ref(), &blob, 1001).await);
    }
}

async fn big_blobs_stream(place: &dyn Place) {
    const SIZE: usize = 32 * 1024 * 1024;
    let check = Check::new(place, "big-blob");
    let mut feed = Feed::new(64 * 1024 + 1);
    // A prime length: no two of the pieces are alike.
    let page: Vec<u8> = (0..4099u32).map(|i| (i % 251) as u8).collect();
    let mut content = page.repeat(SIZE / page.len() + 1);
    content.truncate(SIZE);
    let blob = feed.add(Algorithm::Sha256, content.clone());
    check.ok("put_blob", check.target.put_blob(&blob, &feed).await);
    for source in check.finish().await {
        let found = check.ok("reading it", check.read(source.as_ref(), &blob, 0).await);
        check.that("it comes back", found == content);
        let middle = SIZE / 2 + 13;
        let found = check.ok("reading half of it", check.read(source.as_ref(), &blob, middle as u64).await);
        check.that("half of it comes back", found == content[middle..]);
    }
}

async fn adopting_is_all_or_nothing(place: &dyn Place) {
    let check = Check::new(place, "adopt");
    let mut feed = Feed::new(100);
    let blob = feed.add(Algorithm::Sha256, vec![9; 1000]);
    let adopted = check.ok("adopt", check.target.adopt(&blob, &feed).await);
    check.that("content of nowhere cannot be adopted", !adopted);
    check.that("it is not there then", !check.ok("has", check.target.has(&blob).await));

    let neighbour = place.create("adopt-neighbour");
    check.ok("put_blob", neighbour.put_blob(&blob, &feed).await);
    let adopted = check.ok("adopt", check.target.adopt(&blob, neighbour.as_ref()).await);
    check.that("adopted is there", adopted == check.ok("has", check.target.has(&blob).await));
    let unknown = feed.add(Algorithm::Sha256, vec![8; 1000]);
    let adopted = check.ok("adopt", check.target.adopt(&unknown, neighbour.as_ref()).await);
    check.that("what the neighbour lacks cannot be adopted", !adopted);
}
