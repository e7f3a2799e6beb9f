//! What the tests need that is not Rust: Node and a browser, for the client in JavaScript, and Redis for its channel.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::steps::{Failure, run};

/// The names of Chromium; a test looks for the same ones.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The oldest Node that `client.js` is written for.
const NODE_MIN: u32 = 20;

/// Sees to it that they are there, or says how they are installed.
pub(crate) fn set_up(root: &Path) -> Result<(), Failure> {
    match node() {
        Some(version) if version >= NODE_MIN => println!("     node is there"),
        Some(version) => return Err(format!("node is version {version}: install {NODE_MIN} or newer, for client.js")),
        None => return Err(format!("node is missing: install version {NODE_MIN} or newer, for client.js")),
    }
    let chromium = std::env::var_os("CONFLUX_CHROMIUM").is_some() || BROWSERS.iter().any(|name| on_path(name));
    let hint =
        "for the client in a browser: `sudo apt-get install chromium`, or set CONFLUX_CHROMIUM to the path of one";
    package(root, "chromium", chromium, hint)?;
    // Without it, its tests would pass and say nothing.
    let hint = "for the Redis channel: `sudo apt-get install redis-server`";
    package(root, "redis-server", on_path("redis-server"), hint)
}

/// Installs a package of Debian's if what is in it is not there.
pub(crate) fn package(root: &Path, name: &str, there: bool, hint: &str) -> Result<(), Failure> {
    if there {
        println!("     {name} is there");
        return Ok(());
    }
    if on_path("apt-get") && said("id", "-u").is_some_and(|id| id.trim() == "0") {
        println!("     {name} is missing, so it is installed");
        let quiet = [("DEBIAN_FRONTEND", "noninteractive")];
        run(root, "apt-get update -q", &quiet)?;
        return run(root, &format!("apt-get install -y -q --no-install-recommends {name}"), &quiet);
    }
    Err(format!("{name} is missing, {hint}"))
}

/// The first number of Node's version.
fn node() -> Option<u32> {
    said("node", "--version")?.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// What a program prints when it is asked for one thing.
fn said(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program is where programs are looked for.
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
