//! Where a registry may lead us: redirects, the locations of uploads, token services.
//!
//! Refused: plain http, unless the registry itself is spoken to so; link-local, unspecified, multicast and metadata
//! addresses; this machine, unless the registry is on it; private networks, when the registry is on the Internet.
//! Names count as the addresses to which they resolve.

use std::net::IpAddr;

use http::{Method, header};
use url::{Host, Url};

use crate::{
    Error,
    registry::Registry,
    response::Response,
    uri::{self, Reach},
};

/// Where an answer redirects, if it does and if that can be followed.
pub(crate) fn redirect(method: &Method, answer: &Response) -> Result<Option<Url>, Error> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match answer.status().as_u16() {
        307 | 308 => {}
        // For other methods these would turn the request into another one.
        301..=303 if reads => {}
        _ => return Ok(None),
    }
    let Some(location) = answer.header(header::LOCATION) else { return Ok(None) };
    match uri::resolve(answer.url(), location) {
        Some(url) => Ok(Some(url)),
        None => Err(answer.malformed("redirects to something that is not an http URL")),
    }
}

/// Refuses to be sent where a registry has no business to send us.
pub(crate) async fn check(registry: &Registry, from: Option<&Url>, to: &Url) -> Result<(), Error> {
    registry.check_third_party(from, to)?;
    let Some(host) = to.host().map(|h| h.to_owned()).filter(|host| *host != registry.host) else {
        return Ok(());
    };
    let wanted = reaches(&host).await;
    if !wanted.iter().any(|r| *r != Reach::Global) {
        return Ok(());
    }
    let home = reaches(&registry.host).await;
    match wanted.iter().find_map(|reach| refusal(*reach, &home)) {
        Some(reason) => Err(registry.refusal(from, to, reason)),
        None => Ok(()),
    }
}

/// Why a registry with addresses like `home` may not send us to such an address. Where a proxy resolves names, `home`
/// is not known.
fn refusal(to: Reach, home: &[Reach]) -> Option<&'static str> {
    let is_near = |near: &[Reach]| home.iter().any(|h| near.contains(h) || matches!(h, Reach::Never(_)));
    match to {
        Reach::Global => None,
        Reach::Never(what) => (!is_near(&[])).then_some(what),
        Reach::Loopback => {
            (!is_near(&[Reach::Loopback])).then_some("an address of this machine, where the registry is not")
        }
        Reach::Private => (!home.is_empty() && !is_near(&[Reach::Loopback, Reach::Private]))
            .then_some("an address of a private network, where the registry is not"),
    }
}

/// What the addresses of a host are; nothing, when it cannot be resolved here.
async fn reaches(host: &Host<String>) -> Vec<Reach> {
    let mut all: Vec<Reach> = match host {
        _ if uri::is_loopback(host) => vec![Reach::Loopback],
        Host::Ipv4(ip) => vec![uri::reach(IpAddr::V4(*ip))],
        Host::Ipv6(ip) => vec![uri::reach(IpAddr::V6(*ip))],
        Host::Domain(name) => match tokio::net::lookup_host((name.as_str(), 0)).await {
            Ok(addresses) => addresses.map(|a| uri::reach(a.ip())).collect(),
            Err(_) => Vec::new(),
        },
    };
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Scheme, Trust};

    #[test]
    fn what_a_registry_names_is_as_near_as_itself() {
        use Reach::{Global, Loopback, Never, Private};
        for (to, home, allowed) in [
            (Global, vec![Global], true),
            (Private, vec![Global], false),
            (Private, vec![Private], true),
            (Private, vec![Loopback], true),
            (Private, vec![Global, Private], true),
            (Private, vec![], true),
            (Loopback, vec![Global], false),
            (Loopback, vec![Private], false),
            (Loopback, vec![Loopback], true),
            (Loopback, vec![], false),
            (Never("x"), vec![Loopback], false),
            (Never("x"), vec![Never("y")], true),
            // A registry that is spoken to as 0.0.0.0.
            (Loopback, vec![Never("y")], true),
        ] {
            assert_eq!(refusal(to, &home).is_none(), allowed, "{to:?} from {home:?}");
        }
    }

    #[tokio::test]
    async fn redirects_and_locations_do_not_lead_to_this_machine() {
        for (registry, to, reason) in [
            ("8.8.8.8", "https://1.1.1.1/x", None),
            ("8.8.8.8", "https://8.8.8.8:8443/x", None),
            ("8.8.8.8", "https://127.0.0.1:9200/x", Some("an address of this machine")),
            ("8.8.8.8", "https://localhost/x", Some("an address of this machine")),
            ("8.8.8.8", "https://[::1]/x", Some("an address of this machine")),
            ("8.8.8.8", "https://10.0.0.1/x", Some("a private network")),
            ("8.8.8.8", "https://169.254.169.254/x", Some("a link-local address")),
            ("10.0.0.1:5000", "https://192.168.7.7/x", None),
            ("10.0.0.1:5000", "https://localhost/x", Some("an address of this machine")),
            ("localhost:5000", "https://127.0.0.1:5001/x", None),
            ("localhost:5000", "https://10.0.0.1/x", None),
        ] {
            let home = Registry::new(registry, Trust::default(), http::HeaderMap::new(), 1).unwrap();
            home.settle(Scheme::Https);
            let from = format!("https://{registry}/v2/").parse().unwrap();
            let outcome = check(&home, Some(&from), &to.parse().unwrap()).await;
            let text = outcome.err().map(|e| e.to_string());
            assert_eq!(text.is_some(), reason.is_some(), "{registry} to {to}: {text:?}");
            assert!(text.unwrap_or_default().contains(reason.unwrap_or_default()), "{registry} to {to}");
        }
    }
}
