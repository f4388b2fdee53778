//! A registry in a directory, or without one in memory:
//! `cargo run -p palan-server --example serve -- 127.0.0.1:5000 [DIRECTORY]`

#![allow(clippy::print_stdout)]

use palan_server::Registry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), palan_server::Error> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:5000".to_owned());
    let registry = match arguments.next() {
        Some(directory) => Registry::directory(directory)?,
        None => Registry::memory(),
    };
    let server = registry.serve(address).await?;
    println!("listening on {}", server.url());
    std::future::pending().await
}
