//! Both stores pass the conformance suite.

#![allow(clippy::unwrap_used)]

use palan_server::{Durability, Registry};
use palan_testkit::conformance::registry;

async fn conforms(registry: Registry) {
    let server = registry.serve("127.0.0.1:0").await.unwrap();
    let report = registry::run(&server.url()).await;
    server.stop().await;
    report.assert_ok();
    assert_eq!(registry.damage(), []);
    assert!(report.assertions() > 1_000, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_conforms() {
    conforms(Registry::memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directory_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conforms(Registry::directory_with(folder.path(), Durability::None).unwrap()).await;
}
