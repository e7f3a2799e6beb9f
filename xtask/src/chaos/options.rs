//! What a run is told on the command line.

use std::time::Duration;

use super::plan::Kind;

pub(crate) const HELP: &str = "\
Starts real nodes, breaks what can be broken while clients call, heals, and checks every answer.

Usage: cargo xtask chaos [--minutes N] [--seed N] [--nodes N] [--callers N] [--channel tcp|redis|relay]
                         [--faults KIND,...] [--network proxies|namespaces] [--keep] [--plan]

  --minutes N     how long things are broken; 0.5 is half a minute [1]
  --seed N        draws the plan of faults; time and the system stay real [a new one each time, which is told]
  --nodes N       the nodes that found the cluster, 3 to 7; one more is added and removed [3]
  --callers N     clients that perform, at most 64 [4]
  --channel C     how the nodes talk: tcp, or a redis-server or `conflux relay` that is started for it [tcp]
  --network N     what is between the nodes: a proxy for each way on this machine's loopback, or a network namespace for
                  each node, in which packets get lost [namespaces where they can be made: for root, on Linux]
  --faults KIND,...
                  only these [all that the channel has]:
                  kill       SIGKILL, one node to all at once
                  end        SIGTERM
                  pause      SIGSTOP, and SIGCONT a while later
                  partition  links between nodes are cut, or pass nothing on; both ways or one way
                  slow       links between nodes are slow
                  wipe       a node is killed, and starts again without its data
                  members    a node is added, and one is removed
                  transfer   leadership is handed over
                  server     the redis-server or the relay is killed
  --keep          keep the directory of a run in which all went well, too
  --plan          show the plan of faults, and do nothing

A fault that was asked for and never happened fails the run. Exit status: 0 all held, 1 a promise was broken, 2 usage,
130 interrupted.";

/// How nodes talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    Tcp,
    Redis,
    Relay,
}

/// What is between the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    Proxies,
    Namespaces,
    /// The second, where they can be made.
    Either,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) length: Duration,
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) callers: usize,
    pub(crate) medium: Medium,
    pub(crate) ground: Ground,
    /// Each at most once, and not empty.
    pub(crate) faults: Vec<Kind>,
    pub(crate) keep: bool,
    pub(crate) plan: bool,
}

const NODES_MAX: usize = 7;
const CALLERS_MAX: usize = 64;
const MINUTES_MAX: f64 = 24.0 * 60.0;

impl Options {
    /// The options of a run of so long that differs in nothing else.
    pub(crate) fn new(length: Duration, seed: u64) -> Options {
        let faults = Kind::of(Medium::Tcp);
        let (medium, ground) = (Medium::Tcp, Ground::Either);
        Options { length, seed, nodes: 3, callers: 4, medium, ground, faults, keep: false, plan: false }
    }

    /// Reads the words after `chaos`; the error says what is wrong with them.
    pub(crate) fn parse(words: &[&str]) -> Result<Options, String> {
        let mut options = Options::new(Duration::from_secs(60), fresh_seed());
        let mut faults = None;
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            let (name, inline) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            match (name, inline) {
                ("--keep", None) => options.keep = true,
                ("--plan", None) => options.plan = true,
                ("--minutes" | "--seed" | "--nodes" | "--callers" | "--channel" | "--network" | "--faults", _) => {
                    let value = inline.or_else(|| words.next().copied());
                    let value = value.ok_or_else(|| format!("{name} needs a value"))?;
                    match name {
                        "--minutes" => options.length = minutes(value)?,
                        "--seed" => {
                            options.seed = value.parse().map_err(|_| format!("--seed is a number, not {value:?}"))?;
                        }
                        "--nodes" => options.nodes = count(name, value, 3, NODES_MAX)?,
                        "--callers" => options.callers = count(name, value, 1, CALLERS_MAX)?,
                        "--network" => options.ground = Ground::parse(value)?,
                        "--channel" => options.medium = Medium::parse(value)?,
                        _ => faults = Some(value),
                    }
                }
                _ => return Err(format!("there is no option {word:?}")),
            }
        }
        options.faults = Kind::of(options.medium);
        if let Some(words) = faults {
            options.faults =
                words.split(',').map(|word| Kind::parse(word, options.medium)).collect::<Result<_, _>>()?;
            options.faults.sort_unstable();
            options.faults.dedup();
        }
        Ok(options)
    }
}

impl Ground {
    fn parse(word: &str) -> Result<Ground, String> {
        match word {
            "proxies" => Ok(Ground::Proxies),
            "namespaces" => Ok(Ground::Namespaces),
            other => Err(format!("--network is proxies or namespaces, not {other:?}")),
        }
    }

    pub(crate) fn word(self) -> Option<&'static str> {
        match self {
            Ground::Proxies => Some("proxies"),
            Ground::Namespaces => Some("namespaces"),
            Ground::Either => None,
        }
    }
}

impl Medium {
    fn parse(word: &str) -> Result<Medium, String> {
        match word {
            "tcp" => Ok(Medium::Tcp),
            "redis" => Ok(Medium::Redis),
            "relay" => Ok(Medium::Relay),
            other => Err(format!("--channel is tcp, redis or relay, not {other:?}")),
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Medium::Tcp => "tcp",
            Medium::Redis => "redis",
            Medium::Relay => "relay",
        }
    }
}

fn minutes(value: &str) -> Result<Duration, String> {
    match value.parse::<f64>() {
        Ok(minutes) if minutes > 0.0 && minutes <= MINUTES_MAX => Ok(Duration::from_secs_f64(minutes * 60.0)),
        _ => Err(format!("--minutes is a number above 0 and at most {MINUTES_MAX}, not {value:?}")),
    }
}

fn count(name: &str, value: &str, min: usize, max: usize) -> Result<usize, String> {
    match value.parse() {
        Ok(count) if (min..=max).contains(&count) => Ok(count),
        _ => Err(format!("{name} is a number from {min} to {max}, not {value:?}")),
    }
}

fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    // Short, as people type it again.
    now.as_nanos() as u64 % 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_in_both_forms() {
        let words = ["--minutes", "0.5", "--seed=7", "--nodes", "5", "--channel=relay", "--faults", "wipe,kill,wipe"];
        let options = Options::parse(&words).expect("they are good");
        assert_eq!((options.length, options.seed, options.nodes), (Duration::from_secs(30), 7, 5));
        assert_eq!((options.medium, options.faults), (Medium::Relay, vec![Kind::Kill, Kind::Wipe]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |words: &[&str]| Options::parse(words).expect_err("it is wrong");
        assert_eq!(error(&["--minutes"]), "--minutes needs a value");
        assert!(error(&["--minutes", "-1"]).contains("\"-1\""));
        assert!(error(&["--nodes", "2"]).contains("from 3 to 7"));
        assert!(error(&["--channel", "udp"]).contains("tcp, redis or relay"));
        assert!(error(&["--faults", "server"]).contains("tcp"));
        assert!(error(&["--faults", "flood"]).contains("kill, end, pause"));
        assert_eq!(error(&["--keep=1"]), "there is no option \"--keep=1\"");
    }
}
