//! TLS as every client here speaks it: rustls on ring, the system's roots or an own authority.
//!
//! Roots are read once, when the first connection needs them: a daemon that speaks to nobody over
//! TLS does not pay for them. Refuses versions below TLS 1.2.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
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
}

impl Tls {
    /// The configuration for rustls, without ALPN. Reads files, so it may take some milliseconds.
    ///
    /// # Errors
    /// A file is missing or broken, or there are no roots.
    pub fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?;
        let builder = if self.tls_verify {
            builder.with_root_certificates(self.roots()?)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        };
        match (&self.client_cert, &self.client_key) {
            (Some(cert), Some(key)) => {
                let key_der = PrivateKeyDer::from_pem_file(key).map_err(file("a key", key))?;
                Ok(builder.with_client_auth_cert(certificates(cert, "a certificate")?, key_der)?)
            }
            _ => Ok(builder.with_no_client_auth()),
        }
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, TlsError> {
        let Some(path) = &self.ca else { return system_roots() };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path, "authorities")? {
            roots.add(certificate)?;
        }
        Ok(Arc::new(roots))
    }
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

/// Takes any certificate, as `tls_verify = false` asks; the handshake's signatures still count.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
