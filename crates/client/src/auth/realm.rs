//! Where a token may be asked for: a realm receives credentials, and it is the registry that names it.
//!
//! Refused: plain http, unless the registry itself is spoken to so; link-local, unspecified, multicast and metadata
//! addresses; this machine, unless the registry is on it; private networks, when the registry is on the Internet.
//! Names count as the addresses to which they resolve.

use std::net::IpAddr;

use url::{Host, Url};

use crate::{
    Error,
    registry::Registry,
    uri::{self, Reach},
};

/// Refuses a realm to which credentials must not go.
pub(super) async fn check(registry: &Registry, realm: &Url) -> Result<(), Error> {
    let refuse = |reason: &str| Error::Challenge {
        registry: registry.name.clone(),
        reason: format!("it names the token service {}: {reason}", uri::redact(realm)),
    };
    registry.check_third_party(None, realm).map_err(|error| match error {
        Error::Redirect { reason, .. } => refuse(&reason),
        other => other,
    })?;
    let Some(host) = realm.host().map(|h| h.to_owned()).filter(|host| *host != registry.host) else {
        return Ok(());
    };
    let wanted = reaches(&host).await;
    if !wanted.iter().any(|r| *r != Reach::Global) {
        return Ok(());
    }
    let home = reaches(&registry.host).await;
    match wanted.iter().find_map(|reach| refusal(*reach, &home)) {
        Some(reason) => Err(refuse(reason)),
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
    fn a_token_service_is_as_near_as_its_registry() {
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
    async fn realms_are_refused_by_name_and_reason() {
        for (registry, realm, reason) in [
            ("8.8.8.8", "https://8.8.8.8:8443/token", None),
            ("8.8.8.8", "https://1.1.1.1/token", None),
            ("8.8.8.8", "http://1.1.1.1/token", Some("from https to plain http")),
            ("8.8.8.8", "https://127.0.0.1/token", Some("an address of this machine")),
            ("8.8.8.8", "https://localhost/token", Some("an address of this machine")),
            ("8.8.8.8", "https://2130706433/token", Some("an address of this machine")),
            ("8.8.8.8", "https://[::ffff:127.0.0.1]/token", Some("an address of this machine")),
            ("8.8.8.8", "https://10.0.0.1/token", Some("a private network")),
            ("8.8.8.8", "https://169.254.169.254/token", Some("a link-local address")),
            ("8.8.8.8", "https://[fd00:ec2::254]/token", Some("metadata")),
            ("8.8.8.8", "https://0.0.0.0/token", Some("unspecified")),
            ("8.8.8.8", "https://[ff02::1]/token", Some("multicast")),
            // #2258: private registries have private token services.
            ("10.0.0.1:5000", "https://10.0.0.1/token", None),
            ("10.0.0.1:5000", "https://192.168.7.7/token", None),
            ("10.0.0.1:5000", "https://127.0.0.1/token", Some("an address of this machine")),
            ("localhost:5000", "http://127.0.0.1:5001/token", None),
            ("localhost:5000", "http://10.0.0.1/token", None),
        ] {
            let home = Registry::new(registry, Trust::default(), http::HeaderMap::new(), 1).unwrap();
            home.settle(if registry.starts_with("local") { Scheme::Http } else { Scheme::Https });
            let outcome = check(&home, &realm.parse().unwrap()).await;
            match (outcome, reason) {
                (Ok(()), None) => {}
                (Err(error), Some(reason)) => {
                    let text = error.to_string();
                    assert!(text.contains(reason) && text.contains("token service http"), "{realm}: {text}");
                }
                (outcome, _) => panic!("{registry} to {realm}: {outcome:?}"),
            }
        }
    }
}
