//! Instructions of what is done for each entry of a layer and for each document.
//!
//! `just instructions`; needs valgrind and `cargo install gungraun-runner` of the version that `Cargo.lock` names.

use std::{hint::black_box, io::Read as _};

use gungraun::{library_benchmark, library_benchmark_group, main};
use palan_core::{Document, Reference, view};
use palan_layer::{
    Limits, Listing,
    listing::Interest,
    merge::{Index, Merge},
    tar::{Archive, Meta, Writer},
};

const ENTRIES: usize = 1_000;

/// Small files in directories of ten, one of them with a long name.
fn layer() -> Vec<u8> {
    let mut tar = Writer::new(Vec::new());
    for number in 0..ENTRIES {
        let name = match number % 10 {
            0 => format!("usr/share/{}/", number / 10),
            9 => format!("usr/share/{}/{}", number / 10, "long-name-".repeat(15)),
            _ => format!("usr/share/{}/file-{number}", number / 10),
        };
        match name.strip_suffix('/') {
            Some(dir) => tar.dir(dir, &Meta::DIR).unwrap(),
            None => tar.bytes(&name, &Meta::FILE, name.as_bytes()).unwrap(),
        }
    }
    tar.finish().unwrap()
}

fn index() -> Index {
    Index::read(layer().as_slice(), &Limits::default()).unwrap()
}

/// A manifest of twelve layers with annotations.
fn manifest() -> Vec<u8> {
    let layer = |number: usize| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:{number:064x}","size":{number}}}"#
        )
    };
    let layers: Vec<String> = (0..12).map(layer).collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:{:064x}","size":7}},"layers":[{}],"annotations":{{"org.opencontainers.image.base.name":"docker.io/library/debian:13"}}}}"#,
        1,
        layers.join(",")
    )
    .into_bytes()
}

fn document() -> Document {
    Document::parse(manifest(), None).unwrap()
}

#[library_benchmark]
#[bench::entries(layer())]
fn read_entries(tar: Vec<u8>) -> u64 {
    let mut archive = Archive::new(tar.as_slice());
    let mut bytes = 0;
    while let Some(mut entry) = archive.next_entry().unwrap() {
        bytes += std::io::copy(&mut entry.by_ref(), &mut std::io::sink()).unwrap();
    }
    bytes
}

#[library_benchmark]
#[bench::entries(layer())]
fn index_to_merge(tar: Vec<u8>) -> Index {
    black_box(Index::read(tar.as_slice(), &Limits::default()).unwrap())
}

#[library_benchmark]
#[bench::entries(layer())]
fn list_names(tar: Vec<u8>) -> Listing {
    black_box(Listing::read(tar.as_slice(), &Interest::NAMES, &Limits::default()).unwrap())
}

#[library_benchmark]
#[bench::twice(index())]
fn stack(index: Index) -> Merge {
    let mut merge = Merge::whole();
    merge.push(0, &index).unwrap();
    merge.push(1, &index).unwrap();
    black_box(merge)
}

#[library_benchmark]
#[bench::manifest(manifest())]
fn parse_document(bytes: Vec<u8>) -> Document {
    black_box(Document::parse(bytes, None).unwrap())
}

#[library_benchmark]
#[bench::manifest(document())]
fn view_document(document: Document) -> view::Manifest {
    black_box(document.view().unwrap())
}

#[library_benchmark]
#[bench::annotation(document())]
fn edit_document(document: Document) -> Document {
    black_box(document.edit(|json| drop(json.insert("artifactType".into(), "a/b".into()))).unwrap())
}

#[library_benchmark]
#[bench::tag("registry.example:5000/a/b/c:1.0")]
#[bench::short("debian")]
fn parse_reference(text: &str) -> Reference {
    black_box(text.parse().unwrap())
}

library_benchmark_group!(
    name = layers;
    benchmarks = read_entries, index_to_merge, list_names, stack
);
library_benchmark_group!(
    name = documents;
    benchmarks = parse_document, view_document, edit_document, parse_reference
);

main!(library_benchmark_groups = layers, documents);
