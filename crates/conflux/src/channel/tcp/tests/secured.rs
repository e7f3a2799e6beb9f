//! Certificates: who is let in, who is not, and what both sides say.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    date_time_ymd,
};

use super::tls::{Check, Tls};
use super::*;

/// An authority that signs for nodes, and the files of both.
pub(super) struct Authority {
    directory: Directory,
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Authority {
        Authority::named("ours")
    }

    fn named(name: &str) -> Authority {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new(vec![]).expect("no names are good names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("it can be signed");
        let directory = Directory::new();
        directory.write("ca.pem", &certificate.pem());
        Authority { directory, certificate, issuer: Issuer::new(params, key) }
    }

    /// Files of a node of this name.
    pub(super) fn files(&self, name: &str) -> TlsFiles {
        self.changed_files(name, |_| {})
    }

    fn changed_files(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> TlsFiles {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new(vec![]).expect("no names are good names");
        params.subject_alt_names = vec![match certificate_name(name) {
            CertificateName::Dns(name) => SanType::DnsName(name.try_into().expect("ASCII")),
            CertificateName::Uri(name) => SanType::URI(name.try_into().expect("ASCII")),
        }];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("it can be signed");
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        TlsFiles {
            cert: self.directory.write(&format!("{number}.pem"), &certificate.pem()),
            key: self.directory.write(&format!("{number}-key.pem"), &key.serialize_pem()),
            ca: self.directory.0.join("ca.pem"),
        }
    }
}

async fn listening(files: TlsFiles) -> (TcpChannel, Attachment) {
    let channel = bind(loopback().tls(files)).await;
    let node = attach(&channel, "a").await;
    (channel, node)
}

/// A node `b` that dials `a`, with certificates at which it does not look itself.
async fn dialling(to: &TcpChannel, good: TlsFiles, shown: &TlsFiles) -> (TcpChannel, Attachment) {
    let channel = bind(loopback().tls(good)).await;
    // Another name in what is shown would be noticed here.
    let node = attach(&channel, "b").await;
    channel.shared.tls.replace(Tls::load(shown, Check::Nothing).expect("the files are whole"));
    channel.set_peer("a", to.local_address().to_string()).expect("it is good");
    (channel, node)
}

#[tokio::test]
async fn a_stranger_s_authority_is_refused_and_both_sides_say_so() {
    let (ours, theirs) = (Authority::new(), Authority::named("theirs"));
    let (channel_a, mut a) = listening(ours.files("a")).await;
    // It knows our authority, so it is we who refuse.
    let mut files = theirs.files("b");
    files.ca = ours.files("a").ca;
    let (channel_b, b) = dialling(&channel_a, ours.files("b"), &files).await;
    let said = trouble(&channel_b, "a", "authority").await;
    assert!(said.ends_with("the other side does not know the authority that signed this node's certificate"), "{said}");
    while a.inbox.try_recv().is_some() {}
    b.port.send(&"a".into(), "x".into());
    until(&channel_b, "a", |status| status.frames_lost > 0).await;
    assert!(a.inbox.try_recv().is_none());

    // The other way round: it does not know ours.
    let (channel_c, _c) = dialling(&channel_a, ours.files("b"), &theirs.files("b")).await;
    trouble(&channel_c, "a", "the other side's certificate was signed by an authority that this node does not know")
        .await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused_on_both_sides() {
    let authority = Authority::new();
    let expired = |name: &str| {
        authority.changed_files(name, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    };
    let error = TcpChannel::bind(loopback().tls(expired("a"))).await.expect_err("it has expired").to_string();
    assert!(error.contains("it has expired, or this machine's clock is ahead"), "{error}");

    let (channel_a, _a) = listening(authority.files("a")).await;
    let (channel_b, _b) = dialling(&channel_a, authority.files("b"), &expired("b")).await;
    trouble(&channel_b, "a", "the other side says that this node's certificate has expired").await;

    let (channel_c, _c) = listening(authority.files("a")).await;
    channel_c.shared.tls.replace(Tls::load(&expired("a"), Check::Nothing).expect("the files are whole"));
    let to_c = loopback().tls(authority.files("b")).peer("a", channel_c.local_address().to_string());
    let channel_d = bind(to_c).await;
    let _d = attach(&channel_d, "b").await;
    trouble(&channel_d, "a", "the other side's certificate has expired").await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_and_both_sides_say_so() {
    let authority = Authority::new();
    // The node itself notices.
    let channel = bind(loopback().tls(authority.files("c"))).await;
    let error = channel.attach("a".into()).await.err().expect("it is another's").to_string();
    let expected = "the certificate of \"a\" is for c: it must have the DNS name a among its subject alternative names";
    assert!(error.ends_with(expected), "{error}");

    // The one who is dialled notices.
    let (channel_a, _a) = listening(authority.files("a")).await;
    let (channel_b, _b) = dialling(&channel_a, authority.files("b"), &authority.files("c")).await;
    trouble(&channel_b, "a", "refuses this node: the certificate of \"b\" is for c: it must have the DNS name b").await;

    // The one who dials notices.
    let (channel_c, _c) = listening(authority.files("a")).await;
    channel_c.shared.tls.replace(Tls::load(&authority.files("Other"), Check::Nothing).expect("they are whole"));
    let to_c = loopback().tls(authority.files("b")).peer("a", channel_c.local_address().to_string());
    let channel_d = bind(to_c).await;
    let _d = attach(&channel_d, "b").await;
    trouble(&channel_d, "a", "the certificate of \"a\" is for conflux:Other: it must have the DNS name a").await;
}

#[tokio::test]
async fn a_wildcard_is_for_no_node_and_nothing_is_for_nobody() {
    let authority = Authority::new();
    let wildcard = authority.changed_files("a", |params| {
        params.subject_alt_names = vec![SanType::DnsName("*.example.com".try_into().expect("ASCII"))];
    });
    let nobody = authority.changed_files("a", |params| params.subject_alt_names.clear());
    for (files, expected) in [(wildcard, "is for *.example.com"), (nobody, "is for nobody")] {
        let channel = bind(loopback().tls(files)).await;
        let error = channel.attach("a.example.com".into()).await.err().expect("it does not fit").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_for_one_end_only_is_refused_at_once() {
    let authority = Authority::new();
    let half = authority.changed_files("a", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let error = TcpChannel::bind(loopback().tls(half)).await.expect_err("it cannot dial").to_string();
    assert!(error.contains("must allow both ends of a connection"), "{error}");
}

#[tokio::test]
async fn one_with_certificates_and_one_without_say_what_is_wrong() {
    let authority = Authority::new();
    let (secured, _a) = listening(authority.files("a")).await;
    let plain = bind(loopback().peer("a", secured.local_address().to_string())).await;
    let _b = attach(&plain, "b").await;
    trouble(&plain, "a", "TLS came where none was expected: give all nodes certificates, or none").await;

    let plain = bind(loopback()).await;
    let _a = attach(&plain, "a").await;
    let to_plain = loopback().tls(authority.files("b")).peer("a", plain.local_address().to_string());
    let secured = bind(to_plain).await;
    let _b = attach(&secured, "b").await;
    trouble(&secured, "a", "does not speak TLS: give all nodes certificates, or none").await;
}

#[tokio::test]
async fn files_are_loaded_again_and_a_broken_one_changes_nothing() {
    let authority = Authority::new();
    let files = authority.files("a");
    let (channel_a, mut a) = listening(files.clone()).await;
    let next = authority.files("a");
    std::fs::copy(&next.cert, &files.cert).expect("it is there");
    let error = channel_a.reload_tls().expect_err("the key is the old one's");
    assert!(matches!(&error, TlsError::KeyMismatch { key, .. } if *key == files.key), "{error}");
    assert!(error.to_string().contains(&*files.key.display().to_string()), "{error}");

    let to_a = || loopback().peer("a", channel_a.local_address().to_string());
    let before = bind(to_a().tls(authority.files("b"))).await;
    let b = attach(&before, "b").await;
    reach(&b, &mut a).await;

    std::fs::copy(&next.key, &files.key).expect("it is there");
    channel_a.reload_tls().expect("the two belong together");
    reach(&b, &mut a).await;

    // Another authority beside the first: nodes of both are taken.
    let other = Authority::new();
    let both = [authority.certificate.pem(), other.certificate.pem()].concat();
    std::fs::write(&files.ca, both).expect("it is there");
    channel_a.reload_tls().expect("there are two authorities");
    let mut new = other.files("c");
    new.ca = files.ca.clone();
    let after = bind(to_a().tls(new)).await;
    let c = attach(&after, "c").await;
    reach(&c, &mut a).await;

    let plain = bind(loopback()).await;
    assert!(matches!(plain.reload_tls(), Err(TlsError::NotConfigured)));
}

#[tokio::test]
async fn bad_files_are_named() {
    let authority = Authority::new();
    let good = authority.files("a");
    let directory = Directory::new();
    let empty = directory.write("empty.pem", "nothing\n");
    let broken = directory.write("broken.pem", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n");
    let missing = directory.0.join("missing.pem");
    let other = authority.files("b");
    let stranger = Authority::new().certificate;
    let stranger = directory.write("stranger.pem", &stranger.pem());
    let cases = [
        (TlsFiles { cert: missing.clone(), ..good.clone() }, "missing.pem: No such file", "to hold certificate"),
        (TlsFiles { key: missing, ..good.clone() }, "missing.pem: No such file", "to hold key"),
        (TlsFiles { cert: empty.clone(), ..good.clone() }, "empty.pem: holds no certificate", "BEGIN CERTIFICATE"),
        (TlsFiles { key: empty.clone(), ..good.clone() }, "empty.pem: holds no key", "BEGIN PRIVATE KEY"),
        (TlsFiles { ca: empty, ..good.clone() }, "empty.pem: holds no certificate of an authority", "BEGIN"),
        (TlsFiles { cert: broken, ..good.clone() }, "broken.pem: holds no certificate", ""),
        (TlsFiles { key: other.key, ..good.clone() }, "not the key of the certificate in", "made together"),
        (TlsFiles { ca: stranger, ..good }, "signed by an authority that this node does not know", "stranger.pem"),
    ];
    for (files, expected, more) in cases {
        let error = TcpChannel::bind(loopback().tls(files)).await.expect_err(expected).to_string();
        assert!(error.contains(expected) && error.contains(more), "{error}");
    }
}
