//! What every section finds in its registry and in its directory.

use palan_core::Family;
use palan_testkit::image::{Attestation, Image, ImageSpec, IndexSpec, LayerSpec, layer};

use crate::context::TestContext;

/// Fills them; gives the names of digests.
///
/// - `{r}/app:1.0`: an index of `{amd64}` and `{arm64}`, digest `{app}`; `{config}` is amd64's config, `{layer}` its first
///   layer. `app:latest` is the same, `app:1.1` another one.
/// - `{r}/attested:1`: an index of one image with an attestation.
/// - `{r}/single:1` and `{r}/docker:1`: one image each, OCI and Docker, digests `{single}` and `{docker}`.
/// - `{r}/base:12`, `{r}/base:13`: a base in two versions; `{r}/svc:1` is built on the first, and says so.
/// - files: `layer.tar`, `layer.tar.gz`, `layer.tar.zst`, `note.txt`.
pub(super) fn fill(context: &TestContext) -> Vec<(&'static str, String)> {
    let platforms = ["linux/amd64", "linux/arm64"];
    let app = |version: &str| IndexSpec::new().images(platforms.map(|p| image(p, version))).build();
    let (first, second) = (app("1.0"), app("1.1"));
    for tag in ["1.0", "latest"] {
        context.push(&format!("app:{tag}"), &first.graph());
    }
    context.push("app:1.1", &second.graph());
    let (amd64, arm64) = (first.image(platforms[0]).unwrap(), first.image(platforms[1]).unwrap());
    let attested = IndexSpec::new().image(image(platforms[0], "1")).attest(Attestation::Legacy).build();
    context.push("attested:1", &attested.graph());
    let single = image(platforms[0], "single");
    context.push("single:1", &single.graph());
    let docker = spec(platforms[0], "docker").family(Family::Docker).build();
    context.push("docker:1", &docker.graph());
    let base = |version: &str| {
        let release = layer(&[("etc/os-release", format!("VERSION_ID={version}\n").as_bytes())]);
        ImageSpec::new(platforms[0]).layer(release).build()
    };
    let (old, new) = (base("12"), base("13"));
    context.push("base:12", &old.graph());
    context.push("base:13", &new.graph());
    let svc = ImageSpec::new(platforms[0]).on(&old).layer(layer(&[("svc", b"svc\n")]));
    context.push("svc:1", &svc.build().graph());

    let added = LayerSpec::new().dir("added").file("added/file", "added\n").build();
    context.write("layer.tar", &added.tar);
    context.write("layer.tar.gz", &added.recompressed(palan_core::Compression::Gzip).bytes);
    context.write("layer.tar.zst", &added.recompressed(palan_core::Compression::Zstd).bytes);
    context.write("note.txt", "a note\n");
    vec![
        ("app", first.digest().to_string()),
        ("app11", second.digest().to_string()),
        ("amd64", amd64.digest().to_string()),
        ("arm64", arm64.digest().to_string()),
        ("config", amd64.config.digest().to_string()),
        ("layer", amd64.layers[0].descriptor(Family::Oci).digest.to_string()),
        ("attested", attested.digest().to_string()),
        ("single", single.digest().to_string()),
        ("docker", docker.digest().to_string()),
        ("old", old.digest().to_string()),
        ("new", new.digest().to_string()),
    ]
}

fn spec(platform: &str, version: &str) -> ImageSpec {
    let hello = format!("hello {version} on {platform}\n");
    ImageSpec::new(platform)
        .layer(layer(&[("etc/hello", hello.as_bytes())]))
        .layer(layer(&[("app/run", b"#!/bin/sh\n")]))
        .label("version", version)
        .config_field("/config/Env", vec!["PATH=/bin", "MODE=prod"])
        .config_field("/config/Entrypoint", vec!["/app/run"])
        .config_field("/config/Cmd", vec!["serve"])
}

fn image(platform: &str, version: &str) -> Image {
    spec(platform, version).build()
}
