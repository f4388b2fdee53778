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
    io::{AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{LazyConfigAcceptor, rustls::server::Acceptor};

const AUTHORITY: &[u8] = include_bytes!("tls/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("tls/server.pem");
const KEY: &[u8] = include_bytes!("tls/server-key.pem");
const CLIENT_AUTHORITY: &[u8] = include_bytes!("tls/client-ca.pem");
const CLIENT: &[u8] = include_bytes!("tls/client.pem");
const CLIENT_KEY: &[u8] = include_bytes!("tls/client-key.pem");

/// Speaks TLS on its own port and forwards to a registry.
struct TlsProxy {
    port: u16,
    server: JoinHandle<()>,
    /// The protocols that each connection offered.
    offered: Arc<Mutex<Vec<Vec<String>>>>,
}

impl TlsProxy {
    async fn start(registry: &FaultRegistry) -> Self {
        Self::start_asking(registry, false).await
    }

    /// Lets in only who shows a certificate of [`CLIENT_AUTHORITY`], if `asking`.
    async fn start_asking(registry: &FaultRegistry, asking: bool) -> Self {
        let config = Arc::new(server_config(asking));
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

fn client_verifier(
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Arc<dyn rustls::server::danger::ClientCertVerifier> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CLIENT_AUTHORITY).unwrap()).unwrap();
    rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap()
}

fn server_config(asking: bool) -> rustls::ServerConfig {
    let certificates = CertificateDer::pem_slice_iter(CERTIFICATE).collect::<Result<_, _>>().unwrap();
    let provider = Arc::new(provider());
    let config = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = match asking {
        true => config.with_client_cert_verifier(client_verifier(provider)),
        false => config.with_no_client_auth(),
    };
    config.with_single_cert(certificates, PrivateKeyDer::from_pem_slice(KEY).unwrap()).unwrap()
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
    let cases: [(&str, Settings, bool); 8] = [
        ("nothing said", |b, _| b, false),
        ("another registry", |b, _| b.skip_tls_verify("localhost:1"), false),
        ("this registry", |b, registry| b.skip_tls_verify(registry), true),
        ("all registries", |b, _| b.insecure(true), true),
        ("its authority", |b, _| b.add_root_pem(AUTHORITY.to_vec()), true),
        ("everywhere", |b, _| b.skip_tls_verify_everywhere(), true),
        ("its authority for itself", |b, registry| b.registry_root_pem(registry, AUTHORITY.to_vec()), true),
        (
            "its authority for another registry",
            |b, _| b.registry_root_pem("localhost:1", AUTHORITY.to_vec()),
            false,
        ),
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

/// Harbor ends connections with this when many uploads begin at once (regclient #902).
#[tokio::test]
async fn enhance_your_calm_means_to_come_back_with_less() {
    // SETTINGS, and GOAWAY with error code 11 before the first stream.
    const CALM: &[u8] = &[
        0, 0, 0, 4, 0, 0, 0, 0, 0, //
        0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11,
    ];
    let mut config = server_config(false);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name: Repository =
        format!("localhost:{}/a/b", listener.local_addr().unwrap().port()).parse().unwrap();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.write_all(CALM).await;
            let _ = stream.flush().await;
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
    });
    let client = builder().retries(2).add_root_pem(AUTHORITY.to_vec()).build().unwrap();
    let error = client.repository(&name).manifest(&tag("x")).await.unwrap_err();
    server.abort();
    assert!(matches!(error, Error::Transport { fault: Fault::Overload, .. }), "{error:?}");
    assert_eq!(client.stats().retries, 2);
}

#[test]
fn texts_that_hold_no_certificate_are_refused() {
    for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        let outcome = Client::builder().add_root_pem(pem.into()).build();
        assert!(matches!(outcome, Err(Error::Settings(_))), "{pem:?}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_its_registry() {
    let registry = registry().await;
    let proxy = TlsProxy::start_asking(&registry, true).await;
    let repository = proxy.repository("localhost");
    let name = repository.registry().to_owned();
    let (certificate, key) = (|| CLIENT.to_vec(), || CLIENT_KEY.to_vec());
    let trusting = || builder().retries(0).add_root_pem(AUTHORITY.to_vec());
    for (case, client, let_in) in [
        ("none", trusting(), false),
        ("for all", trusting().client_certificate(None, certificate(), key()), true),
        ("for this one", trusting().client_certificate(Some(name.clone()), certificate(), key()), true),
        ("for another", trusting().client_certificate(Some("a.io".into()), certificate(), key()), false),
        (
            "without checking the server's",
            builder().skip_tls_verify(name.clone()).client_certificate(
                Some(name.clone()),
                certificate(),
                key(),
            ),
            true,
        ),
    ] {
        let outcome = client.build().unwrap().read_from(&repository).await;
        assert_eq!(outcome.is_ok(), let_in, "{case}: {outcome:?}");
        if let Err(error) = outcome {
            assert!(matches!(error, Error::Transport { .. }), "{case}: {error:?}");
        }
    }
}

/// Where a registry leads, its authority is trusted, but its certificate is not shown.
#[tokio::test]
async fn a_client_certificate_stays_with_its_registry() {
    let store = registry().await;
    for (asking, reached) in [(false, true), (true, false)] {
        let store = TlsProxy::start_asking(&store, asking).await;
        let target = format!("https://localhost:{}/x", store.port);
        let front = FaultRegistry::start(move |_| Reply::status(307).header("location", &target)).await;
        let proxy = TlsProxy::start_asking(&front, true).await;
        let repository = proxy.repository("localhost");
        let name = repository.registry().to_owned();
        let client = builder()
            .retries(0)
            .registry_root_pem(name.clone(), AUTHORITY.to_vec())
            .client_certificate(Some(name), CLIENT.to_vec(), CLIENT_KEY.to_vec())
            .build()
            .unwrap();
        let outcome = client.read_from(&repository).await;
        assert_eq!(outcome.is_ok(), reached, "{outcome:?}");
        assert_eq!(front.requests().len(), 1);
    }
}

#[tokio::test]
async fn certificates_are_found_as_docker_and_podman_keep_them() {
    let registry = registry().await;
    let proxy = TlsProxy::start_asking(&registry, true).await;
    let repository = proxy.repository("localhost");
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let own = second.join(repository.registry());
    std::fs::create_dir_all(&own).unwrap();
    std::fs::create_dir_all(first.join("localhost:1")).unwrap();
    for (name, bytes) in [("ca.crt", AUTHORITY), ("a.cert", CLIENT), ("a.key", CLIENT_KEY), ("notes", b"x")] {
        std::fs::write(own.join(name), bytes).unwrap();
    }
    let client = || builder().retries(0).certs_d(folder.path().join("missing")).certs_d(&first);
    client().certs_d(&second).build().unwrap().read_from(&repository).await.unwrap();
    client().certificate_folder(None, &own).build().unwrap().read_from(&repository).await.unwrap();
    client().build().unwrap().read_from(&repository).await.unwrap_err();
    // The first folder that has something for a registry counts alone.
    std::fs::create_dir_all(first.join(repository.registry())).unwrap();
    client().certs_d(&second).build().unwrap().read_from(&repository).await.unwrap_err();
    std::fs::remove_dir(first.join(repository.registry())).unwrap();
    for (file, text) in [("a.key", "SECRET"), ("b.cert", "x"), ("b.key", "x"), ("ca.crt", "")] {
        let path = own.join(file);
        let before = std::fs::read(&path);
        std::fs::write(&path, text).unwrap();
        let error = client().certs_d(&second).build().unwrap().read_from(&repository).await.unwrap_err();
        let message = error.to_string();
        assert!(message.contains(&own.display().to_string()), "{file}: {message}");
        assert!(!message.contains("SECRET"), "{file}: {message}");
        match before {
            Ok(before) => std::fs::write(&path, before).unwrap(),
            Err(_) => std::fs::remove_file(&path).unwrap(),
        }
    }
}

#[tokio::test]
async fn plain_http_alone_does_not_try_tls() {
    let registry = registry().await;
    let proxy = TlsProxy::start(&registry).await;
    let repository = proxy.repository("localhost");
    for client in [builder().plain_http(repository.registry()), builder().plain_http_everywhere()] {
        let client = client.retries(0).skip_tls_verify_everywhere().build().unwrap();
        client.read_from(&repository).await.unwrap_err();
    }
    assert_eq!(registry.requests().len(), 0);
}

/// What was said about one port says nothing about another, to which the registry leads.
#[tokio::test]
async fn another_port_of_a_host_is_another_server() {
    let store = registry().await;
    let store = TlsProxy::start(&store).await;
    let target = format!("https://localhost:{}/x", store.port);
    let front = FaultRegistry::start(move |_| Reply::status(307).header("location", &target)).await;
    let front = TlsProxy::start(&front).await;
    let repository = front.repository("localhost");
    let one = builder().retries(0).skip_tls_verify(repository.registry());
    one.build().unwrap().read_from(&repository).await.unwrap_err();
    let both = builder()
        .retries(0)
        .skip_tls_verify(repository.registry())
        .skip_tls_verify(format!("localhost:{}", store.port));
    both.build().unwrap().read_from(&repository).await.unwrap();
}

trait ReadOne {
    async fn read_from(&self, repository: &Repository) -> Result<(), Error>;
}

impl ReadOne for Client {
    async fn read_from(&self, repository: &Repository) -> Result<(), Error> {
        self.repository(repository).manifest(&tag("x")).await.map(drop)
    }
}
