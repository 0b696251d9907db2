//! TLS as every client here speaks it: rustls on ring, the system's roots or an own authority.
//!
//! Roots are read once, when the first connection needs them: a daemon that speaks to nobody over
//! TLS does not pay for them. When certificates run out is noted whether or not they are trusted:
//! that is when it matters most. Refuses versions below TLS 1.2.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

crate::config! {
    /// Whom a connection trusts, and who it says we are.
    pub struct Tls {
        /// A PEM file of authorities to trust instead of the system's.
        pub ca: Option<PathBuf>,
        /// A PEM file with the certificate to show, and those that vouch for it.
        pub client_cert: Option<PathBuf>,
        /// A PEM file with the key of `client_cert`.
        pub client_key: Option<PathBuf>,
        /// Check the server's certificate; `false` leaves the connection open to impostors.
        pub tls_verify: bool = true,
    }
    check(tls, table) {
        if tls.client_cert.is_some() != tls.client_key.is_some() {
            let key = if tls.client_cert.is_some() { "client_cert" } else { "client_key" };
            table.error(key, "`client_cert` and `client_key` go together");
        }
        if tls.ca.is_some() && !tls.tls_verify {
            table.error("tls_verify", "`ca` has no use where nothing is verified");
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self { ca: None, client_cert: None, client_key: None, tls_verify: true }
    }
}

/// What keeps TLS from being set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read, or is not what it should be.
    #[error("cannot read {what} from {}: {error}", path.display())]
    File {
        /// Authorities, a certificate or a key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        error: rustls_pki_types::pem::Error,
    },
    /// Without a root nobody can be trusted.
    #[error("the system has no root certificates; set `ca`")]
    NoRoots,
    /// Certificates that rustls cannot use.
    #[error("cannot use the certificates: {0}")]
    Unusable(#[from] Error),
    /// Authorities that vouch for nobody.
    #[error("cannot use the authorities: {0}")]
    Roots(#[from] VerifierBuilderError),
}

impl Tls {
    /// The configuration for rustls, without ALPN. Reads files, so it may take some milliseconds.
    ///
    /// # Errors
    /// A file is missing or broken, or there are no roots.
    pub fn client_config(&self) -> Result<ClientConfig, TlsError> {
        Ok(self.watched()?.0)
    }

    /// As [`Tls::client_config`], with what tells when the certificates run out that are shown to
    /// its connections.
    ///
    /// # Errors
    /// A file is missing or broken, or there are no roots.
    pub fn watched(&self) -> Result<(ClientConfig, Expiry), TlsError> {
        let provider = provider();
        let judge = if self.tls_verify { Some(self.judge()?) } else { None };
        let verifier =
            Arc::new(Verifier { judge, provider: provider.clone(), expires: OnceLock::new() });
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let config = match (&self.client_cert, &self.client_key) {
            (Some(cert), Some(key)) => {
                let key_der = PrivateKeyDer::from_pem_file(key).map_err(file("a key", key))?;
                builder.with_client_auth_cert(certificates(cert, "a certificate")?, key_der)?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok((config, Expiry(verifier)))
    }

    /// Who says whether a server is trusted.
    fn judge(&self) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
        let roots = match &self.ca {
            None => system_roots()?,
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path, "authorities")? {
                    roots.add(certificate)?;
                }
                Arc::new(roots)
            }
        };
        Ok(WebPkiServerVerifier::builder_with_provider(roots, provider().clone()).build()?)
    }
}

/// Tells when the certificates of a connection run out.
#[derive(Debug)]
pub struct Expiry(Arc<Verifier>);

impl Expiry {
    /// When the first of the certificates that were shown first runs out, in seconds since the
    /// epoch; known whether or not they were trusted.
    #[must_use]
    pub fn seconds(&self) -> Option<i64> {
        self.0.expires.get().copied()
    }
}

fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(ring::default_provider()))
}

fn file(what: &'static str, path: &Path) -> impl FnOnce(rustls_pki_types::pem::Error) -> TlsError {
    move |error| TlsError::File { what, path: path.to_owned(), error }
}

/// The certificates of a PEM file, at least one.
fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(none) if none.is_empty() => {
            Err(file(what, path)(rustls_pki_types::pem::Error::NoItemsFound))
        }
        other => other.map_err(file(what, path)),
    }
}

/// The system's roots, shared by all who use them. Some certificates of a system may be broken;
/// the others count.
fn system_roots() -> Result<Arc<RootCertStore>, TlsError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots.clone()) }
}

/// Notes when certificates run out and leaves the judging to rustls, or takes any where
/// `tls_verify = false` says so; the handshake's signatures always count.
#[derive(Debug)]
struct Verifier {
    judge: Option<Arc<WebPkiServerVerifier>>,
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
        match &self.judge {
            Some(judge) => {
                judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
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
