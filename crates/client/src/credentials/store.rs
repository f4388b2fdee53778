//! Changing what is kept: log in and log out.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{Config, Keychain, file, helper, key, text};
use crate::{Error, Secret};

/// What an entry of `auths` may hold of secrets.
const SECRET_FIELDS: [&str; 5] = ["auth", "username", "password", "identitytoken", "registrytoken"];

impl Keychain {
    /// Keeps credentials for `server`, a registry (as in references) or a part of one: with the helper that the file
    /// names for it, else in the file. The user `<token>` stands for an identity token. Returns where they went: the
    /// file's or the helper's name.
    ///
    /// The file is replaced as a whole, a new one readable by its owner only; what does not change in it keeps its
    /// bytes. Logins at the same time wait for each other.
    pub async fn login(
        &self,
        path: &Path,
        server: &str,
        username: &str,
        secret: &Secret,
    ) -> Result<String, Error> {
        let wrong = |reason| file::file_error(path, reason);
        let _lock = lock(path).await;
        let (old, mut json) = load(path)?;
        let config = Config::of_object(&json).map_err(wrong)?;
        let key = key::storage_key(server);
        if let Some(helper) = config.storing_helper(&key).map_err(wrong)? {
            self.helpers.store(helper, &key, username, secret).await?;
            // Docker's marker: the helper has something for this key.
            change_entry(path, &mut json, &key, Map::new())?;
            save(path, &old, &json)?;
            return Ok(helper::program(helper));
        }
        let entry = match username {
            "<token>" => json!({ "identitytoken": secret.expose() }),
            _ => json!({ "auth": file::encode(username, secret.expose()) }),
        };
        let Value::Object(entry) = entry else { return Ok(String::new()) };
        change_entry(path, &mut json, &key, entry)?;
        save(path, &old, &json)?;
        Ok(path.display().to_string())
    }

    /// Forgets the credentials for `server` in this file and with the helper it names. Returns whether there were any.
    pub async fn logout(&self, path: &Path, server: &str) -> Result<bool, Error> {
        let wrong = |reason| file::file_error(path, reason);
        let _lock = lock(path).await;
        let (old, mut json) = load(path)?;
        let config = Config::of_object(&json).map_err(wrong)?;
        let mut any = false;
        let key = key::storage_key(server);
        if let Some(helper) = config.storing_helper(&key).map_err(wrong)? {
            any = self.helpers.erase(helper, &key).await?;
        }
        if let Some(Value::Object(auths)) = json.get_mut("auths") {
            let before = auths.len();
            let hosts = key::registry_keys(server);
            let is_server = |key: &str| {
                hosts.iter().any(|h| h == key)
                    || key::url_host(key).is_some_and(|h| hosts.iter().any(|n| n == h))
            };
            auths.retain(|key, _| !is_server(key));
            if auths.len() < before {
                any = true;
                save(path, &old, &json)?;
            }
        }
        Ok(any)
    }

    /// The keys for which a helper keeps credentials.
    pub async fn helper_keys(&self, helper: &str) -> Result<Vec<String>, Error> {
        self.helpers.list(helper).await
    }
}

/// The file's text and what it says; both empty if there is none.
fn load(path: &Path) -> Result<(Secret, Map<String, Value>), Error> {
    let text = file::read(path)?.unwrap_or_default();
    let json = file::object(path, &text)?;
    Ok((Secret::new(text), json))
}

/// Replaces the secrets of an entry and keeps its other fields.
fn change_entry(
    path: &Path,
    json: &mut Map<String, Value>,
    key: &str,
    fields: Map<String, Value>,
) -> Result<(), Error> {
    let not_an_object = |what: &str| file::file_error(path, format!("{what} is not an object"));
    let auths = json.entry("auths").or_insert_with(|| json!({}));
    if auths.is_null() {
        *auths = json!({});
    }
    let auths = auths.as_object_mut().ok_or_else(|| not_an_object("\"auths\""))?;
    let entry = auths.entry(key).or_insert_with(|| json!({}));
    if entry.is_null() {
        *entry = json!({});
    }
    let entry = entry.as_object_mut().ok_or_else(|| not_an_object(&format!("the entry \"{key}\"")))?;
    entry.retain(|name, _| !SECRET_FIELDS.contains(&name.as_str()));
    entry.extend(fields);
    Ok(())
}

fn save(path: &Path, old: &Secret, json: &Map<String, Value>) -> Result<(), Error> {
    let written = text::rewritten(old.expose(), json).and_then(|text| write(path, &text));
    written.map_err(|e| file::file_error(path, format!("cannot be written: {e}")))
}

/// Until it is dropped, no other palan changes the file. Best effort: some file systems know no locks.
async fn lock(path: &Path) -> Option<File> {
    let target = behind_links(path);
    let locked = tokio::task::spawn_blocking(move || {
        let folder = folder_of(&target);
        fs::create_dir_all(folder)?;
        // The file itself is replaced, and whoever waited for the old one would hold nothing.
        #[cfg(unix)]
        let file = File::open(folder)?;
        #[cfg(not(unix))]
        let file = File::options().create(true).append(true).open(folder.join(".palan-lock"))?;
        file.lock()?;
        Ok::<_, io::Error>(file)
    });
    match locked.await {
        Ok(Ok(file)) => Some(file),
        Ok(Err(error)) => {
            tracing::debug!(path = %path.display(), %error, "not locked");
            None
        }
        Err(_) => None,
    }
}

/// The file that a link stands for, whether it exists or not.
fn behind_links(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    // As many as Linux follows.
    for _ in 0..40 {
        let Ok(next) = fs::read_link(&path) else { break };
        path = folder_of(&path).join(next);
    }
    path
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes beside the file and renames, so that nobody ever sees half of it. A symbolic link stays one, owner and mode
/// stay what they were.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let target = behind_links(path);
    let folder = folder_of(&target);
    fs::create_dir_all(folder)?;
    let (temporary, mut file) = create_beside(folder)?;
    let done = (|| {
        if let Ok(old) = fs::metadata(&target) {
            inherit(&file, &old)?;
        }
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&temporary, &target)
    })();
    if done.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    done
}

fn inherit(file: &File, old: &fs::Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        // Whoever may not give files away keeps them; then the mode must not open it to another group.
        let (uid, gid) = (old.uid(), old.gid());
        let now = file.metadata()?;
        if (now.uid(), now.gid()) != (uid, gid) && fchown(file, Some(uid), Some(gid)).is_err() {
            return Ok(());
        }
    }
    file.set_permissions(old.permissions())
}

fn create_beside(folder: &Path) -> io::Result<(PathBuf, File)> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    loop {
        let path = folder.join(format!(".palan-{:016x}", fastrand::u64(..)));
        match options.open(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return opened.map(|file| (path, file)),
        }
    }
}
