//! Docker's `config.json` and podman's `auth.json`.

use std::{collections::BTreeMap, fs, io, path::Path};

use base64::{Engine, alphabet, engine};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::{
    Credentials,
    key::{self, Names},
};
use crate::{Error, Secret};

/// Some tools pad, some do not.
const BASE64: engine::GeneralPurpose = engine::GeneralPurpose::new(
    &alphabet::STANDARD,
    engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
/// No credential file is as large as this.
const LARGEST: u64 = 16 * 1024 * 1024;

/// What palan reads of such a file.
#[derive(Default)]
pub(super) struct Config {
    /// By key; `None` for an entry that says nothing: docker leaves one for what a helper keeps. What is wrong with an
    /// entry matters to whoever wants that one.
    auths: BTreeMap<String, Result<Option<Credentials>, String>>,
    helpers: BTreeMap<String, Result<String, String>>,
    store: Option<String>,
    pub(super) http_headers: HeaderMap,
}

impl Config {
    /// A file that does not exist is an empty one.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        match read(path)? {
            Some(text) => Self::parse(path, &text),
            None => Ok(Self::default()),
        }
    }

    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        Self::of_object(&object(path, text)?).map_err(|reason| file_error(path, reason))
    }

    pub(super) fn of_object(json: &Map<String, Value>) -> Result<Self, String> {
        let mut config = Self::default();
        for (key, entry) in map(json, "auths")? {
            let credentials =
                entry_credentials(entry).map_err(|reason| format!("the entry \"{key}\" {reason}"));
            config.auths.insert(key.clone(), credentials);
        }
        for (key, helper) in map(json, "credHelpers")?.filter(|(_, helper)| !helper.is_null()) {
            let name = helper.as_str().ok_or_else(|| format!("the helper for \"{key}\" is not a string"));
            config.helpers.insert(key.clone(), name.map(str::to_owned));
        }
        config.store = string(json, "credsStore")?;
        for (name, value) in map(json, "HttpHeaders")?.filter(|(_, value)| !value.is_null()) {
            let wrong = || format!("the HTTP header \"{name}\" is not one");
            let key: HeaderName = name.parse().map_err(|_| wrong())?;
            let mut value = HeaderValue::from_str(value.as_str().ok_or_else(wrong)?).map_err(|_| wrong())?;
            value.set_sensitive(true);
            config.http_headers.insert(key, value);
        }
        Ok(config)
    }

    /// One entry, which stands in no file.
    pub(super) fn of_one(key: String, credentials: Credentials) -> Self {
        Self { auths: BTreeMap::from([(key, Ok(Some(credentials)))]), ..Self::default() }
    }

    /// The helper for one of these names, and the key to ask it for.
    pub(super) fn helper_for(&self, names: &Names) -> Result<Option<(&str, String)>, String> {
        let own = names.keys.iter().find_map(|key| Some((self.helpers.get(key)?, key)));
        if let Some((helper, key)) = own {
            let key = if names.is_registry() { key::storage_key(key) } else { key.clone() };
            return Ok(Some((helper.as_deref().map_err(String::clone)?, key)));
        }
        let Some(store) = self.store.as_deref() else { return Ok(None) };
        if names.is_registry() {
            return Ok(names.keys.first().map(|key| (store, key.clone())));
        }
        let is_marked = |key: &&String| matches!(self.auths.get(*key), Some(Ok(None)));
        Ok(names.keys.iter().find(is_marked).map(|key| (store, key.clone())))
    }

    /// The file's own entry for one of these names.
    pub(super) fn entry(&self, names: &Names) -> Result<Option<Credentials>, String> {
        let says = |entry: &&Result<Option<Credentials>, String>| !matches!(entry, Ok(None));
        let exact = names.keys.iter().find_map(|key| self.auths.get(key).filter(says));
        let found = exact.or_else(|| {
            let points_here =
                |key: &str| key::url_host(key).is_some_and(|h| names.hosts.iter().any(|n| n == h));
            self.auths.iter().find_map(|(key, entry)| Some(entry).filter(says).filter(|_| points_here(key)))
        });
        found.cloned().unwrap_or(Ok(None))
    }

    /// The helper that stores credentials under this key.
    pub(super) fn storing_helper(&self, key: &str) -> Result<Option<&str>, String> {
        match self.helpers.get(key) {
            Some(helper) => helper.as_deref().map(Some).map_err(String::clone),
            None => Ok(self.store.as_deref()),
        }
    }
}

/// A file's text; `None` if it does not exist.
pub(super) fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::metadata(path) {
        Ok(data) if data.len() > LARGEST => return Err(file_error(path, "is too large".into())),
        _ => {}
    }
    match fs::read(path) {
        Ok(bytes) => {
            String::from_utf8(bytes).map(Some).map_err(|_| file_error(path, "is not UTF-8 text".into()))
        }
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(file_error(path, format!("cannot be read: {e}"))),
    }
}

/// The text as a JSON object. An empty file counts as an empty object; what follows the object is not looked at.
pub(super) fn object(path: &Path, text: &str) -> Result<Map<String, Value>, Error> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match Value::deserialize(&mut serde_json::Deserializer::from_str(text)) {
        Ok(Value::Object(json)) => Ok(json),
        Ok(_) => Err(file_error(path, "is not a JSON object".into())),
        // The parser's own words could quote the content.
        Err(e) => {
            Err(file_error(path, format!("is not valid JSON (line {}, column {})", e.line(), e.column())))
        }
    }
}

pub(super) fn file_error(path: &Path, reason: String) -> Error {
    Error::CredentialFile { path: path.to_owned(), reason }
}

fn map<'a>(
    json: &'a Map<String, Value>,
    key: &str,
) -> Result<impl Iterator<Item = (&'a String, &'a Value)> + use<'a>, String> {
    match json.get(key) {
        None | Some(Value::Null) => Ok(None.into_iter().flatten()),
        Some(Value::Object(map)) => Ok(Some(map).into_iter().flatten()),
        Some(_) => Err(format!("\"{key}\" is not an object")),
    }
}

fn string(json: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match json.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|t| !t.is_empty())),
        Some(_) => Err(format!("has a \"{key}\" that is not a string")),
    }
}

fn entry_credentials(entry: &Value) -> Result<Option<Credentials>, String> {
    let entry = match entry {
        Value::Object(entry) => entry,
        Value::Null => return Ok(None),
        _ => return Err("is not an object".into()),
    };
    if let Some(token) = string(entry, "registrytoken")? {
        return Ok(Some(Credentials::RegistryToken(Secret::new(token))));
    }
    if let Some(token) = string(entry, "identitytoken")? {
        return Ok(Some(Credentials::IdentityToken(Secret::new(token))));
    }
    if let Some(auth) = string(entry, "auth")? {
        return decode(&auth).map(Some);
    }
    match (string(entry, "username")?, string(entry, "password")?) {
        (None, _) => Ok(None),
        (Some(username), password) => Ok(Some(Credentials::of_user(username, password.unwrap_or_default()))),
    }
}

/// `user:password` in base64. Some tools wrote a trailing NUL.
fn decode(auth: &str) -> Result<Credentials, String> {
    let bytes = BASE64.decode(auth.trim()).map_err(|_| "has an \"auth\" that is not base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "has an \"auth\" that is not text")?;
    let (username, password) = text.split_once(':').ok_or("has an \"auth\" without a colon")?;
    Ok(Credentials::of_user(username.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// The `auth` of a user and password.
pub(super) fn encode(username: &str, password: &str) -> String {
    base64::prelude::BASE64_STANDARD.encode(format!("{username}:{password}"))
}
