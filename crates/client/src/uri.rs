//! Questions about URLs: whose they are, where they lead, how to show them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Query keys whose values are no secrets.
const PLAIN_KEYS: [&str; 8] = ["digest", "mount", "from", "n", "last", "artifactType", "service", "scope"];

/// The URL for messages: no user, no password, no fragment, values of unknown query keys as `***`.
pub(crate) fn redact(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_fragment(None);
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    let Some(query) = url.query() else { return shown.into() };
    shown.set_query(None);
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((key, _)) if is_plain_key(key) => pair.to_owned(),
        Some((key, _)) => format!("{key}=***"),
        None => "***".to_owned(),
    });
    format!("{shown}?{}", pairs.collect::<Vec<_>>().join("&"))
}

/// Whether the values of a query key are no secrets.
pub(crate) fn is_plain_key(key: &str) -> bool {
    PLAIN_KEYS.contains(&key)
}

/// Same scheme, host and port.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

/// What `location` of an answer to `base` means.
///
/// Registries behind a TLS proxy often write `http://` into their own locations: on the same host, the scheme that
/// is spoken is kept.
pub(crate) fn resolve(base: &Url, location: &str) -> Option<Url> {
    let mut url = base.join(location).ok()?;
    let same_port = url.port().is_none() || url.port() == base.port();
    if base.scheme() == "https" && url.scheme() == "http" && url.host() == base.host() && same_port {
        url.set_scheme("https").ok()?;
        url.set_port(base.port()).ok()?;
    }
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// `localhost`, `*.localhost`, 127/8, ::1.
pub(crate) fn is_loopback(host: &Host<String>) -> bool {
    match host {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    }
}

/// A literal address of RFC 1918: 10/8, 172.16/12, 192.168/16.
pub(crate) fn is_private_v4(host: &Host<String>) -> bool {
    matches!(host, Host::Ipv4(ip) if ip.is_private())
}

/// The address of an URL's host, when it is written as one.
pub(crate) fn literal_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain(_) => None,
    }
}

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Nobody's, everybody's, or where clouds keep their instance metadata: no registry may send us there.
    Never(&'static str),
    /// This machine.
    Loopback,
    /// A network of one's own.
    Private,
    /// The Internet.
    Global,
}

/// Where an address leads, in whatever form it is written.
pub(crate) fn reach(ip: IpAddr) -> Reach {
    match ip {
        IpAddr::V4(ip) => reach_v4(ip),
        IpAddr::V6(ip) => reach_v6(ip),
    }
}

fn reach_v4(ip: Ipv4Addr) -> Reach {
    const ALIBABA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
    let [a, b, ..] = ip.octets();
    match ip {
        _ if ip.is_link_local() => Reach::Never("a link-local address"),
        ALIBABA => Reach::Never("the address of a metadata service"),
        _ if a == 0 => Reach::Never("an unspecified address"),
        _ if ip.is_multicast() || ip.is_broadcast() => Reach::Never("a multicast address"),
        _ if ip.is_loopback() => Reach::Loopback,
        // The last: shared address space, RFC 6598.
        _ if ip.is_private() || (a == 100 && (64..128).contains(&b)) => Reach::Private,
        _ => Reach::Global,
    }
}

fn reach_v6(ip: Ipv6Addr) -> Reach {
    const AWS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    let s = ip.segments();
    let nat64 = s[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    let [.., a, b, c, d] = ip.octets();
    match ip {
        _ if nat64 => reach_v4(Ipv4Addr::new(a, b, c, d)),
        AWS => Reach::Never("the address of a metadata service"),
        _ if ip.is_unspecified() => Reach::Never("an unspecified address"),
        _ if ip.is_multicast() => Reach::Never("a multicast address"),
        _ if ip.is_unicast_link_local() => Reach::Never("a link-local address"),
        _ if ip.is_loopback() => Reach::Loopback,
        _ if ip.is_unique_local() => Reach::Private,
        _ => ip.to_ipv4_mapped().map_or(Reach::Global, reach_v4),
    }
}

/// Why no registry may send us to this address, if so.
pub(crate) fn refusal(ip: IpAddr) -> Option<&'static str> {
    match reach(ip) {
        Reach::Never(what) => Some(what),
        _ => None,
    }
}

