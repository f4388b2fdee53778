//! Registries behind TLS, and what the command line says about whom to trust.

use std::sync::Arc;

use insta::assert_snapshot;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::{TestContext, family};

const AUTHORITY: &[u8] = include_bytes!("../../../client/tests/tls/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("../../../client/tests/tls/server.pem");
const KEY: &[u8] = include_bytes!("../../../client/tests/tls/server-key.pem");
const CLIENT_AUTHORITY: &[u8] = include_bytes!("../../../client/tests/tls/client-ca.pem");
const CLIENT: &[u8] = include_bytes!("../../../client/tests/tls/client.pem");
const CLIENT_KEY: &[u8] = include_bytes!("../../../client/tests/tls/client-key.pem");

/// The test's registry behind TLS: host and port. Lets in only who shows a certificate, if `asking`.
fn behind_tls(context: &TestContext, asking: bool) -> String {
    let certificates = CertificateDer::pem_slice_iter(CERTIFICATE).collect::<Result<_, _>>().unwrap();
    let provider = Arc::new(default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CLIENT_AUTHORITY).unwrap()).unwrap();
    let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if !asking {
        verifier = verifier.allow_unauthenticated();
    }
    let config = config.unwrap().with_client_cert_verifier(verifier.build().unwrap());
    let config = config.with_single_cert(certificates, PrivateKeyDer::from_pem_slice(KEY).unwrap()).unwrap();
    let (acceptor, target) = (TlsAcceptor::from(Arc::new(config)), context.host());
    let listener = context.runtime().block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    context.runtime().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, target) = (acceptor.clone(), target.clone());
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(stream).await else { return };
                let mut server = TcpStream::connect(target).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    format!("localhost:{port}")
}

fn certificates(context: &TestContext) {
    for (name, pem) in [("ca.crt", AUTHORITY), ("me.cert", CLIENT), ("me.key", CLIENT_KEY)] {
        context.write(name, pem);
    }
}

#[test]
fn an_authority_is_trusted_for_all_or_for_one() {
    let context = TestContext::new();
    context.push("app:1", &family("linux/amd64").app.graph());
    certificates(&context);
    let host = behind_tls(&context, false);
    context.name(&host, "TLS");
    let image = format!("{host}/app:1");
    let ran = |flags: &[&str]| context.run(&[&["digest", &image, "--retries=0"], flags].concat());
    assert_snapshot!(ran(&[]), @"
    exit: 1
    --- stdout

    --- stderr
    error: HEAD https://[TLS]/v2/app/manifests/1: client error (Connect): invalid peer certificate: UnknownIssuer
    hint: --ca-file names an authority to trust; --skip-tls-verify=[TLS] does without
    ");
    for (flag, trusted) in [
        ("--ca-file=ca.crt".to_owned(), true),
        (format!("--ca-file={host}=ca.crt"), true),
        ("--ca-file=a.io=ca.crt".to_owned(), false),
        ("--cert-dir=.".to_owned(), true),
        (format!("--cert-dir={host}=."), true),
        ("--cert-dir=a.io=.".to_owned(), false),
        ("--skip-tls-verify".to_owned(), true),
        (format!("--skip-tls-verify={host}"), true),
        ("--skip-tls-verify=a.io".to_owned(), false),
        ("--tls-verify=false".to_owned(), true),
        ("--tls-verify=true".to_owned(), false),
        ("--insecure".to_owned(), true),
    ] {
        let ran = ran(&[&flag]);
        assert_eq!(ran.code, Some(if trusted { 0 } else { 1 }), "{flag}: {ran}");
    }
    assert_ne!(ran(&["--ca-file=ca.crt", &format!("--plain-http={host}")]).code, Some(0));
}

#[test]
fn a_client_certificate_is_shown_where_it_belongs() {
    let context = TestContext::new();
    context.push("app:1", &family("linux/amd64").app.graph());
    certificates(&context);
    let host = behind_tls(&context, true);
    let image = format!("{host}/app:1");
    let ran = |flags: &[&str]| {
        context.run(&[&["digest", &image, "--ca-file=ca.crt", "--retries=0"], flags].concat())
    };
    let nothing_shown = ran(&[]);
    assert_ne!(nothing_shown.code, Some(0));
    // By chance, the connection is seen to break before the server's reason is.
    if nothing_shown.stderr.contains("CertificateRequired") {
        let hint =
            format!("hint: {host} wants a client certificate: --cert-file and --key-file, or --cert-dir");
        assert!(nothing_shown.stderr.contains(&hint), "{nothing_shown}");
    }
    ran(&["--cert-file=me.cert", "--key-file=me.key"]).ok();
    ran(&[&format!("--cert-file={host}=me.cert"), &format!("--key-file={host}=me.key")]).ok();
    assert_ne!(ran(&["--cert-file=a.io=me.cert", "--key-file=a.io=me.key"]).code, Some(0));
    ran(&["--cert-dir", "."]).ok();
    // Where podman and docker look.
    let own = context.home(".config/containers/certs.d").join(&host);
    std::fs::create_dir_all(&own).unwrap();
    for name in ["ca.crt", "me.cert", "me.key"] {
        std::fs::copy(context.path(name), own.join(name)).unwrap();
    }
    context.run(&["digest", &image]).ok();
    std::fs::remove_file(own.join("me.key")).unwrap();
    let ran = context.run(&["digest", &image, "--retries=0"]);
    assert!(ran.stderr.contains("me.key"), "{ran}");
}
