//! A first `fleet.toml`, from what was found.

use std::fmt::Write as _;

use super::{
    inventory::{Inventory, Member},
    settings::{Images, KEYS, Key},
    standing::tagged,
};

const HEAD: &str = "\
# What becomes of a fleet of images. `palan fleet plan` reads this file, and writes nothing but a plan.
# Lines that begin with \"#\" and a key show what could be said; each key is explained where it comes first.
";

/// A `fleet.toml` that names these images and a rule for each base that they stand on, and explains every key.
pub fn commented(images: &Images, inventory: &Inventory) -> String {
    let mut out = HEAD.to_owned();
    keys(&mut out, "", &[], true);
    head(&mut out, "Where the images are named.", "[images]");
    let references: Vec<String> = images.references.iter().map(ToString::to_string).collect();
    let named = [
        ("references", &references),
        ("files", &images.files),
        ("manifests", &images.manifests),
        ("repositories", &images.repositories),
        ("exclude", &images.exclude),
    ];
    let named = named.into_iter().filter(|(_, names)| !names.is_empty());
    keys(
        &mut out,
        "images",
        &named.map(|(key, names)| (key, Said::Value(list(names)))).collect::<Vec<_>>(),
        true,
    );
    bases(&mut out, inventory);
    head(&mut out, "How tags are named.", "[tags]");
    keys(&mut out, "tags", &[], true);
    head(&mut out, "What a result must pass.", "[gates]");
    keys(&mut out, "gates", &[("accept", Said::Value("\"clean\"".to_owned()))], true);
    head(&mut out, "Who goes first. An image is in the first wave that it fits.", "[[wave]]");
    let canary = [("name", "\"canary\""), ("percent", "10")];
    keys(&mut out, "wave", &canary.map(|(key, value)| (key, Said::Value(value.to_owned()))), true);
    head(&mut out, "How each image is rebased.", "[rebase]");
    keys(&mut out, "rebase", &[], true);
    let registry = inventory.images.first().map_or("ghcr.io", |member| member.image.registry());
    head(&mut out, "What registries bear.", &format!("[registry.{}]", quoted(registry)));
    keys(&mut out, "registry.<name>", &[], true);
    out
}

fn head(out: &mut String, what: &str, table: &str) {
    let _ = write!(out, "\n# {what}\n{table}\n");
}

/// What is said of a key.
enum Said {
    Value(String),
    /// What could be said here: better than what the key's own example says.
    Example(String),
}

/// The keys of a table: those that are given, the others as comments; `explained` the first time.
fn keys(out: &mut String, table: &str, given: &[(&str, Said)], explained: bool) {
    for Key { key, example, meaning, .. } in KEYS.iter().filter(|key| key.table == table) {
        if explained {
            let _ = writeln!(out, "# {meaning}");
        }
        let _ = match given.iter().find(|(name, _)| name == key) {
            Some((_, Said::Value(value))) => writeln!(out, "{key} = {value}"),
            Some((_, Said::Example(example))) => writeln!(out, "# {key} = {example}"),
            None if explained => writeln!(out, "# {key} = {example}"),
            None => Ok(()),
        };
    }
}

fn bases(out: &mut String, inventory: &Inventory) {
    let mut explained = true;
    for (base, members) in inventory.by_base() {
        let Some(base) = base.and_then(tagged) else { continue };
        let many = format!("{} image{}", members.len(), if members.len() == 1 { "" } else { "s" });
        if inventory.images.iter().any(|member| member.image == base) {
            let _ = write!(out, "\n# {base} is an image of the fleet itself: {many} on it\n");
            continue;
        }
        let tag = newest(&members);
        let newest = tag.map_or(String::new(), |tag| format!("; the newest tag like it is {tag}"));
        head(out, &format!("{many} on this base{newest}."), "[[base]]");
        let from = ("from", Said::Value(quoted(&base.to_string())));
        let to = tag.map(|tag| ("to", Said::Example(quoted(&format!("{}:{tag}", base.repository())))));
        keys(out, "base", &[from].into_iter().chain(to).collect::<Vec<_>>(), explained);
        explained = false;
    }
}

fn newest<'a>(members: &[&'a Member]) -> Option<&'a str> {
    members.iter().flat_map(|member| &member.platforms).find_map(|platform| platform.newest.as_deref())
}

/// A string as TOML and JSON both write it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn list(names: &[String]) -> String {
    let lines: Vec<String> = names.iter().map(|name| format!("    {},\n", quoted(name))).collect();
    format!("[\n{}]", lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Settings;

    #[test]
    fn it_can_be_read_again() {
        let images = Images {
            references: vec!["h.io/a:1".parse().unwrap()],
            files: vec!["a \\ \"b\".txt".to_owned()],
            ..Images::default()
        };
        let text = commented(&images, &Inventory::default());
        let settings = Settings::parse(&text).unwrap();
        assert_eq!(settings.images, images);
        assert_eq!(settings.waves[0].percent, Some(10));
        for Key { key, meaning, .. } in KEYS.iter().filter(|key| key.table != "base") {
            assert!(text.contains(meaning) && text.contains(&format!("{key} = ")), "{key}");
        }
    }
}
