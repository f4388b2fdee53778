//! TLS settings, made when the first `https` URL is asked for: loading the system's certificates costs time and
//! memory that a command on a plain-http registry should not pay.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WantsClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use crate::Error;

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Security {
    /// Plain http.
    None,
    /// TLS; the certificate must be trusted.
    Verified,
    /// TLS with any certificate.
    Unverified,
}

/// Which certificates a connection trusts and shows: a [`Set`] that [`Settings`] knows. The default: the common one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct SetId(usize);

/// A certificate with its key, as PEM texts.
pub(crate) struct IdentityPem {
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

/// Certificates beyond the system's.
#[derive(Default)]
pub(crate) struct Set {
    roots: Vec<CertificateDer<'static>>,
    /// What is shown to a server that asks for it.
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Set {
    /// Trusts the certificates of a PEM text; `what` names it in messages.
    pub(crate) fn add_roots(&mut self, pem: &[u8], what: &str) -> Result<(), Error> {
        self.roots.extend(certificates(pem, what)?);
        Ok(())
    }

    /// Shows this certificate, unless there is one already.
    pub(crate) fn offer(&mut self, pem: &IdentityPem, what: &str) -> Result<(), Error> {
        let chain = certificates(&pem.certificate, what)?;
        // The parser's own words could quote the key.
        let key = PrivateKeyDer::from_pem_slice(&pem.key)
            .map_err(|_| Error::Settings(format!("{what}: its key is no private key in PEM form")))?;
        self.identity.get_or_insert((chain, key));
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.roots.is_empty() && self.identity.is_none()
    }

    fn without_identity(&self) -> Self {
        Self { roots: self.roots.clone(), identity: None }
    }

    fn finish(
        &self,
        builder: rustls::ConfigBuilder<ClientConfig, WantsClientCert>,
    ) -> Result<ClientConfig, Error> {
        match &self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(|e| Error::Settings(format!("client certificate: {e}"))),
        }
    }
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|e| Error::Settings(format!("{what}: {e}")))?;
    if all.is_empty() {
        return Err(Error::Settings(format!("{what}: the PEM text holds no certificate")));
    }
    Ok(all)
}

/// Makes [`ClientConfig`]s; the trusted roots are loaded once per set.
pub(crate) struct Settings(Mutex<Vec<Known>>);

struct Known {
    set: Set,
    verified: Option<ClientConfig>,
}

impl Settings {
    /// The common set is trusted everywhere, in addition to the system's.
    pub(crate) fn new(common: Set) -> Self {
        Self(Mutex::new(vec![Known { set: common, verified: None }]))
    }

    /// For a registry with certificates of its own: what counts for itself, and for the hosts to which it leads. The
    /// latter (token services, stores) are trusted alike, but are not shown its client certificate.
    pub(crate) fn add(&self, mut set: Set) -> (SetId, SetId) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        set.roots.extend(known.first().map(|common| common.set.roots.clone()).unwrap_or_default());
        let others = set.identity.is_some().then(|| set.without_identity());
        let mut keep = |set: Set| {
            known.push(Known { set, verified: None });
            SetId(known.len() - 1)
        };
        let own = keep(set);
        (own, others.map_or(own, keep))
    }

    /// A configuration that offers these protocols (ALPN).
    pub(crate) fn config(
        &self,
        security: Security,
        set: SetId,
        alpn: &[&[u8]],
    ) -> Result<ClientConfig, Error> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = known.get_mut(set.0) else {
            return Err(Error::Settings("TLS: unknown certificates".into()));
        };
        let mut config = match (security, &known.verified) {
            (Security::None, _) => plain()?,
            (Security::Unverified, _) => unverified(&known.set)?,
            (Security::Verified, Some(config)) => config.clone(),
            (Security::Verified, None) => known.verified.insert(verified(&known.set)?).clone(),
        };
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        Ok(config)
    }
}

/// The provider of the chosen feature, unless the program has installed another one.
fn provider() -> Result<Arc<CryptoProvider>, Error> {
    if let Some(installed) = CryptoProvider::get_default() {
        return Ok(installed.clone());
    }
    #[cfg(feature = "aws-lc-rs")]
    return Ok(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    return Ok(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
    Err(Error::Settings("palan was built without TLS".into()))
}

fn builder(
    provider: Arc<CryptoProvider>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(tls_error)
}

fn verified(set: &Set) -> Result<ClientConfig, Error> {
    let provider = provider()?;
    let verifier =
        rustls_platform_verifier::Verifier::new_with_extra_roots(set.roots.clone(), provider.clone())
            .map_err(tls_error)?;
    set.finish(builder(provider)?.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
}

fn unverified(set: &Set) -> Result<ClientConfig, Error> {
    let provider = provider()?;
    let verifier = AnyCertificate(provider.clone());
    set.finish(builder(provider)?.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
}

/// For clients that speak plain http only: trusts nobody.
fn plain() -> Result<ClientConfig, Error> {
    Ok(builder(provider()?)?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function for map_err")]
fn tls_error(error: rustls::Error) -> Error {
    Error::Settings(format!("TLS: {error}"))
}

/// Accepts every certificate, but still checks that the server holds its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
