//! The images that files name: lists, manifests, and what kustomizations make of manifests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read as _,
    path::{Component, Path, PathBuf},
};

use palan_core::{Reference, ReferenceError};

use crate::{
    Error,
    source::{self, Kind, Kustomization, MAX_LISTED, NewImage},
};

/// Kustomizations inside each other, and how many one may gather: nobody writes more.
const MAX_DEPTH: usize = 64;
const MAX_GATHERED: usize = 10_000;

/// An image that a file names.
#[derive(Clone)]
pub(super) struct InFile {
    /// File and line.
    pub(super) place: String,
    /// As it is written.
    pub(super) written: String,
    /// Which image that is, or why it is not known.
    pub(super) image: Result<Reference, String>,
}

impl InFile {
    fn new(place: String, written: String) -> Self {
        let image = written.parse().map_err(|e: ReferenceError| e.to_string());
        Self { place, written, image }
    }
}

/// What files name.
pub(super) struct InFiles {
    pub(super) images: Vec<InFile>,
    /// The files and folders that name nothing.
    pub(super) empty: Vec<String>,
}

/// Files with lists, and files and folders with manifests. Manifests that a kustomization takes in count as it makes them.
pub(super) fn named(files: &[String], manifests: &[String]) -> Result<InFiles, Error> {
    let (mut images, mut empty) = (Vec::new(), Vec::new());
    for file in files {
        let (path, text) = (Path::new(file), text(Path::new(file))?);
        let before = images.len();
        match source::is_list(&text) && !is_yaml(path) {
            true => images.extend(in_list(path, &text)),
            false => images.extend(in_manifest(path, &text)),
        }
        if images.len() == before {
            empty.push(file.clone());
        }
    }
    let found = manifests.iter().map(|path| Ok((path, yaml_files(Path::new(path))?)));
    let found: Vec<(&String, BTreeSet<PathBuf>)> = found.collect::<Result<_, Error>>()?;
    let made = in_manifests(&found.iter().flat_map(|(_, files)| files).cloned().collect())?;
    for (path, files) in &found {
        let is_below = |image: &InFile| image.place.starts_with(path.as_str());
        // Kustomizations take in what is elsewhere.
        if !made.iter().any(is_below) && in_manifests(files)?.is_empty() {
            empty.push((*path).clone());
        }
    }
    images.extend(made);
    Ok(InFiles { images, empty })
}

fn in_manifests(found: &BTreeSet<PathBuf>) -> Result<Vec<InFile>, Error> {
    let mut out = Vec::new();
    let mut gatherer = Gatherer::default();
    let mut made = BTreeMap::new();
    for path in found.iter().filter(|path| Kustomization::is_file(path)) {
        gatherer.count = 0;
        made.insert(path, gatherer.made_by(path)?);
    }
    for path in found {
        if gatherer.taken.contains(&canonical(path)?) {
            continue;
        }
        match made.remove(path) {
            Some(images) => out.extend(images),
            None => out.extend(in_manifest(path, &text(path)?)),
        }
    }
    Ok(out)
}

/// A file that was named is read whatever its name is.
fn yaml_files(path: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    let found = source::walk(path).map_err(|(path, error)| Error::io("read", path)(error))?;
    let is_named = |found: &source::Found| found.path == path;
    Ok(found.into_iter().filter(|f| f.kind == Kind::Yaml || is_named(f)).map(|f| f.path).collect())
}

