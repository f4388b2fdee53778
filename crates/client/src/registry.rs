//! What is known about one registry.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use http::HeaderMap;
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use url::{Host, Url};

use crate::{Error, auth, pace::Pace, tls::SetId, uri};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// How a registry may be reached.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trust {
    /// `--insecure`: plain http is allowed.
    pub(crate) insecure: bool,
    /// Speaks plain http, nothing else.
    pub(crate) plain_http: bool,
    /// Its certificate is not checked.
    pub(crate) skip_verify: bool,
    /// Certificates that count for itself.
    pub(crate) own: SetId,
    /// Certificates that count for the hosts to which it leads.
    pub(crate) others: SetId,
}

pub(crate) struct Registry {
    /// Host and port as in references.
    pub(crate) name: String,
    pub(crate) host: Host<String>,
    pub(crate) trust: Trust,
    /// Sent to this registry and to no other host.
    pub(crate) headers: HeaderMap,
    pub(crate) auth: auth::State,
    pub(crate) pace: Pace,
    pub(crate) pinged: OnceCell<()>,
    /// The referrers API was found missing.
    pub(crate) no_referrers: AtomicBool,
    /// It was seen not to take blobs in one request.
    pub(crate) no_single_post: AtomicBool,
    /// As a mirror it did not answer, and is not asked again.
    pub(crate) silent: AtomicBool,
    /// Guards the read-modify-write of fallback tags.
    pub(crate) fallback: Mutex<()>,
    settled: OnceLock<Scheme>,
    probe: Mutex<()>,
}

impl Registry {
    pub(crate) fn new(name: &str, trust: Trust, headers: HeaderMap, parallel: usize) -> Result<Self, Error> {
        let url = Url::parse(&format!("http://{name}/"))
            .map_err(|e| Error::Settings(format!("\"{name}\" is not the name of a registry: {e}")))?;
        let Some(host) = url.host() else {
            return Err(Error::Settings(format!("\"{name}\" is not the name of a registry")));
        };
        Ok(Self {
            name: name.to_owned(),
            host: host.to_owned(),
            trust,
            headers,
            auth: auth::State::default(),
            pace: Pace::new(parallel),
            pinged: OnceCell::new(),
            no_referrers: AtomicBool::new(false),
            no_single_post: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            fallback: Mutex::new(()),
            settled: OnceLock::new(),
            probe: Mutex::new(()),
        })
    }

    /// The schemes to try, in this order, until the first answer settles it.
    pub(crate) fn schemes(&self) -> &[Scheme] {
        match self.settled.get() {
            Some(Scheme::Http) => &[Scheme::Http],
            Some(Scheme::Https) => &[Scheme::Https],
            None if self.trust.plain_http => &[Scheme::Http],
            None if uri::is_loopback(&self.host) => &[Scheme::Http, Scheme::Https],
            None if self.trust.insecure || uri::is_private_v4(&self.host) => &[Scheme::Https, Scheme::Http],
            None => &[Scheme::Https],
        }
    }

    pub(crate) fn settle(&self, scheme: Scheme) {
        let _ = self.settled.set(scheme);
    }

