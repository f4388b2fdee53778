//! Runs the conformance suite against any registry that anonymous clients may write to:
//! `cargo run -p palan-server --example conformance -- http://127.0.0.1:5000`

#![allow(clippy::print_stdout)]

use palan_testkit::conformance::registry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:5000".to_owned());
    let report = registry::run(&url).await;
    println!("{report}");
    if report.failed().next().is_none() { 0.into() } else { 1.into() }
}
