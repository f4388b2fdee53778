//! Every tag is read back and compared with what it must be.

use futures_util::{StreamExt as _, stream};
use palan::{
    Location, Places, files,
    image::{Image, platforms},
    place::Source,
    validate,
};
use palan_core::{Digest, Document, Kind, Reference};
use palan_layer::tree::{Content, Node};
use serde::Serialize;
use serde_json::{Map, Value};

use super::made::{AT_ONCE, Member};
type Result<T> = std::result::Result<T, palan::Error>;

/// What must stand at an image's tag.
#[derive(Clone, Copy)]
pub(super) enum Expected {
    /// The image on the patched base, with this digest.
    Patched(Digest),
    /// Exactly this, whatever it is.
    Kept(Digest),
}

/// Something that is not as it must be.
#[derive(Serialize)]
pub(super) struct Fault {
    pub(super) image: String,
    pub(super) fault: String,
}

pub(super) struct Checked<'a> {
    pub(super) image: Reference,
    pub(super) member: &'a Member,
    /// What the tag stood for at first.
    pub(super) before: Digest,
    pub(super) expected: Expected,
    /// What keeps it.
    pub(super) backup: Option<Reference>,
}

/// All that is wrong.
pub(super) async fn check(places: &Places, all: &[Checked<'_>]) -> Vec<Fault> {
    let work = stream::iter(all).map(|checked| async move {
        let faults = match one(places, checked).await {
            Ok(faults) => faults,
            Err(error) => vec![error.to_string()],
        };
        let image = &checked.member.name;
        faults.into_iter().map(|fault| Fault { image: image.clone(), fault }).collect::<Vec<_>>()
    });
    work.buffered(AT_ONCE).collect::<Vec<_>>().await.into_iter().flatten().collect()
}

async fn one(places: &Places, checked: &Checked<'_>) -> Result<Vec<String>> {
    let name = &checked.image;
    // The same name again must not be answered from what was read before.
    let opened = places.standing(&Location::Registry(name.clone()))?;
    let found = opened.place.resolve(&name.selector()).await?.digest;
    let (Expected::Patched(digest) | Expected::Kept(digest)) = checked.expected;
    let mut faults = Vec::new();
    if found != digest {
        faults.push(format!("its tag stands for {found}, not for {digest}"));
    }
    if let Some(backup) = &checked.backup {
        let kept = opened.place.resolve(&backup.selector()).await?.digest;
        if kept != checked.before {
            faults.push(format!("{backup} stands for {kept}, not for {}", checked.before));
        }
    }
    if matches!(checked.expected, Expected::Patched(_)) {
        let place = opened.place.as_ref();
        let report = validate::validate(place, &name.selector(), &validate::Options::default()).await?;
        faults.extend(report.faults.into_iter().map(|fault| fault.text));
        let before = place.document(&checked.before.into()).await?;
        let after = place.document(&digest.into()).await?;
        faults.extend(compare(place, checked.member, &before, &after).await?);
    }
    Ok(faults)
}

async fn compare(
    place: &dyn Source,
    member: &Member,
    before: &Document,
    after: &Document,
) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    if before.media_type() != after.media_type() {
        faults.push(format!("it was {}, and is {}", before.media_type(), after.media_type()));
    }
    let (old, new) = (images(place, before).await?, images(place, after).await?);
    let architectures: Vec<&str> = new.iter().map(|image| image.config_view.architecture.as_str()).collect();
    if architectures != member.platforms() {
        faults.push(format!("its platforms are {architectures:?}"));
    }
    for (old, new) in old.iter().zip(&new) {
        let arch = &new.config_view.architecture;
        let tree = files(place, new, Content::Digest).await?;
        let found = tree.iter().filter_map(|(path, node): (&[u8], &Node)| {
            Some((String::from_utf8_lossy(path).into_owned(), node.digest()?))
        });
        let whole = member.patched.with(&member.own);
        let expected: Vec<_> =
            whole.merged(arch).into_iter().map(|(path, digest)| (path.to_owned(), digest)).collect();
        let found: Vec<_> = found.collect();
        for (path, _) in expected.iter().filter(|file| !found.contains(file)) {
            faults.push(format!("{arch}: {path} is missing, or is not what it must be"));
        }
        for (path, _) in found.iter().filter(|file| !expected.contains(file)) {
            faults.push(format!("{arch}: {path} should not be there as it is"));
        }
        faults.extend(configs(old, new, &whole.env).into_iter().map(|fault| format!("{arch}: {fault}")));
    }
    Ok(faults)
}

pub(super) async fn images(place: &dyn Source, root: &Document) -> Result<Vec<Image>> {
    if root.kind() != Kind::Index {
        return Ok(vec![Image::load(place, root.clone()).await?]);
    }
    let mut out = Vec::new();
    for (entry, _) in platforms(place, root).await? {
        out.push(Image::load(place, place.document(&entry.digest.into()).await?).await?);
    }
    Ok(out)
}

/// The environment must be what a rebuild would give; the rest of the config, what it was.
fn configs(old: &Image, new: &Image, env: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    let [old_config, new_config] = [old, new].map(|image| stripped(&image.config));
    if old_config != new_config {
        faults.push("its config changed where nothing asked for it".to_owned());
    }
    let found = new.config.object().ok().and_then(|object| object.get("config")?.get("Env").cloned());
    if found != Some(Value::from(env)) {
        faults.push(format!("its environment is {found:?}"));
    }
    if new.manifest.object().is_ok_and(|object| !object.contains_key("x-demo")) {
        faults.push("an unknown field was lost".to_owned());
    }
    faults
}

/// A config without what a rebase is there to change.
fn stripped(config: &Document) -> Map<String, Value> {
    let mut object = config.object().unwrap_or_default();
    for key in ["rootfs", "history"] {
        object.remove(key);
    }
    if let Some(config) = object.get_mut("config").and_then(Value::as_object_mut) {
        config.remove("Env");
        if let Some(labels) = config.get_mut("Labels").and_then(Value::as_object_mut) {
            labels.retain(|key, _| !key.starts_with("org.opencontainers.image.base."));
        }
    }
    object
}
