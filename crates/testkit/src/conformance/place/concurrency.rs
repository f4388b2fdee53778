//! Many writers at once: nothing is lost.

use std::sync::Arc;

use palan::place::PutAs;
use palan_core::Selector;

use super::{Check, Place, documents::image, store};

const WRITERS: u32 = 16;

pub(super) async fn run(place: &dyn Place) {
    let check = Check::new(place, "concurrency");
    let shared = image(1000).graph();
    let tasks: Vec<_> = (0..WRITERS)
        .map(|n| {
            let (target, shared) = (Arc::clone(&check.target), shared.clone());
            let (own_tag, shared_tag) = (check.tag(&format!("v{n}")), check.tag("shared"));
            tokio::spawn(async move {
                store(target.as_ref(), &image(n).graph(), PutAs::Tag(own_tag)).await?;
                // The same blobs and the same tag from all of them.
                store(target.as_ref(), &shared, PutAs::Tag(shared_tag)).await
            })
        })
        .collect();
    for task in tasks {
        check.ok("one of many writers", task.await.expect("no panic"));
    }
    for source in check.finish().await {
        let mut tags = check.ok("tags", source.tags().await);
        tags.sort();
        let mut expected: Vec<String> = (0..WRITERS).map(|n| check.tag(&format!("v{n}"))).collect();
        expected.push(check.tag("shared"));
        expected.sort();
        assert_eq!(tags, expected, "{}", check.what("no tag is lost"));
        for n in 0..WRITERS {
            let graph = image(n).graph();
            let found =
                check.ok("resolve", source.resolve(&Selector::Tag(check.tag(&format!("v{n}")))).await);
            check.that("each tag stands for its image", found.digest == graph.root().digest());
            for (blob, content) in &graph.blobs {
                let found = check.ok("a blob", check.read(source.as_ref(), blob, 0).await);
                check.that("no blob is lost", found == content);
            }
        }
    }
}
