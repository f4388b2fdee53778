//! 3.1 and 3.2: no layer is ever chosen by history; bases are recognised by content.

use palan::{
    Error,
    rebase::{Difference, FindingKind},
};
use palan_core::Compression;
use palan_testkit::image::{History, Image, ImageSpec};
use serde_json::json;

use crate::{
    fixture::{APP, NEW, OLD, app, assert_stacked, base, field, layers, merged, new_base, old_base, steps},
    world::World,
};

/// Rebases `app` from `old` onto `new`, and checks what must hold whatever their histories are.
async fn rebased(old: &Image, new: &Image, app: &Image) -> (palan::image::Image, Vec<String>) {
    let world = World::new().await;
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &new.graph()).await;
    world.put("app:v1", &app.graph()).await;
    let done = world.rebase("app:v1").bases("base:old", "base:new").run().await;
    let result = world.image("app:v1").await;
    assert_stacked(&result, new, app, old.layers.len());
    assert_eq!(done.plan.report().platforms[0].boundary, old.layers.len());
    assert_eq!(done.plan.report().platforms[0].own_layers, app.layers.len() - old.layers.len());
    world.assert_valid("app:v1").await;
    let findings = done.findings(FindingKind::History).into_iter().map(str::to_owned).collect();
    world.stop().await;
    (result, findings)
}

#[tokio::test]
async fn the_merged_files_are_the_new_bases_and_the_apps() {
    let world = World::new().await;
    let old = old_base();
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &new_base().graph()).await;
    world.put("app:v1", &app(&old).build().graph()).await;
    assert_eq!(world.files("app:v1").await, merged("linux/amd64", &[&OLD, &APP]));
    world.rebase("app:v1").bases("base:old", "base:new").run().await;
    assert_eq!(world.files("app:v1").await, merged("linux/amd64", &[&NEW, &APP]));
    world.stop().await;
}

#[tokio::test]
async fn c3_1_1_no_history_anywhere() {
    let old = base("linux/amd64", &OLD).history(History::None).build();
    let new = base("linux/amd64", &NEW).history(History::None).build();
    let app = app(&old).history(History::None).build();
    let (result, notes) = rebased(&old, &new, &app).await;
    assert_eq!(field(&result.config, "/history"), None);
    assert_eq!(notes, [""; 0]);

    // With a history in the new base only, the app's layers get entries that claim nothing.
    let (result, _) = rebased(&old, &new_base(), &app).await;
    assert_eq!(steps(&result)[3..], ["-", "-"]);
}

#[tokio::test]
async fn c3_1_2_no_history_and_one_layer() {
    let old = base("linux/amd64", &OLD).history(History::None).build();
    let app = ImageSpec::new("linux/amd64").on(&old).layers(layers(&APP[..1])).history(History::None).build();
    let new = base("linux/amd64", &NEW).history(History::None).build();
    rebased(&old, &new, &app).await;
}

#[tokio::test]
async fn c3_1_3_history_of_its_own_layers_only() {
    let old = base("linux/amd64", &OLD).history(History::None).build();
    let app = app(&old).history(History::OwnOnly).build();
    let (result, _) = rebased(&old, &new_base(), &app).await;
    let own: Vec<_> = app.layers[2..].iter().map(|l| l.created_by.clone()).collect();
    assert_eq!(steps(&result)[3..], own);
}

#[tokio::test]
async fn c3_1_4_history_padded_at_the_end() {
    let old = base("linux/amd64", &OLD).history(History::None).build();
    let app = app(&old).history(History::Padded).build();
    rebased(&old, &new_base(), &app).await;
}

#[tokio::test]
async fn c3_1_5_the_bases_history_is_longer_than_the_apps_copy() {
    let built_on = old_base();
    let mut longer = field(&built_on.config, "/history").unwrap();
    longer.as_array_mut().unwrap().push(json!({"created_by": "LABEL x", "empty_layer": true}));
    let old = base("linux/amd64", &OLD).config_field("/history", longer).build();
    let app = app(&built_on).config_field("/config/User", "app").build();
    let (result, _) = rebased(&old, &new_base(), &app).await;
    assert_eq!(steps(&result).last().unwrap(), "ENV PATH=/usr/bin:/bin");
    assert_eq!(steps(&result).len(), 3 + 3, "the new base's and the app's");
}

#[tokio::test]
async fn c3_1_6_history_claims_more_layers_than_there_are() {
    let old = old_base();
    let plain = app(&old).build();
    let mut malformed = field(&plain.config, "/history").unwrap();
    malformed.as_array_mut().unwrap().push(json!({"created_by": "COPY nothing"}));
    let app = app(&old).config_field("/history", malformed).build();
    let (_, notes) = rebased(&old, &new_base(), &app).await;
    assert_eq!(notes, ["the image's history does not fit its layers; it was filled up or cut"]);
}

