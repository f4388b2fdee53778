//! A registry in a directory, or without one in memory:
//! `cargo run -p palan-server --example serve -- 127.0.0.1:5000 [DIRECTORY [MILLISECONDS]]`, which wait before each answer
//!
//! For each line on its standard input it prints what it has counted so far: requests, bytes of blobs received, bytes of
//! blobs sent.

#![allow(clippy::print_stdout)]

use std::time::Duration;

use palan_server::{Durability, Registry};
use tokio::io::{AsyncBufReadExt as _, BufReader};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), palan_server::Error> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:5000".to_owned());
    let registry = match arguments.next() {
        Some(directory) => Registry::directory_with(directory, Durability::None)?,
        None => Registry::memory(),
    };
    let delay = arguments.next().and_then(|text| text.parse().ok()).map(Duration::from_millis);
    let registry = match delay {
        Some(delay) => registry.with_delay(delay),
        None => registry,
    };
    let server = registry.serve(address).await?;
    println!("listening on {}", server.url());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(_)) = lines.next_line().await {
        let stats = registry.stats();
        println!("{} {} {}", stats.requests, stats.blob_bytes_in, stats.blob_bytes_out);
    }
    std::future::pending().await
}
