//! Certificates: both sides show one, signed by the authority that all nodes share, for the node's name.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::layout::{Refusal, RefusalKind};
use crate::channel::Name;

/// Where a node's certificate is, its key, and the authority that signs those of all nodes. PEM files.
///
/// The certificate must be for the node's name: see [`certificate_name`]. It must allow both ends of a connection
/// (`serverAuth` and `clientAuth`, where it says what it allows). `conflux tls init` makes such files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The node's certificate, and behind it those between it and the authority, if any.
    pub cert: PathBuf,
    /// The key of the certificate.
    pub key: PathBuf,
    /// The certificates of the authorities whose nodes are taken. Several, while one is replaced by another.
    pub ca: PathBuf,
}

impl TlsFiles {
    /// The three files.
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>, ca: impl Into<PathBuf>) -> TlsFiles {
        TlsFiles { cert: cert.into(), key: key.into(), ca: ca.into() }
    }

    /// Whether a node of this name can use them now: they can be read, belong together, are not expired, and the
    /// certificate is for the node.
    ///
    /// # Errors
    /// What is wrong, with the file's name.
    pub fn check(&self, node: &str) -> Result<(), TlsError> {
        Tls::load(self, Check::AsOthers)?.check_own_name(node)
    }
}

/// The subject alternative name by which a certificate is for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// A DNS name, which is the node's name as it is.
    Dns(String),
    /// A URI: `conflux:` and the node's name, with every byte but letters, digits, `-`, `.`, `_` and `~` written as `%`
    /// and two capital hexadecimal digits.
    Uri(String),
}

/// How a certificate must name a node.
///
/// A node's name can be any string, and a certificate's cannot. A name that could be one of the DNS (lower-case letters,
/// digits, hyphens, and dots between them) is a DNS name, so that certificates of usual authorities fit. Any other is
/// a URI. A DNS name has to be equal: a wildcard is for no node.
///
/// ```
/// use conflux::channel::tcp::{CertificateName, certificate_name};
///
/// assert_eq!(certificate_name("node-a.example"), CertificateName::Dns("node-a.example".into()));
/// assert_eq!(certificate_name("Node A"), CertificateName::Uri("conflux:Node%20A".into()));
/// ```
pub fn certificate_name(node: &str) -> CertificateName {
    let is_label = |label: &str| {
        let good = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        (1..=63).contains(&label.len()) && label.bytes().all(good) && !label.starts_with('-') && !label.ends_with('-')
    };
    // The last label must not be a number: that is how addresses look.
    let is_address = node.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    if node.len() <= 253 && node.split('.').all(is_label) && !is_address {
        return CertificateName::Dns(node.into());
    }
    let mut uri = String::from("conflux:");
    for byte in node.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => uri.push(char::from(byte)),
            byte => write!(uri, "%{byte:02X}").expect("a string takes everything"),
        }
    }
    CertificateName::Uri(uri)
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {error}; it is to hold {what}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// A file holds something else.
    #[error("{}: holds no {what} in PEM form: {error}", .file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong with it.
        error: String,
    },
    /// The key is not the certificate's.
    #[error("{}: not the key of the certificate in {}: give the two that were made together", .key.display(), .cert.display())]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        cert: PathBuf,
    },
    /// The other nodes would not take the certificate.
    #[error("{}: {reason} (the authority is that in {})", .cert.display(), .ca.display())]
    NotAccepted {
        /// The certificate's file.
        cert: PathBuf,
        /// The authority's file.
        ca: PathBuf,
        /// Why.
        reason: String,
    },
    /// The certificate is for another node.
    #[error("{}: {reason}", .cert.display())]
    WrongName {
        /// The certificate's file.
        cert: PathBuf,
        /// What it is for, and what it should be for.
        reason: String,
    },
    /// There is nothing to load anew.
    #[error("the channel was opened without certificates, and cannot begin with them: restart the node with them")]
    NotConfigured,
}

/// The certificates in use, if any.
pub(super) struct TlsSlot {
    files: Option<TlsFiles>,
    current: RwLock<Option<Arc<Tls>>>,
}

impl TlsSlot {
    pub(super) fn load(files: Option<TlsFiles>) -> Result<TlsSlot, TlsError> {
        let tls = files.as_ref().map(|files| Tls::load(files, Check::AsOthers)).transpose()?;
        Ok(TlsSlot { files, current: RwLock::new(tls.map(Arc::new)) })
    }

    pub(super) fn current(&self) -> Option<Arc<Tls>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again. On an error what is in use stays.
    pub(super) fn reload(&self, node: Option<&str>) -> Result<(), TlsError> {
        let files = self.files.as_ref().ok_or(TlsError::NotConfigured)?;
        let tls = Tls::load(files, Check::AsOthers)?;
        if let Some(node) = node {
            tls.check_own_name(node)?;
        }
        self.replace(tls);
        Ok(())
    }

