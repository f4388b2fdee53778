//! `--limit`: bounds on what a layer may make of this machine.

use palan_layer::Limits;

use crate::args::size;

/// One bound, as typed: `entries=1000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    bound: Bound,
    value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Entries,
    Path,
    Metadata,
    Size,
    Ratio,
}

/// The defaults, with what was typed in their place.
pub(crate) fn limits(typed: &[Limit]) -> Limits {
    let bytes = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let mut limits = Limits::default();
    for Limit { bound, value } in typed {
        match bound {
            Bound::Entries => limits.entries = *value,
            Bound::Path => limits.path = bytes(*value),
            Bound::Metadata => limits.metadata = bytes(*value),
            Bound::Size => limits.raw_size = *value,
            Bound::Ratio => limits.ratio = *value,
        }
    }
    limits
}

impl std::str::FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("NAME=VALUE is expected, like size=10G")?;
        let number =
            || value.parse().ok().filter(|n| *n > 0).ok_or("a number above zero is expected".to_owned());
        let (bound, value) = match name {
            "entries" => (Bound::Entries, number()?),
            "path" => (Bound::Path, size(value)?),
            "metadata" => (Bound::Metadata, size(value)?),
            "size" => (Bound::Size, size(value)?),
            "ratio" => (Bound::Ratio, number()?),
            _ => return Err("the bounds are entries, path, metadata, size and ratio".into()),
        };
        Ok(Self { bound, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_have_names_and_values() {
        let all = ["entries=7", "path=2K", "metadata=1M", "size=10G", "ratio=50"];
        let typed: Vec<Limit> = all.map(|text| text.parse().unwrap()).to_vec();
        let Limits { entries, path, metadata, raw_size, ratio, .. } = limits(&typed);
        assert_eq!((entries, path, metadata, raw_size, ratio), (7, 2048, 1 << 20, 10 << 30, 50));
        assert_eq!(limits(&[]), Limits::default());
        for text in ["", "entries", "entries=", "entries=0", "entries=1K", "size=-1", "ratio=x", "files=3"] {
            assert!(text.parse::<Limit>().is_err(), "{text}");
        }
    }
}
