//! In which order versions come: `deb-version(7)`; apk-tools' `version.c`.

use std::cmp::Ordering;

/// Compares versions of Debian's packages: epoch, upstream version, revision.
pub(super) fn deb(a: &str, b: &str) -> Ordering {
    let epoch = |version: &'_ str| match version.split_once(':') {
        Some((epoch, _)) => epoch.trim().parse::<u64>().unwrap_or(u64::MAX),
        None => 0,
    };
    let parts = |version: &'_ str| {
        let version = version.split_once(':').map_or(version, |(_, rest)| rest);
        let (upstream, revision) = version.rsplit_once('-').unwrap_or((version, ""));
        (upstream.as_bytes().to_vec(), revision.as_bytes().to_vec())
    };
    let ((upstream, revision), (other, other_revision)) = (parts(a), parts(b));
    epoch(a)
        .cmp(&epoch(b))
        .then_with(|| deb_part(&upstream, &other))
        .then_with(|| deb_part(&revision, &other_revision))
}

/// Compares text and numbers by turns; `~` comes before the end, letters before everything else.
fn deb_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None | Some(b'0'..=b'9') => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    while !a.is_empty() || !b.is_empty() {
        while a.first().is_some_and(|byte| !byte.is_ascii_digit())
            || b.first().is_some_and(|byte| !byte.is_ascii_digit())
        {
            match weight(a.first()).cmp(&weight(b.first())) {
                Ordering::Equal => {}
                order => return order,
            }
            a = a.get(1..).unwrap_or_default();
            b = b.get(1..).unwrap_or_default();
        }
        match number(&mut a).cmp_number(number(&mut b)) {
            Ordering::Equal => {}
            order => return order,
        }
    }
    Ordering::Equal
}

/// Takes the digits at the start.
fn number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    digits
}

trait Digits {
    fn cmp_number(self, other: Self) -> Ordering;
}

impl Digits for &[u8] {
    /// Numbers of any length.
    fn cmp_number(self, other: Self) -> Ordering {
        let trim = |digits: Self| -> Self {
            let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
            &digits[zeros..]
        };
        let (a, b) = (trim(self), trim(other));
        a.len().cmp(&b.len()).then_with(|| a.cmp(b))
    }
}

/// Compares versions of Alpine's packages: numbers, letter, suffixes, revision.
pub(super) fn apk(a: &str, b: &str) -> Ordering {
    let (a, b) = (Apk::of(a), Apk::of(b));
    a.numbers(&b)
        .then_with(|| a.letter.cmp(&b.letter))
        .then_with(|| a.suffixes(&b))
        .then_with(|| a.revision.cmp_number(b.revision))
}

/// A version, in parts: `1.2.3b_rc4_p5~hash-r6`.
struct Apk<'a> {
    numbers: Vec<&'a [u8]>,
    letter: Option<u8>,
    /// Rank (negative: before the release itself) and number.
    suffixes: Vec<(i8, &'a [u8])>,
    revision: &'a [u8],
}

impl<'a> Apk<'a> {
    fn of(version: &'a str) -> Self {
        let (version, revision) = version.rsplit_once("-r").unwrap_or((version, ""));
        let version = version.split('~').next().unwrap_or_default();
        let mut parts = version.split('_');
        let first = parts.next().unwrap_or_default().as_bytes();
        let letter = first.last().copied().filter(u8::is_ascii_alphabetic);
        let numbers = first.strip_suffix(letter.as_slice()).unwrap_or(first);
        let suffix = |part: &'a str| {
            let at = part.find(|c: char| c.is_ascii_digit()).unwrap_or(part.len());
            let (name, number) = part.split_at(at);
            (rank(name), number.as_bytes())
        };
        Self {
            numbers: numbers.split(|byte| *byte == b'.').collect(),
            letter,
            suffixes: parts.map(suffix).collect(),
            revision: revision.as_bytes(),
        }
    }

    fn numbers(&self, other: &Self) -> Ordering {
        for (place, (a, b)) in self.numbers.iter().zip(&other.numbers).enumerate() {
            // After the first, what starts with a zero is a fraction.
            let fraction = place > 0 && (a.first() == Some(&b'0') || b.first() == Some(&b'0'));
            match if fraction { a.cmp(b) } else { a.cmp_number(b) } {
                Ordering::Equal => {}
                order => return order,
            }
        }
        self.numbers.len().cmp(&other.numbers.len())
    }

    fn suffixes(&self, other: &Self) -> Ordering {
        let length = self.suffixes.len().max(other.suffixes.len());
        let at = |suffixes: &[(i8, &'a [u8])], place: usize| suffixes.get(place).copied().unwrap_or((0, b""));
        for place in 0..length {
            let ((rank, number), (other_rank, other_number)) =
                (at(&self.suffixes, place), at(&other.suffixes, place));
            match rank.cmp(&other_rank).then_with(|| number.cmp_number(other_number)) {
                Ordering::Equal => {}
                order => return order,
            }
        }
        Ordering::Equal
    }
}

fn rank(suffix: &str) -> i8 {
    match suffix {
        "alpha" => -4,
        "beta" => -3,
        "pre" => -2,
        "rc" => -1,
        "cvs" => 1,
        "svn" => 2,
        "git" => 3,
        "hg" => 4,
        "p" => 5,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ascending(compare: fn(&str, &str) -> Ordering, versions: &[&str]) {
        for (i, a) in versions.iter().enumerate() {
            for (j, b) in versions.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn debian_versions_are_in_order() {
        ascending(
            deb,
            &[
                "1.0~~",
                "1.0~~a",
                "1.0~",
                "1.0~rc1-1",
                "1.0",
                "1.0-0.1",
                "1.0-1",
                "1.0-1+deb12u1",
                "1.0-1+deb12u2",
                "1.0-1+deb12u10",
                "1.0-10",
                "1.0a",
                "1.0+dfsg-1",
                "1.0.1",
                "1.2",
                "1.10",
                "1:0.1",
                "2:0",
            ],
        );
        ascending(deb, &["3.0.9-1", "3.0.11-1~deb12u1", "3.0.11-1~deb12u2", "3.0.11-1"]);
        ascending(deb, &["2.36-9+deb12u3", "2.36-9+deb12u4", "2.41-12"]);
        for (a, b) in [("1.0", "1.00"), ("0:1", "1"), ("1.0-0", "1.0"), ("1.0", "1.0-"), ("1.01", "1.1")] {
            assert_eq!(deb(a, b), Ordering::Equal, "{a} {b}");
        }
    }

    #[test]
    fn alpine_versions_are_in_order() {
        ascending(
            apk,
            &[
                "1.2_alpha",
                "1.2_alpha2",
                "1.2_beta",
                "1.2_pre1",
                "1.2_rc1",
                "1.2_rc1-r1",
                "1.2",
                "1.2-r1",
                "1.2-r10",
                "1.2_git20200101",
                "1.2_p1",
                "1.2a",
                "1.2b-r0",
                "1.2.1",
                "1.10",
                "2",
            ],
        );
        ascending(apk, &["1.2.4-r2", "1.2.5-r0", "1.2.5-r9", "1.2.5-r10"]);
        assert_eq!(apk("1.2~abc", "1.2"), Ordering::Equal);
    }
}
