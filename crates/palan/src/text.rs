//! Numbers, counts and foreign text for people.

/// `1 layer`, `2 layers`; `1 entry`, `2 entries`.
pub fn count(n: usize, noun: &str) -> String {
    match (n, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (n, Some(stem)) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{n} {stem}ies"),
        (n, _) => format!("{n} {noun}s"),
    }
}

/// Bytes with three significant digits and a binary unit: `999 B`, `1.50 KiB`, `24.0 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// At most `max` characters, the rest replaced by `…`; control characters and line breaks become spaces, so that
/// content of an image cannot move the cursor.
pub fn one_line(text: &str, max: usize) -> String {
    let clean: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let clean = clean.join(" ");
    if clean.chars().count() <= max {
        return clean;
    }
    let mut short: String = clean.chars().take(max.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_their_plural() {
        let cases = [(0, "layer", "0 layers"), (1, "layer", "1 layer"), (2, "layer", "2 layers")];
        for (n, noun, text) in cases {
            assert_eq!(count(n, noun), text);
        }
        assert_eq!(count(2, "entry"), "2 entries");
        assert_eq!(count(1, "entry"), "1 entry");
        assert_eq!(count(2, "key"), "2 keys");
    }

    #[test]
    fn sizes_have_three_digits() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536, "1.50 KiB"),
            (10 * 1024, "10.0 KiB"),
            (1023 * 1024, "1.00 MiB"),
            (25_165_824, "24.0 MiB"),
            (500 * 1024 * 1024, "500 MiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn foreign_text_stays_on_one_line() {
        assert_eq!(one_line("a\n\tb\u{1b}[31mc", 80), "a b [31mc");
        assert_eq!(one_line("abcdef", 4), "abc…");
        assert_eq!(one_line("abcd", 4), "abcd");
    }
}
