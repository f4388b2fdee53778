//! A fleet of any size: services for two platforms on five bases, each of which has a patched version.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use palan::place::{Memory, Places};
use palan_core::{Compression, Digest, Family, Reference, annotation};
use palan_layer::Builder;
use serde_json::{Value, json};

use super::{
    build::{Blob, Made, Parts, assemble, index, publish, step},
    fixture::PLATFORMS,
};
use crate::exit::Result;

/// Name, number of layers, and how many of these the patched version still has.
const BASES: [(&str, usize, usize); 5] =
    [("os", 1, 0), ("static", 1, 0), ("python", 1, 0), ("jre", 2, 0), ("node", 2, 1)];
const OLD: &str = "1.0";
const NEW: &str = "1.1";
/// So many repositories, at most; more images are more tags.
const REPOSITORIES: usize = 1_000;
/// How many images are published at the same time.
const AT_ONCE: usize = 16;

/// What images are built on: of each platform, the manifest's digest and the layers.
type Base = Vec<(&'static str, Digest, Vec<Blob>)>;

/// Publishes the bases and so many services on the old ones. Gives the settings of the fleet, as `fleet.toml`.
pub(super) async fn make(places: &Places, host: &str, images: usize) -> Result<String> {
    let mut bases = Vec::new();
    let mut settings = named(host, images);
    for (name, layers, kept) in BASES {
        let repository = format!("{host}/base/{name}");
        bases.push(base(places, &repository, OLD, name, (layers, layers)).await?);
        base(places, &repository, NEW, name, (layers, kept)).await?;
        settings += &format!("\n[[base]]\nfrom = \"{repository}:{OLD}\"\nto = \"{repository}:{NEW}\"\n");
    }
    let bases = &bases;
    let all = stream::iter(0..images).map(|n| async move {
        let number = n % BASES.len();
        let base = format!("{host}/base/{}:{OLD}", BASES[number].0);
        service(places, host, n, &base, &bases[number]).await
    });
    all.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    Ok(settings)
}

/// Images by name, as a cluster lists them; many by a pattern.
fn named(host: &str, images: usize) -> String {
    if images > REPOSITORIES {
        return format!("[images]\nrepositories = [\"{host}/team/*:1.*\"]\n");
    }
    let names: String = (0..images).map(|n| format!("    \"{}\",\n", image(host, n))).collect();
    format!("[images]\nreferences = [\n{names}]\n")
}

fn image(host: &str, n: usize) -> String {
    format!("{host}/team/svc-{:04}:1.{}", n % REPOSITORIES, n / REPOSITORIES)
}

/// `layers`: how many, and how many of these are the old version's.
async fn base(
    places: &Places,
    repository: &str,
    version: &str,
    name: &str,
    (layers, kept): (usize, usize),
) -> Result<Base> {
    let reference: Reference = format!("{repository}:{version}").parse()?;
    let (memory, mut base, mut entries) = (Memory::new(), Base::new(), Vec::new());
    for arch in PLATFORMS {
        let history: Vec<_> = (0..layers).map(|n| step(&format!("base layer {}", n + 1), false)).collect();
        let layers = (0..layers).map(|n| {
            let version = if n < kept { OLD } else { version };
            layer(&[
                (format!("usr/lib/{name}-{n}.so"), format!("{name} {version} for {arch}\n")),
                (format!("etc/{name}-release-{n}"), format!("VERSION={version}\n")),
            ])
        });
        let layers = layers.collect::<Result<Vec<_>>>()?;
        let manifest = assemble(&memory, parts(arch, layers.clone(), &history, &json!({}), name))?;
        base.push((arch, manifest.digest(), layers));
        entries.push((arch, manifest));
    }
    let root = index(&memory, Family::Oci, &entries, &[])?;
    publish(places, &reference, Made { memory, root }).await?;
    Ok(base)
}

/// One or two layers of its own, of which both platforms have one.
async fn service(places: &Places, host: &str, n: usize, name: &str, base: &Base) -> Result {
    let reference: Reference = image(host, n).parse()?;
    let (memory, mut entries) = (Memory::new(), Vec::new());
    let settings = layer(&[("srv/app/config.toml".to_owned(), format!("service = {n}\n"))])?;
    for (arch, digest, below) in base {
        let mut layers = below.clone();
        if n.is_multiple_of(2) {
            let program = format!("server {n} for {arch}\n");
            layers.push(layer(&[("srv/app/server".to_owned(), program)])?);
        }
        layers.push(settings.clone());
        let history: Vec<_> = (0..layers.len()).map(|n| step(&format!("COPY {n} /srv"), false)).collect();
        let hints = json!({annotation::BASE_NAME: name, annotation::BASE_DIGEST: digest});
        entries.push((*arch, assemble(&memory, parts(arch, layers, &history, &hints, "service"))?));
    }
    let root = index(&memory, Family::Oci, &entries, &[])?;
    Ok(publish(places, &reference, Made { memory, root }).await?)
}

fn layer(files: &[(String, String)]) -> Result<Blob> {
    let file = |builder: Builder, (path, content): &(String, String)| {
        builder.file(path.as_str(), Bytes::from(content.clone()))
    };
    let built = files.iter().fold(Builder::new(), file).build(Compression::Gzip);
    let failed = |source| palan::Error::Append { name: "of the fixture".to_owned(), source };
    Ok(Blob::of(built.map_err(failed)?, Family::Oci))
}

fn parts<'a>(
    arch: &'a str,
    layers: Vec<Blob>,
    history: &'a [Value],
    annotations: &'a Value,
    name: &'a str,
) -> Parts<'a> {
    let labels = &Value::Null;
    Parts { arch, family: Family::Oci, layers, history: Some(history), annotations, labels, env: None, name }
}
