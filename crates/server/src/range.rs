//! Byte ranges: `Range` of RFC 9110 §14.2 for pulls, `Content-Range` of the distribution-spec for pushed chunks.

/// What a `Range` header selects of content of a known length.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Selected {
    /// Everything: no range, or one that need not be honoured (other units, several ranges).
    All,
    /// From the first offset up to, not including, the second.
    Part(u64, u64),
    /// Nothing that exists: 416.
    Nothing,
}

/// Evaluates a `Range` header.
///
/// RFC 9110 lets a server ignore `500-0`; refusing it tells the client that its arithmetic is wrong, as the
/// distribution conformance suite wants.
pub(crate) fn select(header: Option<&str>, size: u64) -> Selected {
    let Some(spec) = header.and_then(|h| h.trim().strip_prefix("bytes=")) else {
        return Selected::All;
    };
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Selected::All;
    };
    let (from, to) = match (number(first), number(last)) {
        (Some(from), Some(to)) => (from, to),
        (Some(from), None) if last.is_empty() => (from, u64::MAX),
        (None, Some(0)) if first.is_empty() => return Selected::Nothing,
        // An empty blob has no part that a 206 could describe.
        (None, Some(_)) if first.is_empty() && size == 0 => return Selected::All,
        (None, Some(suffix)) if first.is_empty() => (size.saturating_sub(suffix), u64::MAX),
        _ => return Selected::All,
    };
    if from >= size || to < from {
        return Selected::Nothing;
    }
    Selected::Part(from, to.saturating_add(1).min(size))
}

/// Digits only; more than fit saturate.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// A chunk's `Content-Range`: `<first>-<last>`, both included, without unit. `None` when malformed.
pub(crate) fn chunk(header: &str) -> Option<(u64, u64)> {
    let (first, last) = header.trim().split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    (first <= last && last < u64::MAX).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_rfc_9110() {
        use Selected::{All, Nothing, Part};
        let cases = [
            ("bytes=0-0", 10, Part(0, 1)),
            ("bytes=2-4", 10, Part(2, 5)),
            ("bytes=2-", 10, Part(2, 10)),
            ("bytes=-3", 10, Part(7, 10)),
            ("bytes=-30", 10, Part(0, 10)),
            ("bytes=2-50", 10, Part(2, 10)),
            ("bytes=0-99999999999999999999999", 10, Part(0, 10)),
            ("bytes=10-", 10, Nothing),
            ("bytes=99999999999999999999999-", 10, Nothing),
            ("bytes=5-0", 10, Nothing),
            ("bytes=-0", 10, Nothing),
            ("bytes=0-", 0, Nothing),
            ("bytes=-5", 0, All),
            ("bytes=0-1,4-5", 10, All),
            ("bytes=a-b", 10, All),
            ("bytes=1-b", 10, All),
            ("bytes=-", 10, All),
            ("bytes=", 10, All),
            ("lines=1-2", 10, All),
        ];
        for (header, size, expected) in cases {
            assert_eq!(select(Some(header), size), expected, "{header} of {size}");
        }
        assert_eq!(select(None, 10), All);
    }

    #[test]
    fn chunk_ranges_have_no_unit() {
        assert_eq!(chunk("0-9"), Some((0, 9)));
        for bad in ["bytes 0-9", "9-0", "0", "-9", "0-", "0-9/10", "+1-2", "0-18446744073709551615", ""] {
            assert_eq!(chunk(bad), None, "{bad}");
        }
    }
}