    /// Until the scheme and the kind of authentication are known, one request goes ahead and the others wait, so that
    /// they need not all find it out. `None`: it is known.
    pub(crate) async fn lead(&self) -> Option<MutexGuard<'_, ()>> {
        if self.is_known() {
            return None;
        }
        let guard = self.probe.lock().await;
        (!self.is_known()).then_some(guard)
    }

    fn is_known(&self) -> bool {
        self.settled.get().is_some() && self.auth.is_known()
    }

    /// The URL of a path (with query), which starts with a slash.
    pub(crate) fn url(&self, scheme: Scheme, path: &str) -> Result<Url, Error> {
        let text = format!("{}://{}{path}", scheme.as_str(), self.name);
        Url::parse(&text).map_err(|e| Error::Answer { url: text, reason: e.to_string() })
    }

    /// Whether an URL belongs to this registry: scheme, host and port.
    pub(crate) fn owns(&self, url: &Url) -> bool {
        self.schemes().iter().any(|s| self.url(*s, "/").is_ok_and(|own| uri::same_origin(&own, url)))
    }

    /// Whether plain http to third parties is no worse than what is done already. Of a registry on this machine this
    /// is so until it has answered by https, and for what is on this machine, too.
    fn allows_plain(&self, to: &Url) -> bool {
        let near = |host: &Host<String>| uri::is_loopback(host);
        self.trust.insecure
            || self.trust.plain_http
            || self.settled.get() == Some(&Scheme::Http)
            || (near(&self.host)
                && (self.settled.get().is_none() || to.host().is_some_and(|to| near(&to.to_owned()))))
    }

    /// Whether the registry itself sits at an address where no registry is expected.
    pub(crate) fn is_metadata(&self) -> bool {
        match &self.host {
            Host::Ipv4(ip) => uri::is_metadata((*ip).into()),
            Host::Ipv6(ip) => uri::is_metadata((*ip).into()),
            Host::Domain(_) => false,
        }
    }

    /// What can be said without resolving a name; see [`crate::near::check`].
    pub(crate) fn check_third_party(&self, from: Option<&Url>, to: &Url) -> Result<(), Error> {
        let refuse = |reason: &str| Err(self.refusal(from, to, reason));
        if to.scheme() == "http" && !self.allows_plain(to) {
            return refuse("from https to plain http");
        }
        match uri::literal_address(to).and_then(uri::refusal) {
            Some(reason) if !self.is_metadata() => refuse(reason),
            _ => Ok(()),
        }
    }

    /// Why an URL is not followed.
    pub(crate) fn refusal(&self, from: Option<&Url>, to: &Url, reason: &str) -> Error {
        let url = from.map_or_else(|| self.name.clone(), uri::redact);
        Error::Redirect { url, to: uri::redact(to), reason: reason.into() }
    }

    pub(crate) fn has_referrers(&self) -> bool {
        !self.no_referrers.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(name: &str, trust: Trust) -> Registry {
        Registry::new(name, trust, HeaderMap::new(), 1).unwrap()
    }

    fn insecure() -> Trust {
        Trust { insecure: true, ..Trust::default() }
    }

    fn plain() -> Trust {
        Trust { plain_http: true, ..Trust::default() }
    }

    #[test]
    fn https_comes_first_except_on_loopback() {
        use Scheme::{Http, Https};
        let none = Trust::default;
        let cases: [(&str, Trust, &[Scheme]); 15] = [
            ("172.16.0.1:5000", none(), &[Https, Http]),
            ("[fd12::1]", none(), &[Https]),
            ("ghcr.io", none(), &[Https]),
            ("8.8.8.8:5000", none(), &[Https]),
            ("172.32.0.1", none(), &[Https]),
            ("localhost.example", none(), &[Https]),
            ("ghcr.io", insecure(), &[Https, Http]),
            ("10.1.2.3:5000", none(), &[Https, Http]),
            ("192.168.0.1", none(), &[Https, Http]),
            ("localhost", none(), &[Http, Https]),
            ("x.localhost:5000", none(), &[Http, Https]),
            ("127.0.0.1:5000", insecure(), &[Http, Https]),
            ("[::1]:5000", none(), &[Http, Https]),
            ("ghcr.io", plain(), &[Http]),
            ("localhost", plain(), &[Http]),
        ];
        for (name, trust, expected) in cases {
            let registry = registry(name, trust);
            assert_eq!(registry.schemes(), expected, "{name} {trust:?}");
            registry.settle(Https);
            assert_eq!(registry.schemes(), [Https], "{name}: settled");
        }
    }

    #[test]
    fn registries_do_not_send_us_anywhere() {
        for (name, trust, settled, to, allowed) in [
            ("ghcr.io", Trust::default(), Scheme::Https, "https://store.example/x", true),
            ("ghcr.io", Trust::default(), Scheme::Https, "http://store.example/x", false),
            ("ghcr.io", Trust::default(), Scheme::Https, "http://ghcr.io/x", false),
            ("ghcr.io", insecure(), Scheme::Https, "http://store.example/x", true),
            ("ghcr.io", plain(), Scheme::Http, "http://store.example/x", true),
            ("localhost:5000", Trust::default(), Scheme::Http, "http://localhost:9000/x", true),
            ("localhost:5000", Trust::default(), Scheme::Http, "http://store.example/x", true),
            // A password must not go out in clear because the registry is on this machine.
            ("localhost:5000", Trust::default(), Scheme::Https, "http://store.example/x", false),
            ("localhost:5000", Trust::default(), Scheme::Https, "http://127.0.0.1:9000/x", true),
            ("ghcr.io", Trust::default(), Scheme::Https, "https://169.254.169.254/x", false),
            ("ghcr.io", insecure(), Scheme::Https, "http://169.254.169.254/x", false),
            ("169.254.1.1", insecure(), Scheme::Http, "http://169.254.1.2/token", true),
        ] {
            let registry = registry(name, trust);
            registry.settle(settled);
            let outcome = registry.check_third_party(None, &to.parse().unwrap());
            assert_eq!(outcome.is_ok(), allowed, "{name} {trust:?} to {to}");
        }
    }

    /// The first answer of a registry that speaks plain http may be a redirect to itself.
    #[test]
    fn what_speaks_plain_http_may_lead_to_plain_http_before_it_has_answered() {
        for (trust, allowed) in [(plain(), true), (insecure(), true), (Trust::default(), false)] {
            let registry = registry("registry.test:5000", trust);
            let to = "http://registry.test:5000/v2/y".parse().unwrap();
            assert_eq!(registry.check_third_party(None, &to).is_ok(), allowed, "{trust:?}");
        }
    }
}