    pub(super) fn replace(&self, tls: Tls) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(tls));
    }
}

/// Whether a node looks at its own certificate as others will.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// So that a bad one is noticed here and not by refusals.
    AsOthers,
    /// For tests of what others do with a bad one.
    #[cfg(test)]
    Nothing,
}

/// Certificates, ready for use.
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    file: PathBuf,
    own: CertificateDer<'static>,
}

impl Tls {
    pub(super) fn load(files: &TlsFiles, check: Check) -> Result<Tls, TlsError> {
        let certs = certificates(&files.cert, "certificate")?;
        let key = read(&files.key, "key")?;
        let pem = |what, file: &Path, error: String| TlsError::Pem { file: file.into(), what, error };
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|error| pem("key", &files.key, pem_text(error, "PRIVATE KEY")))?;
        let mut roots = RootCertStore::empty();
        for root in certificates(&files.ca, "certificate of an authority")? {
            let added = roots.add(root);
            added.map_err(|error| pem("certificate of an authority", &files.ca, error.to_string()))?;
        }
        let roots = Arc::new(roots);

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let from_nodes = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .expect("there is an authority, and no revocation list");
        let of_nodes = Arc::new(SignedByAuthority { roots, provider: provider.clone() });
        let own = certs.first().expect("an empty list was refused").clone();
        if check == Check::AsOthers {
            let now = UnixTime::now();
            let accepted = from_nodes.verify_client_cert(&own, &certs[1..], now).map(|_| ());
            accepted.and_then(|()| of_nodes.verify(&own, &certs[1..], now)).map_err(|error| TlsError::NotAccepted {
                cert: files.cert.clone(),
                ca: files.ca.clone(),
                reason: rustls_text(&error, "it"),
            })?;
        }

        let bad_pair = |error: rustls::Error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::KeyMismatch { key: files.key.clone(), cert: files.cert.clone() }
            }
            rustls::Error::InvalidCertificate(_) => pem("certificate", &files.cert, error.to_string()),
            _ => pem("key", &files.key, error.to_string()),
        };
        let mut serving = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has what TLS 1.3 needs")
            .with_client_cert_verifier(from_nodes)
            .with_single_cert(certs.clone(), key.clone_key())
            .map_err(bad_pair)?;
        // A resumed session would not look at certificates again, nor at files loaded since.
        serving.session_storage = Arc::new(NoServerSessionStorage {});
        serving.send_tls13_tickets = 0;
        let mut dialling = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has what TLS 1.3 needs")
            .dangerous()
            .with_custom_certificate_verifier(of_nodes)
            .with_client_auth_cert(certs, key)
            .map_err(bad_pair)?;
        dialling.resumption = Resumption::disabled();
        dialling.enable_sni = false;
        Ok(Tls {
            acceptor: Arc::new(serving).into(),
            connector: Arc::new(dialling).into(),
            file: files.cert.clone(),
            own,
        })
    }

    pub(super) async fn connect(&self, stream: TcpStream) -> io::Result<client::TlsStream<TcpStream>> {
        // Who answers is checked by `check_name`, where a mismatch can be told to the other side.
        let name = ServerName::try_from("node").expect("a DNS name");
        match self.connector.connect(name, stream).into_fallible().await {
            Ok(stream) => Ok(stream),
            Err((error, stream)) => Err(let_go(stream, error).await),
        }
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<server::TlsStream<TcpStream>> {
        match self.acceptor.accept(stream).into_fallible().await {
            Ok(stream) => Ok(stream),
            Err((error, stream)) => Err(let_go(stream, error).await),
        }
    }

    /// Whether the other side's certificate, which was verified, is for this node.
    pub(super) fn check_name(&self, shown: Option<&[CertificateDer<'_>]>, node: &Name) -> Result<(), Refusal> {
        let shown = shown.and_then(<[_]>::first).expect("TLS asked for a certificate");
        check_name(shown, node).map_err(|reason| Refusal { kind: RefusalKind::Certificate, reason })
    }

    /// Whether this node's own certificate is for its name.
    pub(super) fn check_own_name(&self, node: &str) -> Result<(), TlsError> {
        check_name(&self.own, node).map_err(|reason| TlsError::WrongName { cert: self.file.clone(), reason })
    }
}

/// Why a certificate is not for this node.
fn check_name(certificate: &CertificateDer<'_>, node: &str) -> Result<(), String> {
    // It was verified, so it can be read; were it otherwise, it would be for nobody.
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else {
        return Err(format!("the certificate of {node:?} cannot be read"));
    };
    let dns: Vec<&str> = certificate.valid_dns_names().collect();
    let uris: Vec<&str> = certificate.valid_uri_names().collect();
    let expected = certificate_name(node);
    let (found, kind, expected) = match &expected {
        CertificateName::Dns(name) => (dns.iter().any(|dns| dns.eq_ignore_ascii_case(name)), "DNS name", name),
        CertificateName::Uri(name) => (uris.contains(&name.as_str()), "URI", name),
    };
    if found {
        return Ok(());
    }
    let names = if dns.is_empty() && uris.is_empty() { "nobody".into() } else { [dns, uris].concat().join(", ") };
    Err(format!(
        "the certificate of {node:?} is for {names}: it must have the {kind} {expected} among its subject alternative \
         names"
    ))
}

/// Takes every certificate that an authority signed for a server, whatever name is in it.
#[derive(Debug)]
struct SignedByAuthority {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl SignedByAuthority {
    fn verify(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        let shown = ParsedCertificate::try_from(shown)?;
        verify_server_cert_signed_by_trust_anchor(&shown, &self.roots, between, now, algorithms)
    }
}

impl ServerCertVerifier for SignedByAuthority {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(shown, between, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, shown, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, shown, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn read(file: &Path, what: &'static str) -> Result<Vec<u8>, TlsError> {
    /// A chain of certificates has some kilobytes.
    const BYTES_MAX: u64 = 1024 * 1024;
    let error = |error| TlsError::Read { file: file.into(), what, error };
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(error)?;
    io::Read::read_to_end(&mut io::Read::take(opened, BYTES_MAX), &mut bytes).map_err(error)?;
    Ok(bytes)
}

/// The certificates of a file; at least one.
fn certificates(file: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(file, what)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let bad = |error| TlsError::Pem { file: file.into(), what, error: pem_text(error, "CERTIFICATE") };
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(bad(pem::Error::NoItemsFound)),
        certificates => certificates.map_err(bad),
    }
}

fn pem_text(error: pem::Error, label: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("there is no -----BEGIN {label}----- in it"),
        error => error.to_string(),
    }
}

/// Closes a connection whose TLS failed, so that the other side can read the alert that says why: what it has sent
/// meanwhile is read first, as the system would otherwise throw the alert away with it.
async fn let_go(mut stream: TcpStream, error: io::Error) -> io::Error {
    const PATIENCE: Duration = Duration::from_secs(1);
    const BYTES_MAX: u64 = 64 * 1024;
    let going = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut (&mut stream).take(BYTES_MAX), &mut tokio::io::sink()).await
    };
    let _ = timeout(PATIENCE, going).await;
    error
}

