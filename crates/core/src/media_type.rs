//! Media types of manifests, configs and layers, OCI and Docker.
//!
//! Sources: image-spec `media-types.md`; Docker "Image Manifest Version 2, Schema 2".

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

/// A media type, known or not. Comparing is byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(Cow<'static, str>);

/// Which of the two families of documents a media type belongs to. One manifest must not mix them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// `application/vnd.oci.…`
    Oci,
    /// `application/vnd.docker.…`
    Docker,
}

/// How a layer's tar stream is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// A plain tar.
    None,
    /// RFC 1952, possibly several members.
    Gzip,
    /// RFC 8878, possibly several frames.
    Zstd,
}

/// What a media type stands for in the image graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// An image index or Docker manifest list.
    Index,
    /// An image (or artifact) manifest.
    Manifest,
    /// An image config.
    Config,
    /// A file system layer.
    Layer {
        /// How the tar is stored.
        compression: Compression,
        /// Non-distributable ("foreign"): not pushed unless asked for.
        foreign: bool,
    },
    /// Docker's legacy signed manifest, which palan reads no further.
    LegacyManifest,
    /// Anything else: an artifact's blob, an unknown type.
    Other,
}

macro_rules! known {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $family:expr, $role:expr;)*) => {
        impl MediaType {
            $($(#[$doc])* pub const $name: Self = Self(Cow::Borrowed($text));)*
        }

        const KNOWN: &[(&str, Family, Role)] = &[$(($text, $family, $role),)*];
    };
}

const fn layer(compression: Compression, foreign: bool) -> Role {
    Role::Layer { compression, foreign }
}

known! {
    /// OCI image index.
    OCI_INDEX = "application/vnd.oci.image.index.v1+json", Family::Oci, Role::Index;
    /// OCI image manifest.
    OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json", Family::Oci, Role::Manifest;
    /// OCI image config.
    OCI_CONFIG = "application/vnd.oci.image.config.v1+json", Family::Oci, Role::Config;
    /// OCI layer, plain tar.
    OCI_LAYER = "application/vnd.oci.image.layer.v1.tar", Family::Oci, layer(Compression::None, false);
    /// OCI layer, gzip.
    OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip", Family::Oci, layer(Compression::Gzip, false);
    /// OCI layer, zstd.
    OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd", Family::Oci, layer(Compression::Zstd, false);
    /// OCI non-distributable layer, plain tar.
    OCI_FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar", Family::Oci, layer(Compression::None, true);
    /// OCI non-distributable layer, gzip.
    OCI_FOREIGN_LAYER_GZIP = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Family::Oci, layer(Compression::Gzip, true);
    /// OCI non-distributable layer, zstd.
    OCI_FOREIGN_LAYER_ZSTD = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", Family::Oci, layer(Compression::Zstd, true);
    /// The empty JSON object, `{}`, as artifact config.
    OCI_EMPTY = "application/vnd.oci.empty.v1+json", Family::Oci, Role::Other;
    /// Docker manifest list.
    DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json", Family::Docker, Role::Index;
    /// Docker image manifest, schema 2.
    DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json", Family::Docker, Role::Manifest;
    /// Docker image config.
    DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json", Family::Docker, Role::Config;
    /// Docker layer, plain tar.
    DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar", Family::Docker, layer(Compression::None, false);
    /// Docker layer, gzip.
    DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip", Family::Docker, layer(Compression::Gzip, false);
    /// Docker foreign layer, gzip.
    DOCKER_FOREIGN_LAYER_GZIP = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Family::Docker, layer(Compression::Gzip, true);
    /// Docker manifest, schema 1, signed.
    DOCKER_MANIFEST_V1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws", Family::Docker, Role::LegacyManifest;
    /// Docker manifest, schema 1.
    DOCKER_MANIFEST_V1 = "application/vnd.docker.distribution.manifest.v1+json", Family::Docker, Role::LegacyManifest;
}

impl MediaType {
    /// Any media type.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Cow::Owned(text.into()))
    }

    /// From the value of a `Content-Type` header: parameters cut off, surrounding space removed.
    pub fn from_content_type(header: &str) -> Self {
        Self::new(header.split(';').next().unwrap_or_default().trim())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it stands for.
    pub fn role(&self) -> Role {
        self.lookup().map_or(Role::Other, |(_, _, role)| *role)
    }

    /// Which family it belongs to; `None` for types of neither.
    pub fn family(&self) -> Option<Family> {
        self.lookup().map(|(_, family, _)| *family)
    }

    /// Whether content of this type is a JSON document that lists other content: an index or a manifest.
    pub fn is_document(&self) -> bool {
        matches!(self.role(), Role::Index | Role::Manifest | Role::LegacyManifest)
    }

    /// The same role in another family, where one exists without changing the content: `None` for zstd layers in
    /// Docker's family and for types of neither family.
    pub fn in_family(&self, family: Family) -> Option<Self> {
        let (_, own, role) = self.lookup()?;
        if *own == family {
            return Some(self.clone());
        }
        KNOWN
            .iter()
            .find(|(_, f, r)| *f == family && r == role && *role != Role::Other)
            .map(|(text, ..)| Self(Cow::Borrowed(*text)))
    }

    /// The layer media type of a family for a compression; `None` for zstd in Docker's family, which cannot carry it.
    pub fn layer(family: Family, compression: Compression) -> Option<Self> {
        let role = layer(compression, false);
        KNOWN.iter().find(|(_, f, r)| *f == family && *r == role).map(|(text, ..)| Self(Cow::Borrowed(*text)))
    }

    fn lookup(&self) -> Option<&'static (&'static str, Family, Role)> {
        KNOWN.iter().find(|(text, ..)| *text == self.0)
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for MediaType {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Oci => "OCI",
            Self::Docker => "Docker",
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_translate_both_ways_where_nothing_is_lost() {
        let pairs = [
            (MediaType::OCI_MANIFEST, MediaType::DOCKER_MANIFEST),
            (MediaType::OCI_INDEX, MediaType::DOCKER_INDEX),
            (MediaType::OCI_CONFIG, MediaType::DOCKER_CONFIG),
            (MediaType::OCI_LAYER, MediaType::DOCKER_LAYER),
            (MediaType::OCI_LAYER_GZIP, MediaType::DOCKER_LAYER_GZIP),
            (MediaType::OCI_FOREIGN_LAYER_GZIP, MediaType::DOCKER_FOREIGN_LAYER_GZIP),
        ];
        for (oci, docker) in pairs {
            assert_eq!(oci.in_family(Family::Docker), Some(docker.clone()));
            assert_eq!(docker.in_family(Family::Oci), Some(oci.clone()));
            assert_eq!(oci.in_family(Family::Oci), Some(oci));
        }
        assert_eq!(MediaType::OCI_LAYER_ZSTD.in_family(Family::Docker), None);
        assert_eq!(MediaType::OCI_EMPTY.in_family(Family::Docker), None);
        assert_eq!(MediaType::new("application/x").in_family(Family::Oci), None);
    }

    #[test]
    fn content_type_parameters_are_cut() {
        let found = MediaType::from_content_type(" application/vnd.oci.image.index.v1+json ; charset=utf-8");
        assert_eq!(found, MediaType::OCI_INDEX);
    }
}
