//! Which of a base's images belongs to an image: 3.2.3, 3.3.8, Windows.

use palan::Error;
use palan_core::Platform;
use palan_testkit::image::{Image, IndexSpec};
use serde_json::json;

use crate::{
    fixture::{NEW, OLD, app, assert_stacked, base, field},
    world::World,
};

fn index(images: &[&Image]) -> palan_testkit::image::Graph {
    IndexSpec::new().images(images.iter().map(|i| (*i).clone())).build().graph()
}

#[tokio::test]
async fn c3_2_3_bases_are_resolved_for_the_apps_platform() {
    let world = World::new().await;
    let images = |stack: &[_]| ["linux/amd64", "linux/arm64"].map(|p| base(p, stack).build());
    let (old, new) = (images(&OLD), images(&NEW));
    world.put("base:old", &index(&old.each_ref())).await;
    world.put("base:new", &index(&new.each_ref())).await;
    let app = app(&old[1]).build();
    world.put("app:v1", &app.graph()).await;
    world.rebase("app:v1").bases("base:old", "base:new").run().await;
    assert_stacked(&world.image("app:v1").await, &new[1], &app, 2);
    world.stop().await;
}

#[tokio::test]
async fn bases_nested_in_indexes_and_without_platform_are_found() {
    let world = World::new().await;
    let (old, new) = (base("linux/arm64", &OLD).build(), base("linux/arm64", &NEW).build());
    let other = base("linux/amd64", &NEW).build();
    world.put("base:old", &IndexSpec::new().image_without_platform(old.clone()).build().graph()).await;
    let inner = IndexSpec::new().image(other).image_without_platform(new.clone()).build();
    world.put("base:new", &IndexSpec::new().nested(&inner).build().graph()).await;
    let app = app(&old).build();
    world.put("app:v1", &app.graph()).await;
    world.rebase("app:v1").bases("base:old", "base:new").run().await;
    assert_stacked(&world.image("app:v1").await, &new, &app, 2);
    world.stop().await;
}

