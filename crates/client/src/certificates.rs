//! Certificates per registry: whom to trust beyond the system's authorities, and what to show when asked. From texts,
//! and from folders laid out as docker's and podman's `certs.d`.
//!
//! In such a folder, `*.crt` are authorities, and `NAME.cert` with `NAME.key` is what the client shows.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use palan_core::hub;

use crate::{Error, tls};

/// More than this no certificate file has to say.
const LARGEST: u64 = 4 * 1024 * 1024;

/// A registry (host and port as in references), or all of them.
pub(crate) type Scope = Option<String>;

/// Everything that was named.
#[derive(Default)]
pub(crate) struct Sources {
    pub(crate) roots: Vec<(Scope, Vec<u8>)>,
    pub(crate) identities: Vec<(Scope, tls::IdentityPem)>,
    /// Folders that hold certificates.
    pub(crate) folders: Vec<(Scope, PathBuf)>,
    /// Folders that hold such a folder per registry; the first that has one for a registry counts.
    pub(crate) per_registry: Vec<PathBuf>,
}

impl Sources {
    /// What is trusted everywhere.
    pub(crate) fn common(&self) -> Result<tls::Set, Error> {
        let mut set = tls::Set::default();
        for (_, pem) in self.roots.iter().filter(|(scope, _)| scope.is_none()) {
            set.add_roots(pem, "root certificate")?;
        }
        Ok(set)
    }

    /// What counts for this registry only, if anything does. Reads the folders.
    pub(crate) fn of_registry(&self, name: &str) -> Result<Option<tls::Set>, Error> {
        let is_for = |scope: &Scope| scope.as_deref().is_none_or(|own| own == name);
        let mut set = tls::Set::default();
        // What was named for this registry goes before what was named for all.
        let own = |scope: &Scope| scope.is_some();
        for (_, pem) in self.roots.iter().filter(|(scope, _)| own(scope) && is_for(scope)) {
            set.add_roots(pem, "root certificate")?;
        }
        for named in [true, false] {
            for (_, pem) in self.identities.iter().filter(|(scope, _)| own(scope) == named && is_for(scope)) {
                set.offer(pem, "client certificate")?;
            }
            for (_, folder) in self.folders.iter().filter(|(scope, _)| own(scope) == named && is_for(scope)) {
                read_folder(&mut set, folder)?;
            }
        }
        if let Some(folder) = self.per_registry.iter().find_map(|root| folder_of(root, name)) {
            // Nobody named it: root's may be closed to others, who get on without.
            match closed(&folder) {
                Some(path) => tracing::warn!("{} was passed over: permission denied", path.display()),
                None => read_folder(&mut set, &folder)?,
            }
        }
        Ok((!set.is_empty()).then_some(set))
    }
}

/// The registry's own folder in a folder like `certs.d`.
fn folder_of(root: &Path, name: &str) -> Option<PathBuf> {
    let names: &[&str] = match name {
        hub::REGISTRY => &[hub::SHORT, hub::REGISTRY, hub::API],
        _ => &[name],
    };
    names.iter().map(|name| root.join(name)).find(|folder| folder.is_dir())
}

/// The folder or a file in it, if it is not for us.
fn closed(folder: &Path) -> Option<PathBuf> {
    let denied = |e: &io::Error| e.kind() == io::ErrorKind::PermissionDenied;
    match fs::read_dir(folder) {
        Err(e) => denied(&e).then(|| folder.to_owned()),
        Ok(entries) => {
            let mut paths = entries.flatten().map(|entry| entry.path());
            paths.find(|path| File::open(path).is_err_and(|e| denied(&e)))
        }
    }
}

fn read_folder(set: &mut tls::Set, folder: &Path) -> Result<(), Error> {
    let unreadable = |path: &Path, e: &io::Error| Error::Settings(format!("{}: {e}", path.display()));
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut files: Vec<PathBuf> =
        entries.map_err(|e| unreadable(folder, &e))?.into_iter().map(|e| e.path()).collect();
    files.sort();
    let read = |path: &Path| read_file(path).map_err(|e| unreadable(path, &e));
    for path in &files {
        match path.extension().and_then(|e| e.to_str()) {
            Some("crt") => set.add_roots(&read(path)?, &path.display().to_string())?,
            Some("cert") => {
                let key = path.with_extension("key");
                let pem = tls::IdentityPem { certificate: read(path)?, key: read(&key)? };
                set.offer(&pem, &path.display().to_string())?;
            }
            Some("key") if !path.with_extension("cert").exists() => {
                let missing = path.with_extension("cert");
                let e = io::Error::new(io::ErrorKind::NotFound, "the certificate for this key is missing");
                return Err(unreadable(&missing, &e));
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}
