//! Paths and patterns, as words of a shell mean them.

/// A path as seen from a directory, without `.` and `..`.
pub(super) fn join(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let base = if path.starts_with('/') { "" } else { directory };
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Whether a pattern (`*`, `?`, `[…]` taken for any one character) matches a path or something that it is below.
pub(super) fn matches_path(pattern: &str, path: &str) -> bool {
    let (pattern, mut path) = (pattern.split('/'), path.split('/'));
    for part in pattern {
        match path.next() {
            Some(found) if matches_name(part.as_bytes(), found.as_bytes()) => {}
            _ => return false,
        }
    }
    true
}

fn matches_name(pattern: &[u8], name: &[u8]) -> bool {
    // The last star, and how much of the name it has taken.
    let (mut p, mut n, mut star) = (0, 0, None);
    loop {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(b'[') if n < name.len() => {
                p = pattern[p..].iter().position(|b| *b == b']').map_or(pattern.len(), |end| p + end + 1);
                n += 1;
            }
            Some(c) if n < name.len() && (*c == b'?' || *c == name[n]) => {
                p += 1;
                n += 1;
            }
            None if n == name.len() => return true,
            _ => match star {
                Some((at, taken)) if taken < name.len() => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_and_what_is_below() {
        let cases = [
            ("usr/share/doc/*", "usr/share/doc/x", true),
            ("usr/share/doc/*", "usr/share/doc/x/y", true),
            ("usr/share/doc/*", "usr/share/doc", false),
            ("usr/*/doc", "usr/share/doc", true),
            ("a/*.so*", "a/lib.so.1", true),
            ("a/*.so", "a/lib.so.1", false),
            ("a/l?b[0-9]", "a/lib7", true),
            ("a/b", "a/c", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(matches_path(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn paths_are_joined_as_a_shell_would() {
        assert_eq!(join("/srv", "a/../b"), "/srv/b");
        assert_eq!(join("/srv", "/x/./y"), "/x/y");
        assert_eq!(join("/", "../.."), "/");
    }
}
