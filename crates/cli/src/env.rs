//! The environment, read here and nowhere else.
//!
//! [`VARIABLES`] is rendered into the reference; a name that is not in it cannot be read.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use palan::Scratch;

use crate::exit::{Failure, Result};

/// One environment variable.
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    pub(crate) meaning: &'static str,
}

const fn variable(name: &'static str, meaning: &'static str) -> Variable {
    Variable { name, meaning }
}

/// Every variable that changes what palan does, by topic.
pub(crate) const VARIABLES: &[Variable] = &[
    variable(
        "DOCKER_AUTH_CONFIG",
        "Credentials themselves, as the JSON text of a docker `config.json`. Always counts, after the files.",
    ),
    variable(
        "DOCKER_CONFIG",
        "Folder of docker's `config.json`. Default: `$HOME/.docker`. `auth login` writes there.",
    ),
    variable("REGISTRY_AUTH_FILE", "A credential file in podman's form, read after docker's."),
    variable("XDG_RUNTIME_DIR", "`$XDG_RUNTIME_DIR/containers/auth.json` is read after that."),
    variable(
        "XDG_CONFIG_HOME",
        "`$XDG_CONFIG_HOME/containers/auth.json` is read last; `registries.conf` and `certs.d` lie beside it. Default: \
         `$HOME/.config`.",
    ),
    variable(
        "GITHUB_TOKEN",
        "Password for `ghcr.io`, where no file, helper or `DOCKER_AUTH_CONFIG` has credentials for it. Where it is \
         refused, `ghcr.io` is asked without.",
    ),
    variable("GITHUB_ACTOR", "The user to whom `GITHUB_TOKEN` belongs. Default: `x-access-token`."),
    variable(
        "CONTAINERS_REGISTRIES_CONF",
        "The `registries.conf` to read instead of podman's usual ones. See `--registries-conf`.",
    ),
    variable(
        "XDG_DATA_HOME",
        "`$XDG_DATA_HOME/palan/bases.jsonl` is the index of known bases. Default: `$HOME/.local/share`, on macOS \
         `$HOME/Library/Application Support`, on Windows `%LOCALAPPDATA%`.",
    ),
    variable("LOCALAPPDATA", "See `XDG_DATA_HOME` and `PALAN_CACHE`; Windows only."),
    variable("HOME", "Where the defaults above lie."),
    variable(
        "PATH",
        "Where credential helpers (`docker-credential-NAME`), and hooks of fleets, are looked for.",
    ),
    variable("HTTP_PROXY", "Proxy for http (also `http_proxy`)."),
    variable("HTTPS_PROXY", "Proxy for https (also `https_proxy`); `socks5://` works too."),
    variable("ALL_PROXY", "Proxy for both (also `all_proxy`)."),
    variable("NO_PROXY", "Hosts that are reached without a proxy (also `no_proxy`)."),
    variable("SSL_CERT_FILE", "A file of certificate authorities to trust instead of the system's."),
    variable("SSL_CERT_DIR", "A folder of certificate authorities to trust instead of the system's."),
    variable(
        "PALAN_CACHE",
        "Folder of what was learned about layers, and of manifests and configs that were read, which may be deleted at any time. Default: `palan` in the user's \
         cache folder (`$XDG_CACHE_HOME`, else `$HOME/.cache`; `$HOME/Library/Caches` on macOS, `%LOCALAPPDATA%` on \
         Windows). `off`: nothing is kept.",
    ),
    variable("XDG_CACHE_HOME", "See `PALAN_CACHE`."),
    variable(
        "TMPDIR",
        "Folder of temporary files (`TMP` on Windows): new layers, and what `export` and `flatten` inflate, all layers of an \
         image at most.",
    ),
    variable(
        "SOURCE_DATE_EPOCH",
        "Seconds since 1970: when what is made is said to be created. Default: when the image that it is made from was.",
    ),
    variable(
        "EDITOR",
        "What `edit` runs where there is a terminal, with arguments if need be. Default: `VISUAL`, else `vi`.",
    ),
    variable("VISUAL", "See `EDITOR`."),
    variable("PORT", "Port of `registry serve` when `--port` is not given. Default: a free one."),
    variable("NO_COLOR", "Set and not empty: no colours."),
    variable("TERM", "`dumb`: no colours and no progress bars."),
];

