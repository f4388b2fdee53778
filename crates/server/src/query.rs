//! Query strings.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::problem::{Code, Problem};

/// The most that one page of a list holds, whatever the client asks for (CVE-2023-2253).
pub(crate) const MAX_PAGE: usize = 10_000;

/// The parameters of a request.
///
/// `+` stands for itself: no parameter of the protocol holds a space, and media types hold plus signs that clients
/// forget to escape.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a>(Option<&'a str>);

impl<'a> Query<'a> {
    pub(crate) fn new(text: Option<&'a str>) -> Self {
        Self(text)
    }

    /// All values of a parameter, in order.
    pub(crate) fn all(self, key: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
        self.0
            .unwrap_or_default()
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .filter(move |(name, _)| *name == key)
            .map(|(_, value)| percent_decode_str(value).decode_utf8_lossy())
    }

    /// The first value of a parameter.
    pub(crate) fn get(self, key: &'a str) -> Option<Cow<'a, str>> {
        self.all(key).next()
    }

    /// The page asked for with `n` and `last`.
    pub(crate) fn page(self) -> Result<Page, Problem> {
        let limit = match self.get("n") {
            None => MAX_PAGE,
            Some(n) if n.is_empty() || !n.bytes().all(|b| b.is_ascii_digit()) => {
                return Err(Problem::new(Code::Unsupported, format!("n is not a number: \"{n}\"")));
            }
            // More digits than fit are still a number.
            Some(n) => n.parse().unwrap_or(MAX_PAGE).min(MAX_PAGE),
        };
        Ok(Page { limit, last: self.get("last").map(Cow::into_owned) })
    }
}

/// A part of a sorted list: at most `limit` entries after `last`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) limit: usize,
    pub(crate) last: Option<String>,
}

impl Page {
    /// The entries of this page, and whether there are more. An empty page asked for is the last one.
    pub(crate) fn take<T>(&self, entries: impl Iterator<Item = T>) -> (Vec<T>, bool) {
        let mut entries = entries.fuse();
        let page: Vec<T> = entries.by_ref().take(self.limit).collect();
        let more = self.limit > 0 && entries.next().is_some();
        (page, more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_plus_stays() {
        let query = Query::new(Some("artifactType=application/x+json&tag=a&tag=b%2Fc&empty=&flag"));
        assert_eq!(query.get("artifactType").unwrap(), "application/x+json");
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b/c"]);
        assert_eq!(query.get("empty").unwrap(), "");
        assert_eq!(query.get("flag").unwrap(), "");
        assert_eq!(query.get("other"), None);
        assert_eq!(Query::new(None).get("other"), None);
    }

    #[test]
    fn pages_are_clamped() {
        let limit = |text| Query::new(Some(text)).page().map(|p| p.limit).map_err(|p| p.code);
        assert_eq!(limit("n=3"), Ok(3));
        assert_eq!(limit("n=0"), Ok(0));
        assert_eq!(limit("last=x"), Ok(MAX_PAGE));
        assert_eq!(limit("n=2147483647"), Ok(MAX_PAGE));
        assert_eq!(limit("n=99999999999999999999999999"), Ok(MAX_PAGE));
        for bad in ["n=-1", "n=x", "n=", "n=1.5"] {
            assert_eq!(limit(bad), Err(Code::Unsupported), "{bad}");
        }
    }

    #[test]
    fn a_page_knows_whether_more_follows() {
        let page = |limit| Page { limit, last: None }.take([1, 2, 3].into_iter());
        assert_eq!(page(2), (vec![1, 2], true));
        assert_eq!(page(3), (vec![1, 2, 3], false));
        assert_eq!(page(0), (vec![], false));
    }
}