/// A text that cannot be read as what it is, is told as one image that is missed: what else it names is not known.
fn in_manifest(path: &Path, text: &str) -> Vec<InFile> {
    let shown = path.display().to_string();
    let unread = source::unreadable(text).map(|(line, reason)| InFile {
        place: format!("{shown}:{line}"),
        written: "an unknown number of images".to_owned(),
        image: Err(reason),
    });
    let named = source::images(text).into_iter().map(|named| InFile {
        place: format!("{shown}:{}", named.line),
        written: named.written,
        image: named.image,
    });
    unread.into_iter().chain(named).collect()
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn in_list(path: &Path, text: &str) -> impl Iterator<Item = InFile> {
    let shown = path.display();
    source::listed(text).map(move |(line, name)| InFile::new(format!("{shown}:{line}"), name.to_owned()))
}

fn text(path: &Path) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(Error::io("read", path))?;
    file.take(MAX_LISTED as u64 + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() > MAX_LISTED {
        return Err(refused(path, "it is larger than 32 MiB, and a text that names images is not read then"));
    }
    String::from_utf8(bytes).map_err(|_| refused(path, "it is not UTF-8"))
}

fn refused(path: &Path, reason: &str) -> Error {
    Error::Malformed { place: path.display().to_string(), reason: reason.to_owned() }
}

fn canonical(path: &Path) -> Result<PathBuf, Error> {
    fs::canonicalize(path).map_err(Error::io("read", path))
}

/// Follows kustomizations.
#[derive(Default)]
struct Gatherer {
    /// What kustomizations took in: it does not stand for itself.
    taken: BTreeSet<PathBuf>,
    /// Those under way.
    open: Vec<PathBuf>,
    /// How many files were read for one.
    count: usize,
}

/// The images of a kustomization.
#[derive(Default)]
struct Gathered {
    images: Vec<InFile>,
    /// There are manifests that are not here: addresses, charts.
    is_partial: bool,
}

impl Gatherer {
    fn made_by(&mut self, file: &Path) -> Result<Vec<InFile>, Error> {
        let mut gathered = Gathered::default();
        self.add(file, &mut gathered)?;
        Ok(gathered.images)
    }

    /// Adds what a kustomization takes in, and makes its changes to all that has been gathered.
    fn add(&mut self, file: &Path, to: &mut Gathered) -> Result<(), Error> {
        let own = canonical(file)?;
        if self.open.contains(&own) || self.open.len() >= MAX_DEPTH || self.count >= MAX_GATHERED {
            return Err(refused(file, "it takes itself in, or too many others"));
        }
        self.open.push(own);
        let kustomization = Kustomization::parse(&text(file)?);
        let folder = file.parent().unwrap_or(Path::new(""));
        to.is_partial |= kustomization.generates;
        for resource in &kustomization.resources {
            self.resource(folder, resource, to)?;
        }
        for component in &kustomization.components {
            match local(folder, component) {
                Some(path) => self.below(&path, |this, file| this.add(file, to))?,
                None => to.is_partial = true,
            }
        }
        for new in &kustomization.images {
            to.change(new, file);
        }
        self.open.pop();
        Ok(())
    }

    fn resource(&mut self, folder: &Path, resource: &str, to: &mut Gathered) -> Result<(), Error> {
        let Some(path) = local(folder, resource) else {
            to.is_partial = true;
            return Ok(());
        };
        if path.is_dir() {
            // What another kustomization makes is changed as a whole.
            let mut inner = Gathered::default();
            self.below(&path, |this, file| this.add(file, &mut inner))?;
            to.images.append(&mut inner.images);
            to.is_partial |= inner.is_partial;
            return Ok(());
        }
        self.take(&path)?;
        to.images.extend(in_manifest(&path, &text(&path)?));
        Ok(())
    }

    /// The kustomization of a folder.
    fn below(
        &mut self,
        folder: &Path,
        work: impl FnOnce(&mut Self, &Path) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let files = Kustomization::FILES.map(|name| folder.join(name));
        let Some(file) = files.iter().find(|file| file.is_file()) else {
            return Err(refused(folder, "a kustomization names it, and there is none in it"));
        };
        self.take(file)?;
        work(self, file)
    }

    fn take(&mut self, file: &Path) -> Result<(), Error> {
        self.count += 1;
        self.taken.insert(canonical(file)?);
        Ok(())
    }
}

impl Gathered {
    fn change(&mut self, new: &NewImage, file: &Path) {
        let place = format!("{}:{}", file.display(), new.line);
        let mut is_met = false;
        for image in &mut self.images {
            if let Some(written) = new.applied(&image.written) {
                is_met = true;
                if written != image.written {
                    *image = InFile::new(place.clone(), written);
                }
            }
        }
        // Manifests that cannot be seen are likely to name it.
        if let Some(written) = new.alone().filter(|_| self.is_partial && !is_met) {
            self.images.push(InFile::new(place, written));
        }
    }
}

/// Where a resource is; `None`: at an address.
fn local(folder: &Path, resource: &str) -> Option<PathBuf> {
    let path = plain(&folder.join(resource));
    let is_address = resource.contains("://") || resource.contains('?') || resource.starts_with("git@");
    // `github.com/org/repo/path` looks like a path.
    let has_host =
        resource.split('/').next().is_some_and(|host| !host.starts_with('.') && host.contains('.'));
    let is_there = path.exists();
    let is_remote = is_address || (has_host && resource.contains('/') && !is_there);
    (!is_remote || is_there).then_some(path)
}

/// Without `..` that lead out of a folder which is named right before.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        let is_named = matches!(out.components().next_back(), Some(Component::Normal(_)));
        match part {
            Component::ParentDir if is_named => {
                out.pop();
            }
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes files into a folder and tells what is named, and where: paths as they are in the folder.
    fn found(files: &[(&str, &str)], manifests: &[&str]) -> Result<Vec<(String, String)>, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let start = format!("{}/", folder.path().display());
        let manifests: Vec<String> = manifests.iter().map(|name| format!("{start}{name}")).collect();
        let found = named(&[], &manifests).map_err(|e| e.in_full().replace(&start, ""))?.images;
        let shown =
            |one: InFile| (one.place.replace(&start, ""), one.image.map_or_else(|e| e, |i| i.to_string()));
        Ok(found.into_iter().map(shown).collect())
    }

    fn all(expected: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        Ok(expected.iter().map(|(place, image)| ((*place).to_owned(), (*image).to_owned())).collect())
    }

    const APP: &str = "kind: Deployment\nspec:\n  containers:\n  - image: app\n  - image: h.io/side:3\n";
    const BASE: (&str, &str) = ("base/kustomization.yaml", "resources: [app.yaml]\n");

    #[test]
    fn manifests_count_as_kustomizations_make_them() {
        let prod = "resources:\n- ../../base\nimages:\n- name: app\n  newName: h.io/app\n  newTag: '1.2'\n";
        let files = [
            ("base/app.yaml", APP),
            BASE,
            ("over/prod/kustomization.yml", prod),
            (
                "over/test/Kustomization",
                "resources: [../../base]\nimages: [{name: app, newName: h.io/test}]\n",
            ),
            ("other.yaml", "image: h.io/other:1\n"),
        ];
        let expected = [
            ("other.yaml:1", "h.io/other:1"),
            ("over/prod/kustomization.yml:4", "h.io/app:1.2"),
            ("base/app.yaml:5", "h.io/side:3"),
            ("over/test/Kustomization:2", "h.io/test:latest"),
            ("base/app.yaml:5", "h.io/side:3"),
        ];
        assert_eq!(found(&files, &[""]), all(&expected));
        // What is outside of the folder is followed to, and only what is named counts.
        assert_eq!(found(&files, &["over/prod"]), all(&expected[1..3]));
        assert_eq!(found(&files, &["over/prod/kustomization.yml", "base/app.yaml"]), all(&expected[1..3]));
        let plain = [("base/app.yaml:4", "index.docker.io/library/app:latest"), expected[2]];
        assert_eq!(found(&files, &["base"]), all(&plain));
    }

    #[test]
    fn components_and_patches_belong_to_who_takes_them_in() {
        let top = "resources: [app.yaml]\ncomponents: [../fast]\npatches:\n- path: patch.yaml\nimages:\n- {name: h.io/app, newTag: '2'}\n";
        let files = [
            ("top/app.yaml", APP),
            ("top/patch.yaml", "spec:\n  containers:\n  - image: h.io/app:0\n"),
            ("top/kustomization.yaml", top),
            ("fast/kustomization.yaml", "kind: Component\nimages:\n- {name: app, newName: h.io/app}\n"),
        ];
        let expected = [
            ("top/kustomization.yaml:6", "h.io/app:2"),
            ("top/app.yaml:5", "h.io/side:3"),
            ("top/kustomization.yaml:6", "h.io/app:2"),
        ];
        assert_eq!(found(&files, &[""]), all(&expected));
    }

    #[test]
    fn of_manifests_that_are_elsewhere_the_images_that_are_replaced_are_known() {
        let top = "resources: [https://h.io/x.yaml, github.com/org/repo, app.yaml]\nimages:\n- {name: h.io/a, newTag: '2'}\n- {name: app, newTag: '3'}\n- {name: h.io/b, newName: h.io/c}\n";
        let files = [("app.yaml", APP), ("kustomization.yaml", top)];
        let expected = [
            ("kustomization.yaml:4", "index.docker.io/library/app:3"),
            ("app.yaml:5", "h.io/side:3"),
            ("kustomization.yaml:3", "h.io/a:2"),
        ];
        assert_eq!(found(&files, &[""]), all(&expected));
        // Where all is here, what nothing is called does not run.
        let here = top.replace("https://h.io/x.yaml, github.com/org/repo, ", "");
        assert_eq!(found(&[("app.yaml", APP), ("kustomization.yaml", &here)], &[""]), all(&expected[..2]));
    }

    #[test]
    fn what_cannot_be_followed_is_an_error() {
        let circle = [
            ("a/kustomization.yaml", "resources: [../b]\n"),
            ("b/kustomization.yaml", "resources: [../a]\n"),
        ];
        let cases: [(&[(&str, &str)], &str); 3] = [
            (&circle, "a/kustomization.yaml: it takes itself in, or too many others"),
            (&[BASE], "cannot read base/app.yaml: No such file or directory (os error 2)"),
            (
                &[("kustomization.yaml", "resources: [none]\n"), ("none/x.yaml", "a: b\n")],
                "none: a kustomization names it, and there is none in it",
            ),
        ];
        for (files, expected) in cases {
            assert_eq!(found(files, &[""]).unwrap_err(), expected);
        }
    }
}
