//! What one core of this machine does with a layer's bytes: the limits that nothing built on them can pass.
//! `cargo run --release -p palan-layer --example rates -- LAYER` prints MB of the *uncompressed* archive per second.

#![allow(clippy::print_stdout)]

use std::{
    error::Error,
    fs,
    hint::black_box,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    num::NonZeroUsize,
    thread,
    time::Instant,
};

use palan_core::{Algorithm, Compression};
use palan_layer::{Decoder, Encoder, Level, Limits, merge::Index};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("the path of a layer is missing")?;
    let blob = fs::read(path)?;
    let mut raw = Vec::new();
    Decoder::new(blob.as_slice())?.read_to_end(&mut raw)?;
    println!("| what one core does | MB/s |\n|---|--:|");
    let decode = || Ok(io::copy(&mut Decoder::new(blob.as_slice())?, &mut io::sink())?);
    let found = Decoder::new(blob.as_slice())?.compression();
    row(&format!("decompressing ({found:?})"), raw.len(), decode)?;
    row("SHA-256", raw.len(), || Ok(black_box(Algorithm::Sha256.digest(&raw)).to_string().len() as u64))?;
    row("finding the entries of the archive", raw.len(), || {
        black_box(Index::read(raw.as_slice(), &Limits::default())?);
        Ok(0)
    })?;
    for (name, compression) in [("gzip, level 5", Compression::Gzip), ("zstd, level 3", Compression::Zstd)] {
        let mut size = 0;
        row(name, raw.len(), || {
            let mut encoder =
                Encoder::with_threads(Vec::new(), compression, Level::DEFAULT, NonZeroUsize::MIN)?;
            encoder.write_all(&raw)?;
            size = encoder.finish()?.len() as u64;
            Ok(size)
        })?;
        println!("| *size after {name}* | *{:.1} %* |", 100.0 * size as f64 / raw.len() as f64);
    }
    row("copying memory", raw.len(), || Ok(black_box(raw.clone()).len() as u64))?;
    row("loopback, both ends", raw.len(), || loopback(&raw))?;
    Ok(())
}

fn row(
    name: &str,
    bytes: usize,
    mut work: impl FnMut() -> Result<u64, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut best = f64::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        black_box(work()?);
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("| {name} | {:.0} |", bytes as f64 / 1e6 / best);
    Ok(())
}

fn loopback(bytes: &[u8]) -> Result<u64, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::scope(|scope| {
        scope.spawn(move || -> io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            stream.write_all(bytes)
        });
        Ok(io::copy(&mut TcpStream::connect(address)?, &mut io::sink())?)
    })
}