#[tokio::test]
async fn c3_1_7_null_and_missing_times() {
    let history = json!([{"created_by": "one"}, {"created": null, "created_by": "two", "x-mine": [1]}]);
    let old = base("linux/amd64", &OLD).config_field("/history", history.clone()).build();
    let new = base("linux/amd64", &NEW).config_field("/history", history.clone()).build();
    let app = app(&old).history(History::NullCreated).build();
    let (result, notes) = rebased(&old, &new, &app).await;
    assert_eq!(field(&result.config, "/history/0"), Some(history[0].clone()));
    assert_eq!(field(&result.config, "/history/1"), Some(history[1].clone()));
    assert_eq!(field(&result.config, "/history/2/created"), Some(json!(null)));
    assert_eq!(notes, [""; 0]);
}

#[tokio::test]
async fn c3_1_8_only_the_new_base_has_no_history() {
    let old = old_base();
    let new = base("linux/amd64", &NEW).history(History::None).build();
    let (result, _) = rebased(&old, &new, &app(&old).build()).await;
    assert_eq!(steps(&result)[..2], ["-", "-"]);
}

#[tokio::test]
async fn c3_2_1_a_recompressed_base_is_the_same_base() {
    for (stored, recompressed) in [
        (Compression::Gzip, Compression::Zstd),
        (Compression::Gzip, Compression::Gzip),
        (Compression::Gzip, Compression::None),
    ] {
        let old = old_base();
        let app = app(&old).recompress_base(recompressed).build();
        assert_ne!(app.layers[0].digest, old.layers[0].digest, "{stored} {recompressed}");
        rebased(&old, &new_base(), &app).await;
    }
}

#[tokio::test]
async fn an_image_that_adds_no_layer_becomes_the_new_base_with_its_own_config() {
    let old = old_base();
    let app = ImageSpec::new("linux/amd64").on(&old).config_field("/config/User", "app").build();
    let (result, _) = rebased(&old, &new_base(), &app).await;
    assert_eq!(field(&result.config, "/config/User"), Some(json!("app")));
}

#[tokio::test]
async fn bases_may_grow_shrink_and_share_layers() {
    let more: [&[_]; 4] = [OLD[0], OLD[1], &[("m", Some("1"))], &[("n", Some("2"))]];
    let image = |stack: &[_]| base("linux/amd64", stack).build();
    let cases = [
        ("grows", image(&OLD), image(&more)),
        ("shrinks", image(&more), image(&OLD)),
        ("shares its first layer", image(&OLD), image(&[OLD[0], NEW[1]])),
        ("shares its last layer", image(&OLD), image(&[NEW[0], OLD[1]])),
        ("is one layer", image(&OLD[..1]), image(&NEW[..1])),
    ];
    for (case, old, new) in cases {
        let (result, _) = rebased(&old, &new, &app(&old).build()).await;
        assert_eq!(result.manifest_view.layers.len(), new.layers.len() + APP.len(), "{case}");
    }
}

#[tokio::test]
async fn c3_2_5_an_image_that_is_not_based_on_the_base_is_refused_by_name_and_layer() {
    let world = World::new().await;
    let old = old_base();
    let other = base("linux/amd64", &[OLD[0], &[("x", Some("x"))]]).build();
    let app = app(&other).build();
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &new_base().graph()).await;
    world.put("app:v1", &app.graph()).await;
    let error = world.rebase("app:v1").bases("base:old", "base:new").refused().await;
    let Error::NotBasedOn(found) = &error else { panic!("{error}") };
    let difference =
        Difference::Layer { layer: 2, image: app.layers[1].diff_id, base: old.layers[1].diff_id };
    assert_eq!(found.difference, difference);
    let text = error.to_string();
    for part in [world.text("base:old"), app.layers[1].diff_id.to_string(), old.layers[1].diff_id.to_string()]
    {
        assert!(text.contains(&part), "{text}");
    }
    assert_eq!(world.digest("app:v1").await, app.digest());
    world.stop().await;
}

#[tokio::test]
async fn a_base_longer_than_the_image_is_refused() {
    let world = World::new().await;
    let old = old_base();
    let app = base("linux/amd64", &OLD[..1]).build();
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &new_base().graph()).await;
    world.put("app:v1", &app.graph()).await;
    let error = world.rebase("app:v1").bases("base:old", "base:new").refused().await;
    let Error::NotBasedOn(found) = &error else { panic!("{error}") };
    assert_eq!(found.difference, Difference::TooShort { image: 1, base: old.layers[1].diff_id });
    world.stop().await;
}

#[tokio::test]
async fn an_image_whose_config_and_manifest_disagree_is_refused() {
    let world = World::new().await;
    let old = old_base();
    let ids = json!([old.layers[0].diff_id]);
    let app = app(&old).config_field("/rootfs/diff_ids", ids).build();
    world.put("base:old", &old.graph()).await;
    world.put("base:new", &new_base().graph()).await;
    world.put("app:v1", &app.graph()).await;
    let error = world.rebase("app:v1").bases("base:old", "base:new").refused().await;
    assert!(matches!(error, Error::InvalidImage { .. }), "{error}");
    world.stop().await;
}