/// Whether no registry may send us to this address.
pub(crate) fn is_metadata(ip: IpAddr) -> bool {
    refusal(ip).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn shown_urls_keep_no_secrets() {
        for (full, shown) in [
            ("https://a/v2/", "https://a/v2/"),
            ("https://u:p@a/x#f", "https://a/x"),
            (
                "https://s3/x?X-Amz-Signature=abc&X-Amz-Date=1",
                "https://s3/x?X-Amz-Signature=***&X-Amz-Date=***",
            ),
            ("https://a/u?_state=abc&digest=sha256:1", "https://a/u?_state=***&digest=sha256:1"),
            // A value without a key could be anything.
            ("https://a/u?abcdef", "https://a/u?***"),
        ] {
            assert_eq!(redact(&url(full)), shown);
        }
    }

    #[test]
    fn locations_keep_the_secure_scheme_of_their_host() {
        for (base, location, expected) in [
            ("https://a/v2/x", "/v2/y?z=1", Some("https://a/v2/y?z=1")),
            ("https://a/v2/x", "http://a/v2/y", Some("https://a/v2/y")),
            ("https://a:8443/v2/x", "http://a/v2/y", Some("https://a:8443/v2/y")),
            ("https://a:8443/v2/x", "http://a:81/v2/y", Some("http://a:81/v2/y")),
            ("https://a/v2/x", "http://b/v2/y", Some("http://b/v2/y")),
            ("http://a/v2/x", "http://a/v2/y", Some("http://a/v2/y")),
            ("https://a/v2/x", "ftp://a/v2/y", None),
            ("https://a/v2/x", "https://[", None),
        ] {
            assert_eq!(resolve(&url(base), location).map(String::from).as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn addresses_lead_somewhere() {
        for (text, expected) in [
            ("127.8.8.8", Reach::Loopback),
            ("::1", Reach::Loopback),
            ("::ffff:127.0.0.1", Reach::Loopback),
            ("10.1.2.3", Reach::Private),
            ("172.31.0.1", Reach::Private),
            ("172.32.0.1", Reach::Global),
            ("192.168.1.1", Reach::Private),
            ("100.64.0.1", Reach::Private),
            ("100.128.0.1", Reach::Global),
            ("fd12::1", Reach::Private),
            ("64:ff9b::a00:1", Reach::Private),
            ("2001:db8::1", Reach::Global),
            ("8.8.8.8", Reach::Global),
        ] {
            assert_eq!(reach(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn metadata_addresses_are_known_in_every_spelling() {
        for (text, expected) in [
            ("http://169.254.169.254/", true),
            ("http://0xa9fea9fe/", true),
            ("http://2852039166/", true),
            ("http://[fe80::1]/", true),
            ("http://[::ffff:169.254.169.254]/", true),
            ("http://[64:ff9b::a9fe:a9fe]/", true),
            ("http://[fd00:ec2::254]/", true),
            ("http://100.100.100.200/", true),
            ("http://0.0.0.0/", true),
            ("http://0/", true),
            ("http://[::]/", true),
            ("http://[::ffff:0.0.0.0]/", true),
            ("http://224.0.0.1/", true),
            ("http://[ff02::1]/", true),
            ("http://255.255.255.255/", true),
            ("http://127.0.0.1/", false),
            ("http://10.0.0.1/", false),
            ("http://[2001:db8::1]/", false),
        ] {
            assert_eq!(is_metadata(literal_address(&url(text)).unwrap()), expected, "{text}");
        }
    }
}
