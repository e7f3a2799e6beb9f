//! `conflux tls init`, as its users run it.

mod common;

use std::fs;
use std::path::Path;

use common::{Ran, conflux, directory};
use conflux::channel::tcp::TlsFiles;

fn init(directory: &Path, names: &str) -> Ran {
    conflux(&["tls", "init", &directory.display().to_string(), "--names", names], "")
}

fn files(directory: &Path, stem: &str) -> TlsFiles {
    TlsFiles::new(
        directory.join(format!("{stem}.pem")),
        directory.join(format!("{stem}-key.pem")),
        directory.join("ca.pem"),
    )
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("it is there");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn every_node_gets_what_it_needs_and_a_command() {
    let tls = directory("tls-init").join("tls");
    let ran = init(&tls, "a,b,Node C").ended_with(0);
    assert_eq!(
        names(&tls),
        ["Node%20C-key.pem", "Node%20C.pem", "a-key.pem", "a.pem", "b-key.pem", "b.pem", "ca-key.pem", "ca.pem"]
    );
    for (name, stem) in [("a", "a"), ("b", "b"), ("Node C", "Node%20C")] {
        files(&tls, stem).check(name).expect("they are good for the node");
        let error = files(&tls, stem).check("other").expect_err("they are another node's").to_string();
        assert!(error.contains("must have the DNS name other"), "{error}");
    }
    let commands: Vec<_> = ran.stdout.lines().filter(|line| line.contains("conflux node")).collect();
    assert_eq!(commands.len(), 3, "{}", ran.stdout);
    let expected = format!(
        "  conflux node app.js --id b --listen tcp://127.0.0.1:7002 --peers 'a=127.0.0.1:7001,Node C=127.0.0.1:7003' \
         --tls-cert {0}/b.pem --tls-key {0}/b-key.pem --tls-ca {0}/ca.pem",
        tls.display()
    );
    assert_eq!(commands[1], expected);
}

#[cfg(unix)]
#[test]
fn keys_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let tls = directory("tls-modes");
    init(&tls, "a").ended_with(0);
    for name in names(&tls).iter().filter(|name| name.ends_with("-key.pem")) {
        let mode = fs::metadata(tls.join(name)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn an_authority_that_is_there_signs_for_one_more_and_nothing_is_overwritten() {
    let tls = directory("tls-more");
    init(&tls, "a,b").ended_with(0);
    let ca = fs::read_to_string(tls.join("ca.pem")).expect("it was written");
    let key = fs::read_to_string(tls.join("a-key.pem")).expect("it was written");
    init(&tls, "a,c").refused_with(&["a.pem, ", "a-key.pem: already there, and never overwritten"]);
    assert!(!tls.join("c.pem").exists());
    init(&tls, "c").ended_with(0);
    assert_eq!(fs::read_to_string(tls.join("ca.pem")).expect("it was written"), ca);
    assert_eq!(fs::read_to_string(tls.join("a-key.pem")).expect("it was written"), key);
    files(&tls, "c").check("c").expect("it is signed by the same authority");
}

#[test]
fn what_cannot_be_is_refused_and_leaves_nothing() {
    let tls = directory("tls-refused");
    init(&tls, "a,a").refused_with(&["a.pem would be for two"]);
    init(&tls, "ca").refused_with(&["ca.pem would be for two"]);
    init(&tls, "a,a-key").refused_with(&["a-key.pem would be for two"]);
    init(&tls, "a,").refused_with(&["--names", "1 to 256 bytes"]);
    conflux(&["tls", "init"], "").refused_with(&["--names"]);
    assert!(names(&tls).is_empty());

    fs::write(tls.join("ca.pem"), "lost its key").expect("it is writable");
    init(&tls, "a").refused_with(&["ca-key.pem: missing, although", "ca.pem is there"]);
    fs::write(tls.join("ca-key.pem"), "no key").expect("it is writable");
    init(&tls, "a").refused_with(&["ca-key.pem: "]);

    // The key of another authority.
    let (one, other) = (directory("tls-one"), directory("tls-other"));
    init(&one, "a").ended_with(0);
    init(&other, "a").ended_with(0);
    fs::copy(one.join("ca-key.pem"), other.join("ca-key.pem")).expect("both are there");
    init(&other, "b").refused_with(&["b.pem", "ca.pem"]);
    assert!(!other.join("b.pem").exists() && !other.join("b-key.pem").exists());
}
