//! TLS settings, made when the first `https` URL is asked for: loading the system's certificates costs time and
//! memory that a command on a plain-http registry should not pay.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
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

/// Makes [`ClientConfig`]s; the trusted roots are loaded once.
#[derive(Default)]
pub(crate) struct Settings {
    roots: Vec<CertificateDer<'static>>,
    verified: Mutex<Option<ClientConfig>>,
}

impl Settings {
    /// Trusts the certificates of these PEM texts in addition to the system's.
    pub(crate) fn new(pems: &[Vec<u8>]) -> Result<Self, Error> {
        let mut roots = Vec::new();
        for pem in pems {
            let before = roots.len();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.push(certificate.map_err(|e| Error::Settings(format!("root certificate: {e}")))?);
            }
            if roots.len() == before {
                return Err(Error::Settings("root certificate: the PEM text holds no certificate".into()));
            }
        }
        Ok(Self { roots, verified: Mutex::default() })
    }

    /// A configuration that offers these protocols (ALPN).
    pub(crate) fn config(&self, security: Security, alpn: &[&[u8]]) -> Result<ClientConfig, Error> {
        let mut config = match security {
            Security::None => plain()?,
            Security::Unverified => unverified()?,
            Security::Verified => {
                let mut made = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
                match &*made {
                    Some(config) => config.clone(),
                    None => made.insert(verified(self.roots.clone())?).clone(),
                }
            }
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

fn verified(roots: Vec<CertificateDer<'static>>) -> Result<ClientConfig, Error> {
    let provider = provider()?;
    let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(roots, provider.clone())
        .map_err(tls_error)?;
    Ok(builder(provider)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

fn unverified() -> Result<ClientConfig, Error> {
    let provider = provider()?;
    let verifier = AnyCertificate(provider.clone());
    Ok(builder(provider)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
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
