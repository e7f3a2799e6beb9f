//! A network namespace for each node, on a bridge of this machine: packets get lost as they do between machines. Linux, and
//! root only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::network::{Mode, is_hit};
use super::plan::Way;
use super::proxy::Counts;
use super::random::Random;
use crate::tools;

/// An address of hardware that nothing has: frames to it get lost.
const NOWHERE: &str = "02:00:00:00:00:99";

/// What a slow link lets pass in the time by which it is slow.
const SLOW_BYTES: u64 = 16 << 10;

/// Ends with the namespaces when it is dropped.
pub(super) struct Spaces {
    /// What the names of all that is made begin with.
    name: String,
    /// The first three numbers of the addresses: of those that are reserved for measurements, so nobody's.
    subnet: String,
    nodes: usize,
}

/// The names of what is there and has to go, also where nobody waits for anything.
static THERE: Mutex<Vec<(String, usize)>> = Mutex::new(Vec::new());

impl Spaces {
    /// Makes them; the error says why that does not work here.
    pub(super) fn make(nodes: usize) -> Result<Spaces, String> {
        if !rustix::process::geteuid().is_root() || !tools::on_path("ip") {
            return Err("network namespaces take root and the program `ip`".to_owned());
        }
        let id = std::process::id();
        let third = Random::new(u64::from(id), 0).below(256);
        let name = format!("cflx{}", id % 100_000);
        THERE.lock().unwrap_or_else(PoisonError::into_inner).push((name.clone(), nodes));
        let spaces = Spaces { name, subnet: format!("198.18.{third}"), nodes };
        let Spaces { name, subnet, .. } = &spaces;
        let mut lines = format!(
            "link add {name} type bridge\naddr add {subnet}.254/24 dev {name}\naddr add {subnet}.253/24 dev {name}\n\
             link set {name} up\n"
        );
        for at in 0..nodes {
            let (space, mac) = (spaces.space(at), mac(at));
            ip(&["netns", "add", &space], "")?;
            writeln!(lines, "link add {space} type veth peer name eth0 address {mac} netns {space}").expect("memory");
            writeln!(lines, "link set {space} master {name} up").expect("memory");
        }
        ip(&["-batch", "-"], &lines)?;
        for at in 0..nodes {
            let own = format!("addr add {subnet}.{}/24 dev eth0\nlink set eth0 up\nlink set lo up\n", at + 1);
            ip(&["-n", &spaces.space(at), "-batch", "-"], &own)?;
        }
        spaces.heal()?;
        Ok(spaces)
    }

    fn space(&self, at: usize) -> String {
        space(&self.name, at)
    }

    pub(super) fn host(&self, at: usize) -> String {
        format!("{}.{}", self.subnet, at + 1)
    }

    /// Another address of this machine than the one that the clients come from: it can be cut off alone.
    pub(super) fn server_host(&self) -> String {
        format!("{}.253", self.subnet)
    }

    pub(super) fn command(&self, at: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        // It becomes the program: signals reach that.
        command.args(["netns", "exec", &self.space(at)]).arg(program);
        command
    }

