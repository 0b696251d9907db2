//! TLS for probes: whom to trust, and when the certificates that were shown run out.
//!
//! That a certificate is not trusted, or has expired, does not keep its expiry from being read:
//! that is when it matters most.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::sync::OnceCell;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::Config;
use crate::pollers::{PollError, Reason};

/// What TLS needs once for all targets: the system's root certificates, read when first needed.
#[derive(Debug, Default)]
pub struct Tls {
    provider: OnceLock<Arc<CryptoProvider>>,
    system: OnceCell<Arc<WebPkiServerVerifier>>,
}

impl Tls {
    fn provider(&self) -> &Arc<CryptoProvider> {
        self.provider.get_or_init(|| Arc::new(ring::default_provider()))
    }

    /// Trusts what the system trusts.
    async fn system(&self) -> Result<Arc<WebPkiServerVerifier>, PollError> {
        let load = || async {
            let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
            let mut roots = RootCertStore::empty();
            if let Ok(loaded) = loaded {
                roots.add_parsable_certificates(loaded.certs);
            }
            self.verifier(roots, "this system's root certificates (install ca-certificates?)")
        };
        self.system.get_or_try_init(load).await.cloned()
    }

    fn verifier(
        &self,
        roots: RootCertStore,
        of: &str,
    ) -> Result<Arc<WebPkiServerVerifier>, PollError> {
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider().clone())
            .build()
            .map_err(|error| PollError::new(Reason::Auth, format!("{of}: {error}")))
    }

    /// How to shake hands with one target. Its files are read each time, so that a certificate
    /// that was renewed is taken up.
    pub(super) async fn client(&self, config: &Config) -> Result<Handshake, PollError> {
        let inner = match &config.ca {
            _ if !config.tls_verify => None,
            Some(path) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(certificates(path).await?);
                Some(self.verifier(roots, &path.display().to_string())?)
            }
            None => Some(self.system().await?),
        };
        let provider = self.provider().clone();
        let verifier =
            Arc::new(Verifier { inner, provider: provider.clone(), expires: OnceLock::new() });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has a cipher for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let mut client = match (&config.client_cert, &config.client_key) {
            (Some(cert), Some(key)) => builder
                .with_client_auth_cert(certificates(cert).await?, private_key(key).await?)
                .map_err(|error| {
                    let message = format!("client certificate {}: {error}", cert.display());
                    PollError::new(Reason::Auth, message)
                })?,
            _ => builder.with_no_client_auth(),
        };
        // A probe measures a whole handshake, as a new visitor has it.
        client.resumption = Resumption::disabled();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Handshake { client: Arc::new(client), verifier })
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, PollError> {
    let read = tokio::fs::read(path).await;
    read.map_err(|error| {
        PollError::new(Reason::Auth, format!("cannot read {}: {error}", path.display()))
    })
}

async fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PollError> {
    let pem = read(path).await?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| {
        PollError::new(Reason::Auth, format!("no certificate in PEM form in {}", path.display()))
    })
}

async fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PollError> {
    PrivateKeyDer::from_pem_slice(&read(path).await?).map_err(|_| {
        PollError::new(Reason::Auth, format!("no private key in PEM form in {}", path.display()))
    })
}

/// One handshake to be.
pub(super) struct Handshake {
    pub(super) client: Arc<ClientConfig>,
    verifier: Arc<Verifier>,
}

impl Handshake {
    /// When the first of the certificates that were shown runs out, in seconds since the epoch;
    /// known whether or not they were trusted.
    pub(super) fn expires(&self) -> Option<i64> {
        self.verifier.expires.get().copied()
    }
}

/// Notes when certificates run out, and leaves the judging to rustls; or trusts all where the
/// configuration says so.
#[derive(Debug)]
struct Verifier {
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    expires: OnceLock<i64>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = std::iter::once(end_entity).chain(intermediates);
        if let Some(first) = shown.filter_map(not_after).min() {
            self.expires.get_or_init(|| first);
        }
        match &self.inner {
            Some(inner) => inner.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

/// What a failure on a TLS stream means: [`Reason::Auth`] where one side did not accept who the
/// other is, [`Reason::Malformed`] where it does not speak TLS as it should.
pub(super) fn failure(operation: &str, error: &io::Error) -> PollError {
    use AlertDescription as Alert;
    let reason = match rustls(error) {
        None => return PollError::io(operation, error),
        Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => Reason::Auth,
        Some(Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::AccessDenied,
        )) => Reason::Auth,
        Some(_) => Reason::Malformed,
    };
    PollError::new(reason, format!("{operation}: {error}"))
}

/// Whether an error on a stream is TLS's own.
pub(super) fn is_tls(error: &io::Error) -> bool {
    rustls(error).is_some()
}

fn rustls(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}