/// What went wrong with a connection, in words for people.
pub(super) fn explain(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    inner.map_or_else(|| error.to_string(), |error| rustls_text(error, "the other side's certificate"))
}

fn rustls_text(error: &rustls::Error, certificate: &str) -> String {
    use CertificateError as Bad;
    let what = match error {
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA => "does not know the authority that signed this node's certificate",
            AlertDescription::DecryptError => {
                "cannot verify this node's certificate: another authority of the same name may have signed it"
            }
            AlertDescription::CertificateExpired => "says that this node's certificate has expired",
            AlertDescription::CertificateRequired => "wants a certificate, and this node shows none",
            AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied => "does not take this node's certificate",
            _ => return format!("the other side ended TLS: {alert:?}"),
        },
        rustls::Error::InvalidCertificate(bad) => {
            return match bad {
                Bad::UnknownIssuer | Bad::BadSignature => {
                    format!("{certificate} was signed by an authority that this node does not know")
                }
                Bad::Expired | Bad::ExpiredContext { .. } => {
                    format!("{certificate} has expired, or this machine's clock is ahead")
                }
                Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                    format!("{certificate} is not valid yet, or this machine's clock is behind")
                }
                Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. } => format!(
                    "{certificate} must allow both ends of a connection: serverAuth and clientAuth in its extended key \
                     usage"
                ),
                _ => format!("{certificate} cannot be used: {error}"),
            };
        }
        rustls::Error::InvalidMessage(_) => "does not speak TLS: give all nodes certificates, or none",
        rustls::Error::NoCertificatesPresented => "shows no certificate",
        _ => return format!("TLS failed: {error}"),
    };
    format!("the other side {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form_in_certificates_each() {
        for dns in ["a", "node-1", "1a", "db.example.com", "x--y", &format!("{0}.{0}.{0}.b", "a".repeat(63))] {
            assert_eq!(certificate_name(dns), CertificateName::Dns(dns.into()));
        }
        let uris = [
            ("A", "conflux:A"),
            ("node a", "conflux:node%20a"),
            ("-a", "conflux:-a"),
            ("a-", "conflux:a-"),
            ("a..b", "conflux:a..b"),
            ("a_b", "conflux:a_b"),
            ("10.0.0.1", "conflux:10.0.0.1"),
            ("7", "conflux:7"),
            ("*.example", "conflux:%2A.example"),
            ("é%", "conflux:%C3%A9%25"),
        ];
        for (name, uri) in uris {
            assert_eq!(certificate_name(name), CertificateName::Uri(uri.into()));
        }
        let long = "a".repeat(64);
        assert_eq!(certificate_name(&long), CertificateName::Uri(format!("conflux:{long}")));
    }
}
