//! Where a token may be asked for: a realm receives credentials, and it is the registry that names it.
//!
//! Refused: plain http, unless the registry itself is spoken to so; link-local, unspecified, multicast and metadata
//! addresses; this machine, unless the registry is on it; private networks, when the registry is on the Internet.
//! Names count as the addresses to which they resolve.

use url::Url;

use crate::{Error, near, registry::Registry, uri};

/// Refuses a realm to which credentials must not go.
pub(super) async fn check(registry: &Registry, realm: &Url) -> Result<(), Error> {
    let refuse = |reason: &str| Error::Challenge {
        registry: registry.name.clone(),
        reason: format!("it names the token service {}: {reason}", uri::redact(realm)),
    };
    near::check(registry, None, realm).await.map_err(|error| match error {
        Error::Redirect { reason, .. } => refuse(&reason),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Scheme, Trust};

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
