//! Paths of entries.

use std::borrow::Cow;

/// The one spelling of an archive's path: no slash at either end, no empty part, no `.`. `None` if a part is `..`: no
/// archive needs that, and readers disagree about what it means.
///
/// ```
/// use palan_layer::tree::normalize;
/// assert_eq!(normalize(b"./etc//passwd/").as_deref(), Some(b"etc/passwd".as_slice()));
/// assert_eq!(normalize(b"./").as_deref(), Some(b"".as_slice()));
/// assert_eq!(normalize(b"a/../b"), None);
/// ```
pub fn normalize(path: &[u8]) -> Option<Cow<'_, [u8]>> {
    let parts = || path.split(|b| *b == b'/');
    if parts().any(|part| part == b"..") {
        return None;
    }
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let clean = |part: &[u8]| !part.is_empty() && part != b".";
    if path.split(|b| *b == b'/').all(clean) {
        return Some(Cow::Borrowed(path));
    }
    let parts: Vec<&[u8]> = parts().filter(|part| clean(part)).collect();
    Some(Cow::Owned(parts.join(&b'/')))
}
