//! `conflux tls init`: certificates for the nodes of a cluster, and the authority that signs them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use conflux::channel::tcp::{CertificateName, TlsFiles, certificate_name};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

use crate::exit::{Exit, Refusal};
use crate::output::say;
use crate::shell::quoted;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an authority is good for.
const AUTHORITY_DAYS: u32 = 3650;

/// A file to write.
struct Output {
    path: PathBuf,
    content: String,
    secret: bool,
}

/// Makes an authority, or takes the one in the directory, and has it sign a certificate for each name.
pub(crate) fn init(directory: &Path, names: &[String], days: u32) -> Result<Exit, Refusal> {
    let (ca, ca_key) = (directory.join("ca.pem"), directory.join("ca-key.pem"));
    let mut outputs = Vec::new();
    let issuer = match (exists(&ca), exists(&ca_key)) {
        (true, true) => load_authority(&ca, &ca_key)?,
        (false, false) => {
            let (pem, issuer) = make_authority()?;
            outputs.push(Output { path: ca.clone(), content: pem, secret: false });
            outputs.push(Output { path: ca_key.clone(), content: issuer.key().serialize_pem(), secret: true });
            issuer
        }
        (there, _) => {
            let (there, missing) = if there { (&ca, &ca_key) } else { (&ca_key, &ca) };
            return Err(Refusal::new(format!(
                "{}: missing, although {} is there; an authority is both: bring it back, or choose another directory",
                missing.display(),
                there.display()
            )));
        }
    };
    let mut made = Vec::new();
    for name in names {
        let (certificate, key) = make_certificate(name, &issuer, days)?;
        let stem = file_stem(name);
        let files =
            TlsFiles::new(directory.join(format!("{stem}.pem")), directory.join(format!("{stem}-key.pem")), ca.clone());
        outputs.push(Output { path: files.cert.clone(), content: certificate, secret: false });
        outputs.push(Output { path: files.key.clone(), content: key, secret: true });
        made.push((name, files));
    }
    refuse_overwriting(&outputs)?;

    fs::create_dir_all(directory).map_err(|error| Refusal::of_file(directory, &error))?;
    let mut written = Vec::new();
    let done = write_all(&outputs, &mut written).and_then(|()| {
        // An authority whose key is not its own signs what nobody takes.
        made.iter().try_for_each(|(name, files)| files.check(name).map_err(Refusal::new))
    });
    if let Err(refusal) = done {
        for path in written {
            // The first error counts; whatever is left would be named by the next attempt.
            let _ = fs::remove_file(path);
        }
        return Err(refusal);
    }
    for output in &outputs {
        let note = if output.secret { " (a secret)" } else { "" };
        say!("wrote {}{note}", output.path.display())?;
    }
    say!("\nGood for {days} days. A node needs its own two files and {};", ca.display())?;
    say!("{} stays where certificates are made. Next:\n", ca_key.display())?;
    for (at, (name, files)) in made.iter().enumerate() {
        say!("  {}", command(at, name, files, names))?;
    }
    Ok(Exit::Good)
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn make_authority() -> Result<(String, Issuer<'static, KeyPair>), Refusal> {
    let key = KeyPair::generate().map_err(cannot_make)?;
    let mut params = params(AUTHORITY_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Two authorities must not have one name: what they sign could not be told apart.
    let id: String = params.key_identifier(&key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name.push(DnType::CommonName, format!("conflux authority {id}"));
    let certificate = params.self_signed(&key).map_err(cannot_make)?;
    Ok((certificate.pem(), Issuer::new(params, key)))
}

fn load_authority(ca: &Path, ca_key: &Path) -> Result<Issuer<'static, KeyPair>, Refusal> {
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| Refusal::of_file(path, &error));
    let bad = |path: &Path, error: rcgen::Error| Refusal::new(format!("{}: {error}", path.display()));
    let key = KeyPair::from_pem(&read(ca_key)?).map_err(|error| bad(ca_key, error))?;
    Issuer::from_ca_cert_pem(&read(ca)?, key).map_err(|error| bad(ca, error))
}

/// A certificate for a node, and its key.
fn make_certificate(name: &str, issuer: &Issuer<'_, KeyPair>, days: u32) -> Result<(String, String), Refusal> {
    let key = KeyPair::generate().map_err(cannot_make)?;
    let mut params = params(days)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![match certificate_name(name) {
        CertificateName::Dns(name) => SanType::DnsName(name.try_into().map_err(cannot_make)?),
        CertificateName::Uri(name) => SanType::URI(name.try_into().map_err(cannot_make)?),
    }];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, issuer).map_err(cannot_make)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// What all certificates have: they begin a day ago, for machines whose clocks differ.
fn params(days: u32) -> Result<CertificateParams, Refusal> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_err(|_| Refusal::new("this machine's clock is before 1970: set it"))?;
    let mut params = CertificateParams::new(Vec::new()).map_err(cannot_make)?;
    params.distinguished_name = DistinguishedName::new();
    params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(DAY);
    params.not_after = date_time_ymd(1970, 1, 1) + now + DAY * days;
    Ok(params)
}