#[tokio::test]
async fn c3_3_8_a_new_base_for_another_machine_is_refused() {
    let cases = [
        ("linux/amd64", "linux/arm64", false),
        ("linux/amd64", "windows/amd64", false),
        ("linux/arm/v7", "linux/arm/v6", false),
        ("linux/arm", "linux/arm/v7", true),
        ("linux/arm64", "linux/arm64/v8", true),
        ("linux/amd64", "linux/amd64/v3", false),
    ];
    for (image, new, fits) in cases {
        let world = World::new().await;
        let (old, new) = (base(image, &OLD).build(), base(new, &NEW).build());
        world.put("base:old", &old.graph()).await;
        world.put("base:new", &new.graph()).await;
        let app = app(&old).build();
        world.put("app:v1", &app.graph()).await;
        let rebase = world.rebase("app:v1").bases("base:old", "base:new");
        if fits {
            rebase.run().await;
            let result = world.image("app:v1").await;
            assert_stacked(&result, &new, &app, 2);
            assert_eq!(result.platform(), old.platform, "the app's spelling stays");
        } else {
            let text = rebase.refused().await.to_string();
            assert!(text.contains(&old.platform.to_string()), "{text}");
            assert!(text.contains(&new.platform.to_string()), "{text}");
            assert!(text.contains("base:new"), "{text}");
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn an_old_base_for_another_machine_is_told_from_a_base_with_other_layers() {
    let world = World::new().await;
    let images = ["linux/amd64", "linux/arm64"].map(|p| base(p, &OLD).build());
    world.put("base:old", &images[1].graph()).await;
    world.put("base:new", &base("linux/amd64", &NEW).build().graph()).await;
    world.put("app:v1", &app(&images[0]).build().graph()).await;
    let error = world.rebase("app:v1").bases("base:old", "base:new").refused().await;
    assert!(matches!(&error, Error::WrongPlatform { image, .. } if image.contains("base:old")), "{error}");
    world.stop().await;
}

#[tokio::test]
async fn what_an_index_says_of_a_platform_counts() {
    // Configs of old builders for arm/v6 say "arm" only, which alone means v7.
    let world = World::new().await;
    let image = |stack: &[_]| base("linux/arm", stack).build();
    let v6 = |image: &Image| {
        let platform = Some(Platform { variant: Some("v6".into()), ..image.platform.clone() });
        let descriptor = palan_core::Descriptor { platform, ..image.manifest.descriptor() };
        IndexSpec::new().image_as(image.clone(), descriptor).build().graph()
    };
    let (old, new) = (image(&OLD), image(&NEW));
    let app = app(&old).build();
    world.put("base:old", &v6(&old)).await;
    world.put("base:new", &v6(&new)).await;
    world.put("app:v1", &v6(&app)).await;
    world.rebase("app:v1").bases("base:old", "base:new").platform("linux/arm/v6").run().await;
    assert_stacked(world.children("app:v1").await[0].1.as_ref().unwrap(), &new, &app, 2);
    world.stop().await;
}

fn windows(version: &str, stack: &[crate::fixture::Files<'_>]) -> Image {
    let marker = format!("windows {version}");
    let own = [("Files/version", Some(marker.as_str()))];
    let mut all = vec![own.as_slice()];
    all.extend_from_slice(stack);
    base("windows/amd64", &all).config_field("/os.version", version).build()
}

fn entry(image: &Image, version: &str) -> palan_core::Descriptor {
    let platform = Platform { os_version: Some(version.into()), ..Platform::new("windows", "amd64") };
    palan_core::Descriptor { platform: Some(platform), ..image.manifest.descriptor() }
}

#[tokio::test]
async fn on_windows_the_version_is_the_new_bases_and_the_build_stays() {
    let world = World::new().await;
    let bases = |versions: [&str; 2], stack: &[_]| versions.map(|v| (windows(v, stack), v.to_owned()));
    let old = bases(["10.0.17763.1", "10.0.20348.1"], &OLD);
    let new = bases(["10.0.17763.9", "10.0.20348.9"], &NEW);
    for (tag, images) in [("base:old", &old), ("base:new", &new)] {
        let add = |spec: IndexSpec, (image, version): &(Image, String)| {
            spec.image_as(image.clone(), entry(image, version))
        };
        world.put(tag, &images.iter().fold(IndexSpec::new(), add).build().graph()).await;
    }
    let app = app(&old[1].0).config_field("/os.version", "10.0.20348.1").build();
    // An index need not say the version: then the config does.
    for (stated, then) in [(Some("10.0.20348.1"), Some("10.0.20348.9")), (None, None)] {
        let descriptor = stated.map_or_else(
            || palan_core::Descriptor {
                platform: Some(Platform::new("windows", "amd64")),
                ..app.descriptor()
            },
            |version| entry(&app, version),
        );
        let index = IndexSpec::new().image_as(app.clone(), descriptor).build();
        world.put("app:v1", &index.graph()).await;
        world.rebase("app:v1").bases("base:old", "base:new").run().await;
        let children = world.children("app:v1").await;
        let result = children[0].1.as_ref().unwrap();
        assert_stacked(result, &new[1].0, &app, 3);
        assert_eq!(field(&result.config, "/os.version"), Some(json!("10.0.20348.9")));
        assert_eq!(children[0].0.platform.as_ref().unwrap().os_version.as_deref(), then);
        world.rebase("app:v1").bases("base:old", "base:new").changes_nothing().await;
    }
    world.stop().await;
}

#[tokio::test]
async fn on_linux_the_version_is_the_apps() {
    let world = World::new().await;
    let old = base("linux/amd64", &OLD).build();
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &base("linux/amd64", &NEW).config_field("/os.version", "2").build().graph()).await;
    world.put("app:v1", &app(&old).config_field("/os.version", "1").build().graph()).await;
    world.rebase("app:v1").bases("base:old", "base:new").run().await;
    assert_eq!(field(&world.image("app:v1").await.config, "/os.version"), Some(json!("1")));
    world.stop().await;
}

#[tokio::test]
async fn a_platform_asked_of_a_single_image_must_be_its_own() {
    let world = World::new().await;
    let old = base("linux/amd64", &OLD).build();
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &base("linux/amd64", &NEW).build().graph()).await;
    world.put("app:v1", &app(&old).build().graph()).await;
    let rebase = || world.rebase("app:v1").bases("base:old", "base:new");
    let error = rebase().platform("linux/arm64").refused().await;
    assert!(matches!(error, Error::WrongPlatform { .. }), "{error}");
    rebase().platform("linux/amd64").run().await;
    world.stop().await;
}
