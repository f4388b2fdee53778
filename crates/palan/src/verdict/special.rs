//! Paths that mean something.

use super::Class;

/// Directories of rpm databases.
const RPM: [&[u8]; 3] = [b"var/lib/rpm/", b"usr/share/rpm/", b"usr/lib/sysimage/rpm/"];

/// Whether a path is a package manager's list of what is installed.
pub(super) fn is_package_database(path: &[u8]) -> bool {
    const FILES: [&[u8]; 4] = [
        b"var/lib/dpkg/status",
        b"lib/apk/db/installed",
        b"usr/lib/apk/db/installed",
        b"var/lib/rpmmanifest/container-manifest-2",
    ];
    FILES.contains(&path) || is_status_d(path) || RPM.iter().any(|dir| path.starts_with(dir))
}

/// Whether a path describes one package of an image without dpkg.
pub(super) fn is_status_d(path: &[u8]) -> bool {
    path.strip_prefix(b"var/lib/dpkg/status.d/")
        .is_some_and(|name| !name.is_empty() && !name.contains(&b'/') && !name.ends_with(b".md5sums"))
}

/// What kind of file is at a path.
pub(super) fn class(path: &[u8]) -> Class {
    let within = |dirs: &[&str]| dirs.iter().any(|dir| is_within(path, dir.as_bytes()));
    if is_package_database(path) || within(&["var/lib/dpkg", "lib/apk", "usr/lib/apk", "etc/apk/world"]) {
        Class::PackageDatabase
    } else if is_loader_cache(path) {
        Class::LoaderCache
    } else if is_accounts(path) {
        Class::Accounts
    } else if is_trust_store(path) {
        Class::TrustStore
    } else if is_language_tree(path) {
        Class::LanguageTree
    } else if within(&["var/log", "var/cache", "var/lib/apt/lists", "tmp", "var/tmp", "run", "root/.cache"]) {
        Class::Residue
    } else {
        Class::File
    }
}

/// Whether `path` is `dir` or below it.
pub(super) fn is_within(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'))
}

/// Whether a path is the dynamic loader's cache, or the cache of the program that makes it.
pub(super) fn is_loader_cache(path: &[u8]) -> bool {
    path == b"etc/ld.so.cache" || path == b"var/cache/ldconfig/aux-cache"
}

fn is_accounts(path: &[u8]) -> bool {
    let Some(name) = path.strip_prefix(b"etc/") else { return false };
    let name = name.strip_suffix(b"-").unwrap_or(name);
    const NAMES: [&[u8]; 6] = [b"passwd", b"group", b"shadow", b"gshadow", b"subuid", b"subgid"];
    NAMES.contains(&name)
}

/// Whether a path is part of what certificates are trusted by.
pub(super) fn is_trust_store(path: &[u8]) -> bool {
    const DIRS: [&[u8]; 6] = [
        b"etc/ssl/certs",
        b"etc/ca-certificates",
        b"etc/pki",
        b"usr/share/ca-certificates",
        b"usr/share/pki",
        b"usr/local/share/ca-certificates",
    ];
    DIRS.iter().any(|dir| is_within(path, dir))
        || path == b"etc/ca-certificates.conf"
        || path == b"etc/ssl/cert.pem"
        || file_name(path) == b"ca-certificates.crt"
        || file_name(path) == b"cacerts"
}

/// Whether a path is a file that many certificates are put together in.
pub(super) fn is_trust_bundle(path: &[u8]) -> bool {
    const NAMES: [&[u8]; 5] =
        [b"ca-certificates.crt", b"cacerts", b"cert.pem", b"ca-bundle.crt", b"tls-ca-bundle.pem"];
    // A `cert.pem` of an application is its own.
    let is_own = file_name(path) == b"cert.pem"
        && ![b"etc/ssl/".as_slice(), b"etc/pki/", b"etc/ssl1.1/"].iter().any(|dir| path.starts_with(dir));
    NAMES.contains(&file_name(path)) && !is_own
}

fn is_language_tree(path: &[u8]) -> bool {
    const NAMES: [&[u8]; 8] = [
        b"site-packages",
        b"dist-packages",
        b"__pycache__",
        b"node_modules",
        b"gems",
        b"perl",
        b"perl5",
        b"vendor_perl",
    ];
    path.split(|byte| *byte == b'/').any(|part| NAMES.contains(&part)) || path.ends_with(b".pyc")
}

/// Whether a path looks like a shared library's.
pub(super) fn is_library(path: &[u8]) -> bool {
    let name = file_name(path);
    name.ends_with(b".so") || name.windows(4).any(|part| part == b".so.")
}

/// The source that Python's byte code at `path` was compiled from, PEP 3147.
pub(super) fn python_source(path: &[u8]) -> Option<Vec<u8>> {
    let dir = path[..path.len() - file_name(path).len()].strip_suffix(b"__pycache__/")?;
    let name = file_name(path).strip_suffix(b".pyc")?;
    let module = name.split(|byte| *byte == b'.').next()?;
    Some([dir, module, b".py"].concat())
}

/// The last part of a path.
pub(super) fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// Whether a path is the file by which a Java runtime tells its version.
pub(super) fn is_java_release(path: &[u8]) -> bool {
    const PARENTS: [&str; 4] = ["jvm", "java", "jdk", "jre"];
    let Some(dir) = path.strip_suffix(b"/release") else { return false };
    let dir = String::from_utf8_lossy(dir).to_ascii_lowercase();
    dir.split('/').any(|part| PARENTS.iter().any(|name| part.contains(name)))
}
