//! Lists that come in pages: tags, repositories, referrers. RFC 5988 `Link` headers.

use std::collections::HashSet;

use futures_util::{Stream, TryStreamExt as _, stream};
use http::{Method, StatusCode};
use palan_core::validate_tag;

use crate::{
    Client, Error, Repo,
    call::{Call, Target},
    registry::Registry,
    repo::Access,
    response::Response,
    uri,
};

/// Some registries ignore the page size and answer everything at once.
const PAGE_BODY: u64 = 32 * 1024 * 1024;
/// Not worth reading where a few questions would do.
const SHORT_LIST: u64 = 1024 * 1024;

impl Repo {
    /// All tags, in the registry's order. What is listed and cannot be a tag is left out, with a
    /// [warning](crate::Client::warnings).
    pub async fn tags(&self) -> Result<Vec<String>, Error> {
        let mut tags: Vec<String> = self.tag_pages(None)?.try_concat().await?;
        let mut bad = None;
        tags.retain(|tag| {
            let good = validate_tag(tag).is_ok();
            if !good {
                bad.get_or_insert_with(|| tag.clone());
            }
            good
        });
        if let Some(tag) = bad {
            let text = format!("{} lists names that are not tags, which are left out: {tag:?}", self.name());
            self.transport().note_warning(text);
        }
        Ok(tags)
    }

    /// All tags, unchecked, where one answer of a moderate size has them; `None` where the list goes on.
    pub async fn few_tags(&self) -> Result<Option<Vec<String>>, Error> {
        let entries = self.transport().settings.page_size.max(1);
        let mut call = self.call(Method::GET, &format!("tags/list?n={entries}"), Access::Pull)?;
        call.body_limit = SHORT_LIST;
        let (tags, next) = page(self.client(), &call, "tags", &mut Pages::default()).await?;
        Ok(next.is_none().then_some(tags))
    }

    /// All names in the list of tags, page by page and unchecked, as the registry gives them. Registries may make pages smaller or larger than they are
    /// asked to.
    pub fn tag_pages(
        &self,
        page_size: Option<u32>,
    ) -> Result<impl Stream<Item = Result<Vec<String>, Error>> + Send + use<>, Error> {
        let entries = page_size.unwrap_or(self.transport().settings.page_size).max(1);
        let call = self.call(Method::GET, &format!("tags/list?n={entries}"), Access::Pull)?;
        Ok(self.client().pages(call, "tags"))
    }
}

impl Client {
    /// The strings under `key`, page by page.
    pub(crate) fn pages(
        &self,
        mut call: Call<'static>,
        key: &'static str,
    ) -> impl Stream<Item = Result<Vec<String>, Error>> + Send + use<> {
        call.body_limit = PAGE_BODY;
        let state = (self.clone(), Some(call), Pages::default());
        stream::try_unfold(state, move |(client, call, mut pages)| async move {
            let Some(mut call) = call else { return Ok(None) };
            let (page, next) = page(&client, &call, key, &mut pages).await?;
            let next = next.map(|target| {
                call.target = target;
                call
            });
            Ok(Some((page, (client, next, pages))))
        })
    }
}

/// A page, and where the next one is.
async fn page(
    client: &Client,
    call: &Call<'_>,
    key: &str,
    pages: &mut Pages,
) -> Result<(Vec<String>, Option<Target>), Error> {
    let answer = client.0.send(call).await?;
    let mut answer = answer.expect_data(&[StatusCode::OK]).await?;
    let shown = answer.shown_url();
    let body = answer.read(call.body_limit, || format!("the list at {shown}")).await?;
    let page = strings(&body, key).map_err(|reason| answer.malformed(reason))?;
    Ok((page, pages.next(&call.registry, &answer)?))
}

fn strings(body: &[u8], key: &str) -> Result<Vec<String>, String> {
    let json: serde_json::Value =
        serde_json::from_slice(body).map_err(|e| format!("the list is not valid JSON: {e}"))?;
    match json.get(key) {
        // Go servers write a list without entries so.
        None | Some(serde_json::Value::Null) if json.is_object() => Ok(Vec::new()),
        Some(list) => {
            serde_json::from_value(list.clone()).map_err(|_| format!("\"{key}\" is not a list of strings"))
        }
        None => Err("the list is not a JSON object".into()),
    }
}

/// More pages than any list has; against registries that always name one more.
const MAX_PAGES: usize = 100_000;

/// Finds the next page, and refuses to be led astray or in circles.
#[derive(Default)]
pub(crate) struct Pages(HashSet<String>);

impl Pages {
    pub(crate) fn next(&mut self, registry: &Registry, answer: &Response) -> Result<Option<Target>, Error> {
        let links = answer.headers().get_all(http::header::LINK);
        let Some(link) = links.iter().filter_map(|v| v.to_str().ok()).find_map(next_link) else {
            return Ok(None);
        };
        let refuse = |to: String, reason: &str| {
            Err(Error::Redirect { url: answer.shown_url(), to, reason: reason.into() })
        };
        let Some(next) = uri::resolve(answer.url(), link) else {
            return Err(answer.malformed("the link to the next page is not an http URL"));
        };
        if !registry.owns(&next) {
            return refuse(uri::redact(&next), "the next page must be on the same registry");
        }
        self.0.insert(answer.url().to_string());
        if self.0.len() > MAX_PAGES {
            return refuse(uri::redact(&next), "there are too many pages");
        }
        if self.0.contains(next.as_str()) {
            return refuse(uri::redact(&next), "this page was read already");
        }
        Ok(Some(Target::Url(next)))
    }
}

/// The target of `rel="next"` in a `Link` header.
fn next_link(value: &str) -> Option<&str> {
    let mut rest = value;
    loop {
        let start = rest.find('<')?;
        let end = start + rest[start..].find('>')?;
        let target = &rest[start + 1..end];
        let parameters = &rest[end + 1..];
        let stop = parameters.find('<').unwrap_or(parameters.len());
        if is_next(&parameters[..stop]) {
            return Some(target);
        }
        rest = &parameters[stop..];
    }
}

fn is_next(parameters: &str) -> bool {
    parameters.split([';', ',']).any(|parameter| {
        let Some((name, value)) = parameter.split_once('=') else { return false };
        let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
        name.trim().eq_ignore_ascii_case("rel") && relations.any(|r| r.eq_ignore_ascii_case("next"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_the_next_page() {
        for (value, expected) in [
            (r#"</v2/a/tags/list?n=1&last=b>; rel="next""#, Some("/v2/a/tags/list?n=1&last=b")),
            (r#"<x>;rel=next"#, Some("x")),
            (r#"<a>; rel="prev", <b>; title="t"; rel="last next""#, Some("b")),
            (r#"<a>; rel="prev""#, None),
            (r#"<a>"#, None),
            (r#"<a"#, None),
            (r#"a>; rel="next""#, None),
            (r#"><"#, None),
            ("", None),
        ] {
            assert_eq!(next_link(value), expected, "{value}");
        }
    }

    #[test]
    fn lists_are_read_in_every_form() {
        let list = |items: &[&str]| Ok(items.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        for (body, expected) in [
            (r#"{"name":"a","tags":["1","2"]}"#, list(&["1", "2"])),
            (r#"{"name":"a","tags":null}"#, list(&[])),
            (r#"{"name":"a"}"#, list(&[])),
            (r#"{"tags":[1]}"#, Err("\"tags\" is not a list of strings".to_owned())),
            (r#"[]"#, Err("the list is not a JSON object".to_owned())),
        ] {
            assert_eq!(strings(body.as_bytes(), "tags"), expected, "{body}");
        }
    }
}
