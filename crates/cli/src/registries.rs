//! What is configured per registry: certificates, trust, `registries.conf`. Here it is found; the client reads it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use palan_client::{Builder, RegistriesConf};
use palan_core::Repository;

use crate::{
    args::{Connection, Scoped},
    env::Env,
    exit::{Failure, Result},
};

const SYSTEM: &str = "/etc/containers";
const DOCKER_SYSTEM: &str = "/etc/docker";

/// A client that reaches registries as the flags and this machine's files want it.
///
/// Places that nobody named and that cannot be read are passed over, with a warning.
pub(crate) fn configure(
    mut client: Builder,
    flags: &Connection,
    env: &Env,
    warn: &dyn Fn(String),
) -> Result<Builder> {
    for name in &flags.plain_http {
        client = match name.as_str() {
            "" => client.plain_http_everywhere(),
            name => client.plain_http(Repository::parse_registry(name)?),
        };
    }
    for name in &flags.skip_tls_verify {
        client = match name.as_str() {
            "" => client.skip_tls_verify_everywhere(),
            name => client.skip_tls_verify(Repository::parse_registry(name)?),
        };
    }
    if flags.tls_verify == Some(false) {
        client = client.skip_tls_verify_everywhere();
    }
    client = certificates(client, flags)?;
    client = certs_d(env).into_iter().fold(client, Builder::certs_d);
    Ok(client.registries_conf(registries_conf(flags, env, warn)?))
}

fn certificates(mut client: Builder, flags: &Connection) -> Result<Builder> {
    for Scoped { registry, path } in &flags.ca_file {
        let pem = read(path)?;
        client = match registry {
            Some(registry) => client.registry_root_pem(registry, pem),
            None => client.add_root_pem(pem),
        };
    }
    if flags.cert_file.len() != flags.key_file.len() {
        return Err(Failure::usage("--cert-file and --key-file belong together"));
    }
    for certificate in &flags.cert_file {
        let Some(key) = flags.key_file.iter().find(|key| key.registry == certificate.registry) else {
            return Err(Failure::usage(format!(
                "there is no --key-file for the --cert-file of {}",
                certificate.registry.as_deref().unwrap_or("all registries")
            )));
        };
        let (pem, key) = (read(&certificate.path)?, read(&key.path)?);
        client = client.client_certificate(certificate.registry.clone(), pem, key);
    }
    for Scoped { registry, path } in &flags.cert_dir {
        client = client.certificate_folder(registry.clone(), path);
    }
    Ok(client)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| Failure::file("read", path, e))
}

/// Podman's folders with certificates per registry, then docker's.
fn certs_d(env: &Env) -> Vec<PathBuf> {
    let config = env.config_home();
    [
        config.as_ref().map(|folder| folder.join("containers")),
        Some(SYSTEM.into()),
        Some(DOCKER_SYSTEM.into()),
        config.as_ref().map(|folder| folder.join("docker")),
        env.docker_folder(),
    ]
    .into_iter()
    .flatten()
    .map(|folder| folder.join("certs.d"))
    .collect()
}

/// A user's `registries.conf` stands for the system's; parts from `registries.conf.d` come on top of it. A file that is
/// named by flag stands for everything.
pub(crate) fn registries_conf(
    flags: &Connection,
    env: &Env,
    warn: &dyn Fn(String),
) -> Result<RegistriesConf> {
    match &flags.registries_conf {
        Some(none) if none.as_os_str() == "none" => return Ok(RegistriesConf::default()),
        Some(file) => return parse(file, &read_text(file)?),
        None => {}
    }
    let user = env.config_home().map(|folder| folder.join("containers"));
    let in_user = |name: &str| user.as_ref().map(|folder| folder.join(name));
    let of_user = in_user("registries.conf").filter(|file| file.exists());
    let mut parts = Vec::new();
    if env.registries_conf().is_some() || of_user.is_none() {
        parts.extend(parts_of(&Path::new(SYSTEM).join("registries.conf.d"), warn)?);
    }
    if let Some(folder) = in_user("registries.conf.d") {
        parts.extend(parts_of(&folder, warn)?);
    }
    let system = Path::new(SYSTEM).join("registries.conf");
    let mut conf = match env.registries_conf() {
        Some(file) => parse(&file, &read_text(&file)?)?,
        None => parse_if_any(&of_user.unwrap_or(system), warn)?,
    };
    for part in parts {
        conf.add(parse_if_any(&part, warn)?);
    }
    Ok(conf)
}

/// `*.conf` in the order of their names.
fn parts_of(folder: &Path, warn: &dyn Fn(String)) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let Some(entries) = if_any(folder, entries, warn)? else { return Ok(Vec::new()) };
    let mut files: Vec<PathBuf> = entries.into_iter().map(|e| e.path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "conf"));
    files.sort();
    Ok(files)
}

fn parse_if_any(file: &Path, warn: &dyn Fn(String)) -> Result<RegistriesConf> {
    match if_any(file, fs::read_to_string(file), warn)? {
        Some(text) => parse(file, &text),
        None => Ok(RegistriesConf::default()),
    }
}

/// What was read from a place that nobody named; `None` where it is not there or not for us.
pub(crate) fn if_any<T>(path: &Path, read: io::Result<T>, warn: &dyn Fn(String)) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            warn(format!("{} was passed over: {e}", path.display()));
            Ok(None)
        }
        Err(e) => Err(Failure::file("read", path, e)),
    }
}

fn read_text(file: &Path) -> Result<String> {
    fs::read_to_string(file).map_err(|e| Failure::file("read", file, e))
}

fn parse(file: &Path, text: &str) -> Result<RegistriesConf> {
    RegistriesConf::parse(file, text)
        .map_err(|e| Failure::from(e).with_hint("--registries-conf none goes on without such files"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_nobody_named_need_not_be_readable() {
        use io::ErrorKind as Kind;
        for (kind, fails, warns) in [
            (Kind::NotFound, false, false),
            (Kind::NotADirectory, false, false),
            (Kind::PermissionDenied, false, true),
            (Kind::InvalidData, true, false),
        ] {
            let warned = std::cell::Cell::new(false);
            let warn = |text: String| warned.set(text.starts_with("/x was passed over: "));
            let read = if_any("/x".as_ref(), io::Result::<()>::Err(kind.into()), &warn);
            assert_eq!((read.is_err(), warned.get()), (fails, warns), "{kind}");
        }
    }
}