fn cannot_make(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(format!("a certificate cannot be made: {error}"))
}

/// A name as part of a file's name: as in a URI, so that no two names have one file.
fn file_stem(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let mut stem = String::new();
    for (at, byte) in name.bytes().enumerate() {
        if plain(byte) || (byte == b'.' && at > 0) {
            stem.push(char::from(byte));
        } else {
            stem.push_str(&format!("%{byte:02X}"));
        }
    }
    stem
}

/// All or none: nothing that is there is written over, and no file is for two.
fn refuse_overwriting(outputs: &[Output]) -> Result<(), Refusal> {
    let existing: Vec<String> =
        outputs.iter().filter(|output| exists(&output.path)).map(|output| output.path.display().to_string()).collect();
    if !existing.is_empty() {
        return Err(Refusal::new(format!(
            "{}: already there, and never overwritten; move it away, or leave out its node",
            existing.join(", ")
        )));
    }
    let mut taken: Vec<&Path> = Vec::new();
    for output in outputs {
        if taken.contains(&&*output.path) {
            return Err(Refusal::new(format!(
                "{} would be for two: a name comes twice, or is \"ca\", or ends in -key as another's file does; choose \
                 other names",
                output.path.display()
            )));
        }
        taken.push(&output.path);
    }
    Ok(())
}

fn write_all<'a>(outputs: &'a [Output], written: &mut Vec<&'a Path>) -> Result<(), Refusal> {
    for output in outputs {
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        if output.secret {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        let mut file = options.open(&output.path).map_err(|error| Refusal::of_file(&output.path, &error))?;
        written.push(&output.path);
        let done = file.write_all(output.content.as_bytes()).and_then(|()| file.sync_all());
        done.map_err(|error| Refusal::of_file(&output.path, &error))?;
    }
    Ok(())
}

/// How a node is started with its files; the nodes are taken to be on this machine.
fn command(at: usize, name: &str, files: &TlsFiles, names: &[String]) -> String {
    let port = |at: usize| 7001 + at;
    let others: Vec<String> = names
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != at)
        .map(|(other, name)| format!("{name}=127.0.0.1:{}", port(other)))
        .collect();
    let peers = if others.is_empty() { "NAME=HOST:PORT".to_owned() } else { quoted(&others.join(",")) };
    format!(
        "conflux node app.js --id {} --listen tcp://127.0.0.1:{} --peers {peers} --tls-cert {} --tls-key {} --tls-ca {}",
        quoted(name),
        port(at),
        quoted(&files.cert.display().to_string()),
        quoted(&files.key.display().to_string()),
        quoted(&files.ca.display().to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_names_have_one_file() {
        assert_eq!(file_stem("node-1.example"), "node-1.example");
        assert_eq!(file_stem(".."), "%2E.");
        assert_eq!(file_stem("a/b %"), "a%2Fb%20%25");
        assert_eq!(file_stem("é"), "%C3%A9");
    }
}
