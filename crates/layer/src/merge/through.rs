//! Paths that lead through symbolic links of their own layer.
//!
//! Whoever unpacks a layer makes its entries one after another: a link that was made is followed by what comes later, inside the
//! layer's own directory or the container's root. Links of lower layers are not: overlay file systems put a directory in
//! their place.

use std::collections::{BTreeMap, VecDeque};

use super::key::{Key, remove_inside};

/// As many as Linux follows on the way to one file.
const MOST: usize = 40;

/// The symbolic links that a layer has made so far.
#[derive(Debug, Default)]
pub(crate) struct Through {
    targets: BTreeMap<Key, Box<[u8]>>,
}

/// What an entry puts somewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Put<'a> {
    Dir,
    /// With its target as it stands.
    Symlink(&'a [u8]),
    /// Another name of what is at this path.
    Name(&'a Key),
    Other,
}

/// A path that leads through more links than any system follows.
#[derive(Debug)]
pub(crate) struct Circle;

impl Through {
    /// Where the file of this path is: every part but the last is followed. What has a `..` stays as it is: readers disagree about
    /// what it means.
    pub(crate) fn follow(&self, key: Key) -> Result<Key, Circle> {
        if self.targets.is_empty()
            || key.leads_upwards()
            || !key.parents().any(|p| self.targets.contains_key(&p))
        {
            return Ok(key);
        }
        let mut left: VecDeque<Vec<u8>> = key.parts().map(<[u8]>::to_vec).collect();
        let mut path: Vec<Vec<u8>> = Vec::new();
        let mut followed = 0;
        while let Some(part) = left.pop_front() {
            if part == b".." {
                // The root is its own parent.
                path.pop();
                continue;
            }
            path.push(part);
            let here = Key::of(&path.join(&b'/'));
            let Some(target) = self.targets.get(&here).filter(|_| !left.is_empty()) else { continue };
            followed += 1;
            if followed > MOST {
                return Err(Circle);
            }
            path.pop();
            if target.starts_with(b"/") {
                path.clear();
            }
            let parts = target.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".");
            parts.rev().for_each(|part| left.push_front(part.to_vec()));
        }
        Ok(Key::of(&path.join(&b'/')))
    }

    /// Notes what an entry puts at a path that was followed.
    pub(crate) fn put(&mut self, key: &Key, what: Put<'_>) {
        let target = match what {
            Put::Symlink(target) => Some(target.into()),
            Put::Name(of) => self.targets.get(of).cloned(),
            Put::Dir | Put::Other => None,
        };
        if target.is_none() && self.targets.is_empty() {
            return;
        }
        self.targets.remove(key);
        // What was inside a directory is gone with it.
        if !matches!(what, Put::Dir) {
            remove_inside(&mut self.targets, key);
        }
        self.targets.extend(target.map(|target| (key.clone(), target)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_a_layer_are_followed() {
        let mut through = Through::default();
        for (path, target) in [
            ("lib", "usr/lib"),
            ("usr/lib/x", "../share/x"),
            ("abs", "/usr"),
            ("up", "../../../etc"),
            ("self", "self"),
            ("ping", "pong"),
            ("pong", "ping"),
            ("deep/a", "b"),
            ("deep/b", "../lib"),
            ("here", "."),
            ("gone/l", "usr"),
            ("was", "usr"),
        ] {
            through.put(&Key::of(path.as_bytes()), Put::Symlink(target.as_bytes()));
        }
        through.put(&Key::of(b"gone"), Put::Other);
        through.put(&Key::of(b"was"), Put::Dir);
        through.put(&Key::of(b"name"), Put::Name(&Key::of(b"lib")));
        for (path, file) in [
            ("lib", "lib"),
            ("lib/libm", "usr/lib/libm"),
            ("lib/x/y", "usr/share/x/y"),
            ("lib/x", "usr/lib/x"),
            ("abs/lib/x/z", "usr/share/x/z"),
            ("up/passwd", "etc/passwd"),
            ("deep/a/libm", "usr/lib/libm"),
            ("here/here/f", "f"),
            ("gone/l/f", "gone/l/f"),
            ("was/f", "was/f"),
            ("name/f", "usr/lib/f"),
            ("lib/../f", "lib/../f"),
            ("libm/f", "libm/f"),
            ("", ""),
        ] {
            let found = through.follow(Key::of(path.as_bytes())).unwrap();
            assert_eq!(String::from_utf8(found.path()).unwrap(), file, "{path}");
        }
        for path in ["self/f", "ping/f"] {
            assert!(through.follow(Key::of(path.as_bytes())).is_err(), "{path}");
        }
        assert!(through.follow(Key::of(b"self")).is_ok());
    }
}
