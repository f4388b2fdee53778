//! Real images: services on Debian 12 with Java 17, moved to Debian 13 with Java 21, and back.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use palan::{
    append::{self, LayerContent, LayerSource},
    copy::{self, Options},
    fleet::{Action, Become, Plan},
    place::{Layout, Location, Source},
};
use palan_core::{Digest, view};
use palan_testkit::{image::LayerSpec, peer::skip};
use serde_json::json;

use crate::world::{Refusing, World, all, settings};

/// An OCI layout with the tags `jre-17` and `jre-21`, and `svc-1.0` on the former.
const LAYOUT: &str = "PALAN_REAL_IMAGES";
const SERVICES: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twelve_services_move_to_another_distribution_and_back() {
    let Some(layout) = std::env::var_os(LAYOUT) else {
        return skip(&format!("{LAYOUT} names no layout of real images"));
    };
    let (world, layout) = (World::new().await, PathBuf::from(layout));
    let names = build(&world, &layout).await;
    let plan = plan(&world, &names).await;
    let verdicts: Vec<String> = plan.rebases().map(|(_, locked)| locked.verdict.to_string()).collect();
    assert_eq!(verdicts.len(), SERVICES, "{}", plan.to_text());
    assert!(
        verdicts.iter().all(|verdict| *verdict == verdicts[0] && verdict != "not assessed"),
        "{verdicts:?}"
    );

    // Not by a macro, whose output nobody sees where the test passes.
    writeln!(std::io::stderr(), "{SERVICES} real services: {}", verdicts[0]).unwrap();

    let applied = world.apply(&plan, all(), &Refusing::default()).await;
    assert!(applied.iter().all(|outcome| outcome.result == Become::Done), "{applied:?}");
    let promoted = world.promote(&plan, all()).await;
    assert!(promoted.iter().all(|outcome| outcome.result == Become::Done), "{promoted:?}");
    check(&world, &plan, &layout, "jre-21").await;
    let back = world.rollback(all()).await;
    assert!(back.iter().all(|outcome| outcome.result == Become::Done), "{back:?}");
    for (entry, _) in plan.rebases() {
        assert_eq!(world.standing(&entry.image).await, entry.digest);
    }
    check(&world, &plan, &layout, "jre-17").await;
    world.stop().await;
}

async fn plan(world: &World, names: &[String]) -> Plan {
    let base = |tag: &str| world.name(&format!("base/jre:{tag}")).to_string();
    let rules = json!({
        "base": [{"from": base("jre-17"), "to": base("jre-21")}],
        "gates": {"accept": "broken"},
    });
    let plan = world.plan(&settings(rules), &world.inventory(names).await).await.unwrap();
    assert!(plan.images.iter().all(|entry| matches!(entry.action, Action::Rebase(_))), "{}", plan.to_text());
    plan
}

/// The bases, and services on the first: the layers of the layout's service, and a file of their own.
async fn build(world: &World, layout: &Path) -> Vec<String> {
    for tag in ["jre-17", "jre-21"] {
        copy_base(world, layout, tag).await;
    }
    let mut names = Vec::new();
    for number in 0..SERVICES {
        let name = format!("team/service-{number:02}:1.0");
        service(world, layout, number, "jre-17", &name).await;
        names.push(name);
    }
    names
}

async fn copy_base(world: &World, layout: &Path, tag: &str) {
    let source: std::sync::Arc<dyn Source> = std::sync::Arc::new(Layout::open(layout).unwrap());
    let target = world.name(&format!("base/jre:{tag}"));
    let place = world.places.target(&Location::Registry(target)).unwrap().place;
    let root = source.document(&palan_core::Selector::Tag(tag.into())).await.unwrap();
    let roots = vec![(root, palan::place::PutAs::Tag(tag.into()))];
    copy::copy(&source, &place, roots, &Options::default()).await.unwrap();
}

/// What a build of a service on a base gives.
async fn service(world: &World, layout: &Path, number: usize, base: &str, name: &str) {
    let mut layers = own_layers(layout).await;
    let own = LayerSpec::new().file("app/number", number.to_string()).build();
    let content = LayerContent::Stream(Box::new(std::io::Cursor::new(own.bytes.to_vec())));
    layers.push(LayerSource { name: "number".into(), content });
    let base = Location::Registry(world.name(&format!("base/jre:{base}")));
    let target = Location::Registry(world.name(name));
    let mut request = append::Request::new(Some(base), layers, target);
    request.base_annotations = true;
    append::append(&world.places, request, &Options::default()).await.unwrap();
}

/// The layers of the layout's service above its base.
async fn own_layers(layout: &Path) -> Vec<LayerSource> {
    let of = |tag: &'static str| async move {
        let place = Layout::open(layout).unwrap();
        let root = place.document(&palan_core::Selector::Tag(tag.into())).await.unwrap();
        root.view::<view::Manifest>().unwrap().layers
    };
    let (base, service) = (of("jre-17").await, of("svc-1.0").await);
    assert_eq!(service[..base.len()], base);
    let file = |digest: &Digest| layout.join("blobs/sha256").join(digest.hex());
    let own = service[base.len()..].iter();
    own.map(|layer| LayerSource {
        name: layer.digest.to_string(),
        content: LayerContent::File(file(&layer.digest)),
    })
    .collect()
}

/// Each service has the files of a build on that base: all of them for the first and the last one, and for the others
/// their layers, which say the same.
async fn check(world: &World, plan: &Plan, layout: &Path, base: &str) {
    for (number, (entry, _)) in plan.rebases().enumerate() {
        let rebuilt = format!("rebuilt/{base}-{number}:1");
        service(world, layout, number, base, &rebuilt).await;
        let rebuilt = world.name(&rebuilt);
        assert_eq!(diff_ids(world, &entry.image).await, diff_ids(world, &rebuilt).await, "{}", entry.image);
        if number == 0 || number + 1 == SERVICES {
            let (found, expected) =
                (world.files(&entry.image, "linux/amd64").await, world.files(&rebuilt, "linux/amd64").await);
            assert!(found.len() > 1_000, "{} files", found.len());
            assert_eq!(found, expected, "{}", entry.image);
            assert_eq!(found["app/number"], Digest::sha256(number.to_string().as_bytes()));
        }
    }
}

async fn diff_ids(world: &World, image: &palan_core::Reference) -> Vec<Digest> {
    let opened = world.places.source(&Location::Registry(image.clone())).unwrap();
    let manifest = opened.place.document(&image.selector()).await.unwrap();
    let image = palan::image::Image::load(opened.place.as_ref(), manifest).await.unwrap();
    image.config_view.rootfs.diff_ids
}
