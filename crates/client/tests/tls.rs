//! Registries behind TLS.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{MANIFEST, MANIFEST_TYPE, builder, content, tag};
use palan_client::{Builder, Client, Error, Fault};
use palan_core::Repository;
use palan_testkit::fault::{FaultRegistry, Reply};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::sync::{Arc, Mutex};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{LazyConfigAcceptor, rustls::server::Acceptor};

const AUTHORITY: &[u8] = include_bytes!("tls/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("tls/server.pem");
const KEY: &[u8] = include_bytes!("tls/server-key.pem");

/// Speaks TLS on its own port and forwards to a registry.
struct TlsProxy {
    port: u16,
    server: JoinHandle<()>,
    /// The protocols that each connection offered.
    offered: Arc<Mutex<Vec<Vec<String>>>>,
}

impl TlsProxy {
    async fn start(registry: &FaultRegistry) -> Self {
        let certificates = CertificateDer::pem_slice_iter(CERTIFICATE).collect::<Result<_, _>>().unwrap();
        let provider = Arc::new(provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, PrivateKeyDer::from_pem_slice(KEY).unwrap())
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (target, offered) = (registry.host(), Arc::<Mutex<Vec<_>>>::default());
        let log = offered.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (config, target, log) = (config.clone(), target.clone(), log.clone());
                tokio::spawn(async move {
                    let Ok(start) = LazyConfigAcceptor::new(Acceptor::default(), stream).await else {
                        return;
                    };
                    let hello = start.client_hello();
                    let protocols = hello.alpn().into_iter().flatten();
                    log.lock().unwrap().push(protocols.map(|p| String::from_utf8_lossy(p).into()).collect());
                    if let Ok(mut client) = start.into_stream(config).await {
                        let mut server = TcpStream::connect(target).await.unwrap();
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { port, server, offered }
    }

    fn repository(&self, host: &str) -> Repository {
        format!("{host}:{}/a/b", self.port).parse().unwrap()
    }
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn provider() -> rustls::crypto::CryptoProvider {
    #[cfg(feature = "aws-lc-rs")]
    return rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "aws-lc-rs"))]
    return rustls::crypto::ring::default_provider();
}

async fn registry() -> FaultRegistry {
    FaultRegistry::start(|r| match r.path().contains("/blobs/") {
        true => Reply::ranged(r, &content(100_000)).cut_after(60_000),
        false => Reply::ok(MANIFEST).header("content-type", MANIFEST_TYPE),
    })
    .await
}

#[tokio::test]
async fn a_loopback_port_that_speaks_tls_is_spoken_to_in_tls() {
    let registry = registry().await;
    let proxy = TlsProxy::start(&registry).await;
    let client = builder().add_root_pem(AUTHORITY.to_vec()).build().unwrap();
    for host in ["127.0.0.1", "localhost"] {
        let repo = client.repository(&proxy.repository(host));
        repo.manifest(&tag("x")).await.unwrap();
        repo.manifest(&tag("x")).await.unwrap();
        let bytes = content(100_000);
        assert_eq!(repo.blob_bytes(&common::blob(&bytes), 100_000).await.unwrap(), bytes);
    }
    // Plain http was tried once for each name.
    assert_eq!(client.stats().requests, registry.requests().len() as u64 + 2);
    // HTTP/2 for documents, not for blobs; connections of the first kind are used again, those that were cut are not.
    let mut offered = proxy.offered.lock().unwrap().clone();
    offered.sort();
    let (both, one) = (vec!["h2".to_owned(), "http/1.1".to_owned()], vec!["http/1.1".to_owned()]);
    assert_eq!(offered, [both.clone(), both, one.clone(), one.clone(), one.clone(), one]);
}

#[tokio::test]
async fn a_certificate_is_trusted_only_where_it_was_said_so() {
    let named = |registry: &str| registry.to_owned();
    type Settings = fn(Builder, String) -> Builder;
    let cases: [(&str, Settings, bool); 5] = [
        ("nothing said", |b, _| b, false),
        ("another registry", |b, _| b.skip_tls_verify("localhost:1"), false),
        ("this registry", |b, registry| b.skip_tls_verify(registry), true),
        ("all registries", |b, _| b.insecure(true), true),
        ("its authority", |b, _| b.add_root_pem(AUTHORITY.to_vec()), true),
    ];
    for (name, settings, trusted) in cases {
        let registry = registry().await;
        let proxy = TlsProxy::start(&registry).await;
        let repository = proxy.repository("localhost");
        let client = settings(builder(), named(repository.registry())).build().unwrap();
        let outcome = client.repository(&repository).manifest(&tag("x")).await;
        assert_eq!(outcome.is_ok(), trusted, "{name}: {outcome:?}");
        if let Err(error) = outcome {
            assert!(matches!(error, Error::Transport { .. }), "{name}: {error:?}");
            assert_eq!(registry.requests().len(), 0, "{name}");
        }
    }
}

/// `https` alone must not be answered by going back to `http`.
#[tokio::test]
async fn a_certificate_that_is_refused_is_said_so_and_not_asked_again() {
    let registry = registry().await;
    let proxy = TlsProxy::start(&registry).await;
    let target = format!("https://localhost:{}/x", proxy.port);
    let front = FaultRegistry::start(move |_| Reply::status(307).header("location", &target)).await;
    let client = builder().build().unwrap();
    let error = common::repo(&client, &front).manifest(&tag("x")).await.unwrap_err();
    let Error::Transport { fault, reason, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*fault, Fault::Certificate);
    assert!(reason.contains("certificate"), "{error}");
    assert_eq!(client.stats().requests, 2);
}

#[test]
fn texts_that_hold_no_certificate_are_refused() {
    for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        let outcome = Client::builder().add_root_pem(pem.into()).build();
        assert!(matches!(outcome, Err(Error::Settings(_))), "{pem:?}");
    }
}
