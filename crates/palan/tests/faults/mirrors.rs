//! What was read from a mirror need not be in the registry itself.

use std::sync::Arc;

use palan::{
    copy,
    place::{Places, PutAs},
};
use palan_client::{Client, RegistriesConf};
use palan_testkit::{
    fault::{FaultRegistry, Store},
    image::{Graph, ImageSpec, layer},
};

fn image(content: &str) -> Graph {
    ImageSpec::new("linux/amd64").layer(layer(&[("f", content.as_bytes())])).build().graph()
}

async fn serve(store: &Arc<Store>) -> FaultRegistry {
    let store = store.clone();
    FaultRegistry::start(move |request| store.answer(request)).await
}

/// A copy inside one registry once put the mirror's older manifest without asking for its blobs.
#[tokio::test]
async fn copies_inside_a_registry_leave_its_mirrors_out() {
    let (old, new) = (image("old"), image("new"));
    let (primary, mirror) = (Arc::new(Store::new()), Arc::new(Store::new()));
    mirror.put("a", "b", &old);
    primary.put("a", "b", &new);
    let (at, stale) = (serve(&primary).await, serve(&mirror).await);
    let conf = format!(
        "[[registry]]\nprefix = \"primary.test\"\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}\"\n",
        at.host(),
        stale.host()
    );
    let conf = RegistriesConf::parse("test.conf".as_ref(), &conf).unwrap();
    let places = Places::new(Client::builder().registries_conf(conf).build().unwrap());
    let from = "primary.test/a:b".parse().unwrap();
    for (tag, mirrored) in [("c", false), ("d", true)] {
        let to = format!("primary.test/a:{tag}").parse().unwrap();
        let source = if mirrored { places.source(&from) } else { places.source_for(&from, &to) }.unwrap();
        let target = places.target(&to).unwrap();
        let document = source.place.document(source.chosen().unwrap()).await.unwrap();
        let copier = copy::Copier::new(&source.place, &target.place, &copy::Options::default());
        copier.copy(document, PutAs::Tag(tag.into())).await.unwrap();
        let expected = if mirrored { &old } else { &new };
        assert_eq!(primary.tag("a", tag), Some(expected.root().digest()), "{tag}");
        assert_eq!(primary.missing("a", expected), None, "{tag}");
    }
}
