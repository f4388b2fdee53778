//! A registry in a directory, or without one in memory:
//! `cargo run -p palan-server --example serve -- 127.0.0.1:5000 [DIRECTORY]`
//!
//! For each line on its standard input it prints what it has counted so far: requests, bytes of blobs received, bytes of
//! blobs sent.

#![allow(clippy::print_stdout)]

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
    let server = registry.serve(address).await?;
    println!("listening on {}", server.url());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(_)) = lines.next_line().await {
        let stats = registry.stats();
        println!("{} {} {}", stats.requests, stats.blob_bytes_in, stats.blob_bytes_out);
    }
    std::future::pending().await
}
