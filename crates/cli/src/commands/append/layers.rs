//! What is typed after `--new-layer`, and how directories are packed.

use std::{path::Path, str::FromStr};

use palan::append::{LayerContent, LayerSource};

use crate::{
    exit::{Failure, Result},
    session::Session,
};

/// How files of this machine become a layer.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Packing directories and files")]
pub(super) struct Packing {
    /// The directory of the image that packed directories go to; default: its root
    #[arg(long, visible_alias = "path-in-image", value_name = "PATH")]
    prefix: Option<String>,

    /// Who owns what is packed: UID:GID, or keep
    #[arg(long, value_name = "OWNER", default_value = "0:0")]
    owner: Owner,

    /// The time of what is packed: seconds since 1970, 2026-01-31T00:00:00Z, or keep; default: SOURCE_DATE_EPOCH, else 1970
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    mtime: Option<Mtime>,

    /// Permissions of what is packed: as they are, or 0755 for directories and programs and 0644 for other files
    #[arg(long, value_enum, value_name = "MODE", default_value_t)]
    mode: Mode,
}

#[derive(Clone, Copy, Debug)]
enum Owner {
    Keep,
    Fixed(u64, u64),
}

impl Default for Owner {
    fn default() -> Self {
        Self::Fixed(0, 0)
    }
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let ids = |text: &str| {
            let (uid, gid) = text.split_once(':')?;
            Some(Self::Fixed(uid.parse().ok()?, gid.parse().ok()?))
        };
        match text {
            "keep" => Ok(Self::Keep),
            text => ids(text).ok_or_else(|| "two numbers are expected, like 1000:1000, or keep".to_owned()),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Mtime {
    Keep,
    Fixed(i64),
}

impl FromStr for Mtime {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "keep" {
            return Ok(Self::Keep);
        }
        let seconds = text.parse().or_else(|_| text.parse().map(jiff::Timestamp::as_second));
        let wrong = "seconds since 1970 are expected, a time like 2026-01-31T00:00:00Z, or keep";
        seconds.map(Self::Fixed).map_err(|_: jiff::Error| wrong.to_owned())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    #[default]
    Keep,
    Normal,
}

/// The layers; what is not there is noticed before anything is read or moved.
pub(super) fn sources(words: &[String], packing: &Packing, session: &Session) -> Result<Vec<LayerSource>> {
    if words.iter().filter(|word| *word == "-").count() > 1 {
        return Err(Failure::usage("stdin can be one layer only"));
    }
    words.iter().map(|word| source(word, packing, session)).collect()
}

fn source(word: &str, packing: &Packing, session: &Session) -> Result<LayerSource> {
    let content = match Path::new(word).metadata() {
        _ if word == "-" => LayerContent::Stream(Box::new(std::io::stdin())),
        Ok(found) if found.is_dir() => {
            packing.tree(word, packing.prefix.as_deref().unwrap_or("/"), session)?
        }
        Ok(_) => LayerContent::File(word.into()),
        Err(error) => match word.rsplit_once(':') {
            Some((path, _)) if !Path::new(path).exists() => {
                return Err(Failure::file("read", Path::new(path), error));
            }
            Some((path, place)) => packing.tree(path, place, session)?,
            None => return Err(Failure::file("read", Path::new(word), error)),
        },
    };
    Ok(LayerSource { name: word.to_owned(), content })
}

impl Packing {
    #[cfg(unix)]
    fn tree(&self, path: &str, place: &str, session: &Session) -> Result<LayerContent> {
        use palan_layer::tar;
        let mut prefix = inside(place)?;
        let path = Path::new(path);
        if !path.is_dir() {
            // As of a copy: into the directory, or under the name.
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            prefix = match prefix.as_str() {
                "" => name.into_owned(),
                folder if place.ends_with('/') => format!("{folder}/{name}"),
                _ => prefix,
            };
        }
        let mtime = match self.mtime {
            Some(Mtime::Keep) => tar::Mtime::Keep,
            Some(Mtime::Fixed(seconds)) => tar::Mtime::Fixed(seconds),
            None => {
                let epoch = session.env.source_date_epoch()?;
                tar::Mtime::Fixed(epoch.map_or(0, jiff::Timestamp::as_second))
            }
        };
        let owner = match self.owner {
            Owner::Keep => tar::Owner::Keep,
            Owner::Fixed(uid, gid) => tar::Owner::Fixed(uid, gid),
        };
        let mode = match self.mode {
            Mode::Keep => tar::Mode::Keep,
            Mode::Normal => tar::Mode::Normal,
        };
        let options = tar::DirOptions { owner, mtime, mode, prefix: prefix.into_bytes() };
        Ok(LayerContent::Tree { path: path.to_owned(), options })
    }

    #[cfg(not(unix))]
    fn tree(&self, path: &str, _: &str, _: &Session) -> Result<LayerContent> {
        Err(Failure::unsupported(format!("packing {path} on this system"))
            .with_hint("give the layer as a tar file"))
    }
}

/// A path of the image, from its root, without slashes at its ends.
fn inside(path: &str) -> Result<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    match parts.contains(&"..") {
        true => Err(Failure::usage(format!("{path} leads out of the image"))),
        false => Ok(parts.join("/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_image() {
        for (text, path) in
            [("/", ""), ("", ""), ("./", ""), ("/app", "app"), ("app//x/", "app/x"), ("a/./b", "a/b")]
        {
            assert_eq!(inside(text).unwrap(), path, "{text}");
        }
        for text in ["..", "/../etc", "a/../../b"] {
            assert!(inside(text).is_err(), "{text}");
        }
    }

    #[test]
    fn owners_and_times_are_read() {
        assert!(matches!("7:8".parse(), Ok(Owner::Fixed(7, 8))));
        assert!(matches!("keep".parse(), Ok(Owner::Keep)));
        for text in ["", "7", "7:", ":8", "root:root", "-1:0"] {
            assert!(text.parse::<Owner>().is_err(), "{text}");
        }
        assert!(matches!("-5".parse(), Ok(Mtime::Fixed(-5))));
        assert!(matches!("1970-01-01T00:01:00Z".parse(), Ok(Mtime::Fixed(60))));
        assert!(matches!("keep".parse(), Ok(Mtime::Keep)));
        for text in ["", "now", "2026", "5s"] {
            assert_eq!(text.parse::<Mtime>().is_err(), text != "2026", "{text}");
        }
    }
}