    pub(super) fn set(&self, side: &BTreeSet<usize>, way: Way, mode: Mode) -> Result<(), String> {
        if let Mode::Slow(delay) = mode {
            let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).max(1);
            let rate = format!("{}kbit", (SLOW_BYTES * 8 / millis).max(8));
            for at in side {
                let tbf = ["tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", &rate, "burst", "16kb"];
                self.inside(*at, &[&tbf[..], &["latency", "1s"]].concat())?;
            }
            return Ok(());
        }
        let all: Vec<Option<usize>> = (0..self.nodes).map(Some).chain([None]).collect();
        for from in 0..self.nodes {
            let hit = all.iter().filter(|to| **to != Some(from) && is_hit(side, way, from, **to));
            self.set_ways(from, &hit.copied().collect::<Vec<_>>(), mode)?;
        }
        if mode == Mode::Pass {
            for at in side {
                self.hurry(*at)?;
            }
        }
        Ok(())
    }

    pub(super) fn heal(&self) -> Result<(), String> {
        for from in 0..self.nodes {
            let others: Vec<Option<usize>> = (0..self.nodes).filter(|to| *to != from).map(Some).chain([None]).collect();
            self.set_ways(from, &others, Mode::Pass)?;
            self.hurry(from)?;
        }
        Ok(())
    }

    /// Sets the ways from one node. What each is set to stands in its routes and neighbours, so that nothing is remembered
    /// here.
    fn set_ways(&self, from: usize, to: &[Option<usize>], mode: Mode) -> Result<(), String> {
        let mut lines = String::new();
        for to in to {
            let host = to.map_or_else(|| self.server_host(), |to| self.host(to));
            match (mode, to) {
                (Mode::Cut, _) => writeln!(lines, "route replace unreachable {host}/32"),
                (Mode::Stall, _) => {
                    writeln!(lines, "neigh replace {host} lladdr {NOWHERE} dev eth0 nud permanent")
                }
                (_, Some(node)) => {
                    let mac = mac(*node);
                    writeln!(
                        lines,
                        "route flush exact {host}/32\nneigh replace {host} lladdr {mac} dev eth0 nud permanent"
                    )
                }
                // The bridge's own, which is asked for.
                (_, None) => {
                    writeln!(lines, "route flush exact {host}/32\nneigh flush to {host} dev eth0 nud permanent")
                }
            }
            .expect("memory");
        }
        if lines.is_empty() { Ok(()) } else { ip(&["-n", &self.space(from), "-batch", "-"], &lines) }
    }

    /// A link of a node is as fast as it can be.
    fn hurry(&self, at: usize) -> Result<(), String> {
        if self.inside(at, &["tc", "qdisc", "show", "dev", "eth0"])?.contains("tbf") {
            self.inside(at, &["tc", "qdisc", "del", "dev", "eth0", "root"])?;
        }
        Ok(())
    }

    /// Runs a program in a namespace, and gives what it printed.
    fn inside(&self, at: usize, words: &[&str]) -> Result<String, String> {
        said(&[&["netns", "exec", &self.space(at)], words].concat(), "")
    }

    pub(super) fn counts(&self) -> Counts {
        let counts = (0..self.nodes).map(|at| {
            let snmp = self.inside(at, &["cat", "/proc/net/snmp"]).unwrap_or_default();
            let queue = self.inside(at, &["tc", "-s", "qdisc", "show", "dev", "eth0"]).unwrap_or_default();
            let sent = self.inside(at, &["cat", "/sys/class/net/eth0/statistics/tx_bytes"]).unwrap_or_default();
            Counts {
                passed_bytes: sent.trim().parse().unwrap_or(0),
                broken: field(&snmp, "Ip:", "OutNoRoutes"),
                stalled: field(&snmp, "Tcp:", "RetransSegs"),
                slowed: after(&queue, "overlimits"),
            }
        });
        counts.fold(Counts::default(), Counts::plus)
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        remove_all();
    }
}

/// Removes all that was made.
pub(super) fn remove_all() {
    let mut there = THERE.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, nodes) in there.drain(..) {
        for at in 0..nodes {
            // One that could not be made is not there. A namespace lasts for as long as there are connections in it that
            // nobody holds any more, so its end here is taken away first.
            let space = space(&name, at);
            let _ = ip(&["link", "del", &space], "");
            let _ = ip(&["netns", "del", &space], "");
        }
        let _ = ip(&["link", "del", &name], "");
    }
}

fn space(name: &str, at: usize) -> String {
    format!("{name}{}", char::from(b'a' + u8::try_from(at).expect("there are a few")))
}

fn mac(at: usize) -> String {
    format!("02:00:00:00:00:{:02x}", at + 1)
}

fn ip(words: &[&str], input: &str) -> Result<(), String> {
    said(words, input).map(drop)
}

/// Runs `ip` with an input, and gives what it printed.
fn said(words: &[&str], input: &str) -> Result<String, String> {
    let shown = format!("ip {}", words.join(" "));
    let mut command = Command::new("ip");
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("cannot run {shown}: {error}"))?;
    let mut stdin = child.stdin.take().expect("it is piped");
    // Few lines: they fit into the pipe. Who does not read them says why.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().map_err(|error| format!("cannot wait for {shown}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("{shown} failed: {}\n{input}", why.trim()))
}

/// A number of `/proc/net/snmp`: a line of names, and a line of numbers.
fn field(snmp: &str, kind: &str, name: &str) -> u64 {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix(kind));
    let (names, numbers) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let all: BTreeMap<&str, &str> = names.split_whitespace().zip(numbers.split_whitespace()).collect();
    all.get(name).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The sum of the numbers behind a word.
fn after(text: &str, word: &str) -> u64 {
    let words: Vec<&str> = text.split_whitespace().collect();
    let numbers = words.windows(2).filter(|pair| pair[0] == word);
    numbers.filter_map(|pair| pair[1].trim_end_matches(')').parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found() {
        let snmp = "Ip: Forwarding OutNoRoutes\nIp: 1 7\nTcp: RtoMin RetransSegs InErrs\nTcp: 200 12 0\n";
        assert_eq!((field(snmp, "Ip:", "OutNoRoutes"), field(snmp, "Tcp:", "RetransSegs")), (7, 12));
        assert_eq!(field("", "Tcp:", "RetransSegs"), 0);
        let queue = "qdisc tbf 8001: root rate 200Kbit\n Sent 1 bytes 2 pkt (dropped 0, overlimits 31 requeues 0)\n";
        assert_eq!(after(queue, "overlimits"), 31);
    }
}