/// The values at start, of the variables in [`VARIABLES`] only. An empty value counts as not set.
pub(crate) struct Env(BTreeMap<&'static str, OsString>);

impl Env {
    pub(crate) fn read() -> Self {
        let value = |v: &Variable| Some((v.name, std::env::var_os(v.name).filter(|v| !v.is_empty())?));
        Self(VARIABLES.iter().filter_map(value).collect())
    }

    fn get(&self, name: &'static str) -> Option<&OsStr> {
        debug_assert!(VARIABLES.iter().any(|v| v.name == name), "{name} is missing in the table");
        self.0.get(name).map(OsString::as_os_str)
    }

    fn path(&self, name: &'static str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// Where temporary files go.
    pub(crate) fn scratch(&self) -> Scratch {
        match std::env::temp_dir() {
            empty if empty.as_os_str().is_empty() => Scratch::default(),
            folder => Scratch::new(folder),
        }
    }

    fn home(&self) -> Option<PathBuf> {
        self.path("HOME")
    }

    /// Docker's `config.json`, whether it exists or not.
    pub(crate) fn docker_config_file(&self) -> Option<PathBuf> {
        Some(self.docker_folder()?.join("config.json"))
    }

    /// Where programs keep what the user configured.
    pub(crate) fn config_home(&self) -> Option<PathBuf> {
        self.path("XDG_CONFIG_HOME").or_else(|| Some(self.home()?.join(".config")))
    }

    /// Docker's folder for what the user configured.
    pub(crate) fn docker_folder(&self) -> Option<PathBuf> {
        self.path("DOCKER_CONFIG").or_else(|| Some(self.home()?.join(".docker")))
    }

    /// The file that was named instead of the usual ones.
    pub(crate) fn registries_conf(&self) -> Option<PathBuf> {
        self.path("CONTAINERS_REGISTRIES_CONF")
    }

    /// User and token for GitHub's registry.
    pub(crate) fn github(&self) -> Option<(&str, &str)> {
        let actor = self.get("GITHUB_ACTOR").and_then(OsStr::to_str).unwrap_or("x-access-token");
        Some((actor, self.get("GITHUB_TOKEN")?.to_str()?))
    }

    /// Whether a variable names this credential file, or the folder that it is in.
    pub(crate) fn names_file(&self, file: &Path) -> bool {
        self.path("REGISTRY_AUTH_FILE").is_some_and(|named| named == file)
            || self.path("DOCKER_CONFIG").is_some_and(|folder| folder.join("config.json") == file)
    }

    /// The credential files, first the one that counts most, whether they exist or not.
    pub(crate) fn credential_files(&self) -> Vec<PathBuf> {
        let containers = |folder: PathBuf| folder.join("containers").join("auth.json");
        [
            self.docker_config_file(),
            self.path("REGISTRY_AUTH_FILE"),
            self.path("XDG_RUNTIME_DIR").map(containers),
            self.config_home().map(containers),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The index of known bases, whether it exists or not.
    pub(crate) fn known_bases_file(&self) -> Option<PathBuf> {
        let system = || match std::env::consts::OS {
            "windows" => self.path("LOCALAPPDATA"),
            "macos" => Some(self.home()?.join("Library").join("Application Support")),
            _ => Some(self.home()?.join(".local").join("share")),
        };
        let folder = self.path("XDG_DATA_HOME").or_else(system)?;
        Some(folder.join("palan").join("bases.jsonl"))
    }

    /// Credentials given as text.
    pub(crate) fn docker_auth_config(&self) -> Option<&str> {
        self.get("DOCKER_AUTH_CONFIG")?.to_str()
    }

    /// Where to keep what was learned.
    pub(crate) fn cache_folder(&self) -> Option<PathBuf> {
        match self.get("PALAN_CACHE") {
            Some(off) if off == "off" => None,
            Some(folder) => Some(PathBuf::from(folder)),
            None => Some(self.user_cache_folder()?.join("palan")),
        }
    }

    fn user_cache_folder(&self) -> Option<PathBuf> {
        if cfg!(windows) {
            return self.path("LOCALAPPDATA");
        }
        let own = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
        self.path("XDG_CACHE_HOME").or_else(|| Some(self.home()?.join(own)))
    }

    /// When what is made is said to be created, RFC 3339.
    pub(crate) fn created(&self) -> Result<Option<String>> {
        Ok(self.source_date_epoch()?.map(|time| time.to_string()))
    }

    /// `SOURCE_DATE_EPOCH`.
    pub(crate) fn source_date_epoch(&self) -> Result<Option<jiff::Timestamp>> {
        let Some(text) = self.get("SOURCE_DATE_EPOCH") else { return Ok(None) };
        let time = text.to_str().and_then(|text| text.parse().ok()).map(jiff::Timestamp::from_second);
        match time {
            Some(Ok(time)) => Ok(Some(time)),
            _ => Err(Failure::usage(format!(
                "SOURCE_DATE_EPOCH is {}, which is no number of seconds since 1970",
                text.display()
            ))),
        }
    }

    /// The folders of programs.
    pub(crate) fn programs(&self) -> Vec<PathBuf> {
        self.get("PATH").map(|path| std::env::split_paths(path).collect()).unwrap_or_default()
    }

    /// What texts are edited with.
    pub(crate) fn editor(&self) -> OsString {
        let usual = if cfg!(windows) { "notepad" } else { "vi" };
        self.get("EDITOR").or_else(|| self.get("VISUAL")).map_or_else(|| usual.into(), OsStr::to_owned)
    }

    pub(crate) fn port(&self) -> Option<&OsStr> {
        self.get("PORT")
    }

    pub(crate) fn is_dumb_terminal(&self) -> bool {
        self.get("TERM").is_some_and(|term| term == "dumb")
    }

    pub(crate) fn wants_no_color(&self) -> bool {
        self.get("NO_COLOR").is_some() || self.is_dumb_terminal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(values: &[(&'static str, &str)]) -> Env {
        Env(values.iter().map(|(k, v)| (*k, OsString::from(v))).collect())
    }

    #[test]
    fn credential_files_come_in_cranes_order() {
        let all = env(&[
            ("HOME", "/h"),
            ("DOCKER_CONFIG", "/d"),
            ("REGISTRY_AUTH_FILE", "/r.json"),
            ("XDG_RUNTIME_DIR", "/run"),
            ("XDG_CONFIG_HOME", "/c"),
        ]);
        let expected = ["/d/config.json", "/r.json", "/run/containers/auth.json", "/c/containers/auth.json"];
        assert_eq!(all.credential_files(), expected.map(PathBuf::from));
        let home = env(&[("HOME", "/h")]);
        let expected = ["/h/.docker/config.json", "/h/.config/containers/auth.json"];
        assert_eq!(home.credential_files(), expected.map(PathBuf::from));
        assert!(env(&[]).credential_files().is_empty());
    }

    #[test]
    fn the_cache_can_be_moved_and_turned_off() {
        let folder = |values: &[(&'static str, &str)]| env(values).cache_folder();
        assert_eq!(folder(&[("PALAN_CACHE", "/p"), ("HOME", "/h")]), Some("/p".into()));
        assert_eq!(folder(&[("PALAN_CACHE", "off"), ("HOME", "/h")]), None);
        if cfg!(unix) {
            assert_eq!(folder(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]), Some("/x/palan".into()));
        }
        if cfg!(target_os = "linux") {
            assert_eq!(folder(&[("HOME", "/h")]), Some("/h/.cache/palan".into()));
        }
        assert_eq!(folder(&[]), None);
    }

    #[test]
    fn known_bases_are_data_of_the_user() {
        let xdg = env(&[("HOME", "/h"), ("XDG_DATA_HOME", "/d")]);
        assert_eq!(xdg.known_bases_file(), Some(PathBuf::from("/d/palan/bases.jsonl")));
        let home = env(&[("HOME", "/h"), ("LOCALAPPDATA", "/h/local")]).known_bases_file().unwrap();
        assert!(home.starts_with("/h") && home.ends_with("palan/bases.jsonl"), "{}", home.display());
        assert_eq!(env(&[]).known_bases_file(), None);
    }

    #[test]
    fn every_variable_stands_once_in_the_table() {
        for (i, v) in VARIABLES.iter().enumerate() {
            assert!(VARIABLES[..i].iter().all(|w| w.name != v.name), "{}", v.name);
            assert!(!v.meaning.is_empty());
        }
    }
}
