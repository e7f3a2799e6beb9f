//! `conflux sim`, as its users run it.

mod common;

use common::{conflux, container};

const SHORT: [&str; 8] =
    ["--seeds", "2", "--seconds", "5", "--nodes", "3", "--faults", "kill,partition,loss,duplication,delay"];

#[test]
fn an_honest_container_holds() {
    let app = container("words.js");
    let arguments = [&["sim".as_ref(), app.as_os_str()][..], &SHORT.map(AsRef::as_ref)].concat();
    // Of so few seeds none may have had a fault; then that is what it says.
    let ran = conflux(&arguments, "");
    assert!(ran.stdout.contains("2 seeds hold: "), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("answer: done"), "{}", ran.stdout);
}

/// What a failure prints is enough to repeat it, and it is made short.
#[test]
fn a_broken_invariant_is_made_short_and_repeated() {
    let app = container("invariant.js");
    let arguments = [&["sim".as_ref(), app.as_os_str()][..], &SHORT.map(AsRef::as_ref)].concat();
    let ran = conflux(&arguments, "").ended_with(1);
    assert!(ran.stdout.contains("breaks the container's own invariant: at 1: n is negative"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("3 nodes, 0 faults, 1 asks") || ran.stdout.contains("1 nodes, 0 faults, 1 asks"),
        "{}",
        ran.stdout
    );
    let again = ran.stdout.lines().last().expect("it says how to run it again").trim();
    let words: Vec<String> = again.split(' ').skip(1).map(|word| word.trim_matches('\'').to_owned()).collect();
    let words: Vec<&std::ffi::OsStr> = words.iter().map(AsRef::as_ref).collect();
    let (one, other) = (conflux(&words, "").ended_with(1), conflux(&words, "").ended_with(1));
    assert!(one.stdout.contains("breaks the container's own invariant"), "{}", one.stdout);
    assert_eq!(one.stdout, other.stdout, "a seed is one trace, in any process");
}

#[test]
fn what_cannot_be_simulated_is_told() {
    let app = container("words.js");
    for (arguments, told) in [
        (vec!["--seeds", "5..5"], "there are no seeds in it"),
        (vec!["--faults", "plague"], "there is no fault \"plague\"; there are partition, "),
        (vec!["--nodes", "12"], "the number of nodes is a number from 1 to 9"),
        (vec!["--keep", "nodes=1"], "--seed"),
        (vec!["--seed", "1", "--keep", "nodes=none"], "nodes is 1 to 9"),
        (vec!["--calls", "nowhere.txt"], "nowhere.txt"),
    ] {
        let arguments =
            [&["sim".as_ref(), app.as_os_str()][..], &arguments.iter().map(AsRef::as_ref).collect::<Vec<_>>()].concat();
        let ran = conflux(&arguments, "").ended_with(2);
        assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
}
