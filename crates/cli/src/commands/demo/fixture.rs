//! What the demonstration is about: a base in two versions, and the shapes of images found in the wild.
//!
//! Everything here is data. Change a file of the base, and digests, sizes and checks of the demonstration change.

use palan::verdict::Grade;
use palan_core::{Compression, Family};

/// For which the base is made.
pub(super) const PLATFORMS: [&str; 2] = ["amd64", "arm64"];

pub(super) const BASE: &str = "base/os";
pub(super) const OLD_TAG: &str = "1.0";
pub(super) const NEW_TAG: &str = "1.1";
/// An image that was never built on the base: rebasing it must be refused.
pub(super) const STRANGER: &str = "team/stranger";

/// One layer: path and content. `{arch}` in a content is the architecture; a content of `None` is a whiteout.
pub(super) type Layer = &'static [(&'static str, Option<&'static str>)];

const LIBSSL_WITH_A_HOLE: &str = "libssl 3.0.1 for {arch}, with a hole\n";

/// The package manager's list of what the base has.
macro_rules! packages {
    ($libssl:literal) => {
        concat!(
            "Package: libc\nStatus: install ok installed\nArchitecture: {arch}\nVersion: 2.36\n\n",
            "Package: libssl\nStatus: install ok installed\nArchitecture: {arch}\nVersion: ",
            $libssl,
            "\n\nPackage: runtime\nStatus: install ok installed\nArchitecture: {arch}\nVersion: 17\n"
        )
    };
}

/// The base with the hole.
pub(super) const OLD_BASE: &[Layer] = &[
    &[
        ("etc/os-release", Some("ID=demo\nVERSION_ID=1.0\n")),
        ("usr/lib/libc.so", Some("libc 2.36 for {arch}\n")),
        ("usr/share/doc/retired.txt", Some("this file is gone in the patched base\n")),
    ],
    &[
        ("usr/lib/libssl.so", Some(LIBSSL_WITH_A_HOLE)),
        ("usr/bin/runtime", Some("runtime 17 for {arch}\n")),
        ("var/lib/dpkg/status", Some(packages!("3.0.1"))),
    ],
];

/// The patched base: other content, and one layer more.
pub(super) const NEW_BASE: &[Layer] = &[
    &[
        ("etc/os-release", Some("ID=demo\nVERSION_ID=1.1\n")),
        ("usr/lib/libc.so", Some("libc 2.36 for {arch}\n")),
    ],
    &[
        ("usr/lib/libssl.so", Some("libssl 3.0.2 for {arch}, patched\n")),
        ("usr/bin/runtime", Some("runtime 17 for {arch}\n")),
        ("var/lib/dpkg/status", Some(packages!("3.0.2"))),
    ],
    &[("usr/share/doc/patch.txt", Some("the hole is closed\n"))],
];

/// How an image's history came to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum History {
    /// One entry per layer, and some for settings.
    Full,
    /// Only what the image's own builder did; the base's part is missing.
    Partial,
    /// None at all.
    None,
}

/// Where an image says what it was built on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hints {
    /// Nowhere: the bases are given.
    None,
    /// In the manifest's annotations.
    Annotations,
    /// In the config's labels.
    Labels,
}

/// What stands at the tag.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One image.
    Single(&'static str),
    /// An index of both platforms.
    Index,
    /// An index with attestations as BuildKit wrote them first: typed as images, for `unknown/unknown`.
    Attested,
    /// An index with attestations as artifacts with a subject.
    AttestedArtifacts,
}

/// A service image.
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) family: Family,
    pub(super) compression: Compression,
    pub(super) history: History,
    pub(super) hints: Hints,
    pub(super) shape: Shape,
    /// Whether the base's layers were compressed anew: other digests, same diff IDs.
    pub(super) recompressed: bool,
    pub(super) layers: &'static [Layer],
    /// How much of a rebuild the rebased image is.
    pub(super) verdict: Grade,
}

const ONE: &[Layer] =
    &[&[("srv/app/server", Some("server for {arch}\n")), ("srv/app/config.toml", Some("port = 80\n"))]];
const TWO: &[Layer] = &[
    &[("srv/lib/dependency", Some("dependency for {arch}\n")), ("srv/app/old", Some("replaced above\n"))],
    &[("srv/app/server", Some("server for {arch}\n")), ("srv/app/old", None)],
];

/// The base's library, baked into the application: the hole stays in it.
const BUNDLED: &[Layer] =
    &[&[("srv/lib/libssl.so", Some(LIBSSL_WITH_A_HOLE))], &[("srv/app/server", Some("server for {arch}\n"))]];
/// A package installed on the old base: its list of packages is the old one.
const INSTALLED: &[Layer] = &[
    &[
        ("usr/bin/tool", Some("tool 1.0 for {arch}\n")),
        (
            "var/lib/dpkg/status",
            Some(concat!(
                packages!("3.0.1"),
                "\nPackage: tool\nStatus: install ok installed\nArchitecture: {arch}\nVersion: 1.0\n"
            )),
        ),
    ],
    &[("srv/app/server", Some("server for {arch}\n"))],
];

/// An image like most: OCI, gzip, full history, an index, no hints.
const ORDINARY: Service = Service {
    name: "",
    family: Family::Oci,
    compression: Compression::Gzip,
    history: History::Full,
    hints: Hints::None,
    shape: Shape::Index,
    recompressed: false,
    layers: TWO,
    verdict: Grade::Clean,
};

const fn ordinary(name: &'static str) -> Service {
    Service { name, ..ORDINARY }
}

/// The fleet.
pub(super) const SERVICES: [Service; 12] = [
    Service { hints: Hints::Annotations, ..ordinary("team/api") },
    Service { family: Family::Docker, ..ordinary("team/web") },
    Service { compression: Compression::Zstd, shape: Shape::Single("amd64"), ..ordinary("team/auth") },
    Service {
        compression: Compression::None,
        history: History::None,
        layers: BUNDLED,
        verdict: Grade::Shadowed,
        ..ordinary("team/billing")
    },
    Service {
        family: Family::Docker,
        compression: Compression::None,
        history: History::Partial,
        shape: Shape::Single("amd64"),
        ..ordinary("team/cart")
    },
    Service { history: History::None, shape: Shape::Single("amd64"), layers: ONE, ..ordinary("team/search") },
    Service { hints: Hints::Labels, compression: Compression::Zstd, ..ordinary("team/mail") },
    Service { shape: Shape::Attested, hints: Hints::Annotations, ..ordinary("team/worker") },
    Service { shape: Shape::AttestedArtifacts, ..ordinary("team/cron") },
    Service { family: Family::Docker, hints: Hints::Labels, layers: ONE, ..ordinary("team/gateway") },
    Service {
        shape: Shape::Single("arm64"),
        history: History::Partial,
        layers: INSTALLED,
        verdict: Grade::DbShadowed,
        ..ordinary("team/report")
    },
    Service { recompressed: true, hints: Hints::Annotations, ..ordinary("team/legacy") },
];
