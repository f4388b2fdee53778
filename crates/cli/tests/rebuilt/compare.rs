//! What differs between two file systems, and between two configs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use serde_json::Value;

/// Differences, one sentence each, of two folders: kinds, content, modes, owners, link targets, hard links and extended
/// attributes. Times are not compared.
pub(crate) fn trees(rebased: &Path, rebuilt: &Path) -> Vec<String> {
    let (left, right) = (walk(rebased), walk(rebuilt));
    let mut out = Vec::new();
    for path in left.keys().chain(right.keys()).collect::<BTreeSet<_>>() {
        let shown = path.display();
        match (left.get(path), right.get(path)) {
            (Some(_), None) => out.push(format!("{shown}: only in the rebased image")),
            (None, Some(_)) => out.push(format!("{shown}: only in the rebuilt image")),
            (Some(a), Some(b)) if a != b => out.push(format!("{shown}: {}", a.against(b))),
            (Some(a), Some(_)) if a.kind == "file" && !same(&rebased.join(path), &rebuilt.join(path)) => {
                out.push(format!("{shown}: content"));
            }
            _ => {}
        }
    }
    out
}

fn same(a: &Path, b: &Path) -> bool {
    fs::read(a).unwrap() == fs::read(b).unwrap()
}

#[derive(PartialEq, Eq)]
struct Entry {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    /// Of files; folders have none that means something.
    size: u64,
    /// A symbolic link's target, a device's number.
    target: String,
    /// The first name of the same file.
    hard_link: Option<PathBuf>,
    attributes: BTreeMap<String, Vec<u8>>,
}

impl Entry {
    fn against(&self, other: &Self) -> String {
        let mut parts = Vec::new();
        let mut part = |differs: bool, what: &str, a: String, b: String| {
            if differs {
                parts.push(format!("{what} {a} instead of {b}"));
            }
        };
        let owner = |e: &Self| format!("{}:{}", e.owner.0, e.owner.1);
        let link = |e: &Self| e.hard_link.as_ref().map_or("none".into(), |p| p.display().to_string());
        let names = |e: &Self| format!("{:?}", e.attributes.keys().collect::<Vec<_>>());
        part(self.kind != other.kind, "kind", self.kind.into(), other.kind.into());
        part(self.mode != other.mode, "mode", format!("{:o}", self.mode), format!("{:o}", other.mode));
        part(self.owner != other.owner, "owner", owner(self), owner(other));
        part(self.size != other.size, "size", self.size.to_string(), other.size.to_string());
        part(self.target != other.target, "target", self.target.clone(), other.target.clone());
        part(self.hard_link != other.hard_link, "hard link", link(self), link(other));
        part(self.attributes != other.attributes, "attributes", names(self), names(other));
        parts.join(", ")
    }
}

fn walk(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut out = BTreeMap::from([(PathBuf::new(), read(root).0)]);
    let mut first_names = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()) {
            let name = path.strip_prefix(root).unwrap().to_owned();
            if fs::symlink_metadata(&path).is_err_and(|e| e.kind() == ErrorKind::NotFound) {
                // Overlays list the removal of what no layer below has, in folders that no layer below has.
                continue;
            }
            let (entry, identity) = read(&path);
            if let Some(identity) = identity {
                first_names.entry(identity).or_insert_with(BTreeSet::new).insert(name.clone());
            }
            if entry.kind == "folder" {
                folders.push(path);
            }
            out.insert(name, entry);
        }
    }
    for names in first_names.into_values().filter(|names| names.len() > 1) {
        for name in &names {
            out.get_mut(name).unwrap().hard_link = names.first().cloned();
        }
    }
    out
}

/// An entry, and what identifies a file that may have more names.
fn read(path: &Path) -> (Entry, Option<(u64, u64)>) {
    let meta = fs::symlink_metadata(path).unwrap();
    let kind = meta.file_type();
    let (kind, target) = if kind.is_symlink() {
        ("symbolic link", fs::read_link(path).unwrap().display().to_string())
    } else if kind.is_dir() {
        ("folder", String::new())
    } else if kind.is_file() {
        ("file", String::new())
    } else if kind.is_fifo() {
        ("fifo", String::new())
    } else {
        ("device", meta.rdev().to_string())
    };
    let entry = Entry {
        kind,
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        size: if kind == "file" { meta.len() } else { 0 },
        target,
        hard_link: None,
        attributes: attributes(path),
    };
    (entry, (kind == "file" && meta.nlink() > 1).then(|| (meta.dev(), meta.ino())))
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 64 * 1024];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names[..]) else { return BTreeMap::new() };
    let names = names[..length].split(|b| *b == 0).filter(|name| !name.is_empty());
    let names = names.map(|name| String::from_utf8(name.to_vec()).unwrap());
    // A label of the machine's policy, not of the image.
    names
        .filter(|name| name != "security.selinux")
        .map(|name| {
            let mut value = vec![0; 64 * 1024];
            let length = rustix::fs::lgetxattr(path, name.as_str(), &mut value[..]).unwrap();
            value.truncate(length);
            (name, value)
        })
        .collect()
}

/// Differences of two JSON documents: the pointer, and both values.
pub(crate) fn json(rebased: &Value, rebuilt: &Value) -> Vec<String> {
    let mut out = Vec::new();
    differences("", rebased, rebuilt, &mut out);
    out
}

fn differences(at: &str, a: &Value, b: &Value, out: &mut Vec<String>) {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            for key in x.keys().chain(y.keys()).collect::<BTreeSet<_>>() {
                let (a, b) = (x.get(key).unwrap_or(&Value::Null), y.get(key).unwrap_or(&Value::Null));
                differences(&format!("{at}/{key}"), a, b, out);
            }
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() && x.iter().any(Value::is_object) => {
            for (number, (a, b)) in x.iter().zip(y).enumerate() {
                differences(&format!("{at}/{number}"), a, b, out);
            }
        }
        _ if a != b => out.push(format!("{at}: {a} instead of {b}")),
        _ => {}
    }
}

/// A config without what no two builds share: times, digests of layers (they contain times), and what buildah makes up
/// for its own containers and intermediate images.
pub(crate) fn comparable(mut config: Value) -> Value {
    if let Some(fields) = config.as_object_mut() {
        for made_up in ["created", "container", "container_config", "id", "parent"] {
            fields.remove(made_up);
        }
    }
    if let Some(layers) = config.pointer_mut("/rootfs/diff_ids") {
        *layers = layers.as_array().map_or(0, Vec::len).into();
    }
    if let Some(fields) = config.pointer_mut("/config").and_then(Value::as_object_mut) {
        fields.remove("Hostname");
    }
    for entry in config.pointer_mut("/history").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(entry) = entry.as_object_mut() else { continue };
        entry.remove("created");
        if entry.get("comment").and_then(Value::as_str).is_some_and(names_intermediate) {
            entry.remove("comment");
        }
    }
    config
}

/// `FROM 0123456789ab`
fn names_intermediate(comment: &str) -> bool {
    comment
        .strip_prefix("FROM ")
        .is_some_and(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit()))
}
