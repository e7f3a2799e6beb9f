//! What lies between the nodes: proxies on this machine's loopback, or a network namespace for each.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::plan::Way;
use super::proxy::{Counts, Link};
use super::spaces::Spaces;

/// What the way from one node to another does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Pass,
    /// Nothing goes there, and who tries is told so.
    Cut,
    /// What goes there gets lost or waits, and nobody is told.
    Stall,
    /// What goes there is late: a chunk takes so long, or a link takes so much.
    Slow(Duration),
}

/// What nodes have between them.
pub(super) enum Network {
    Proxies(Vec<Proxied>),
    Spaces(Spaces),
}

/// A way from a node: to another one, or to the server that all of them dial.
pub(super) struct Proxied {
    from: usize,
    to: Option<usize>,
    link: Link,
}

/// Between whom there are ways, and where those listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between<'a> {
    Nodes(&'a [u16]),
    /// Each node and the server.
    Server(u16),
}

impl Network {
    /// A proxy for each way from a node to another one, or to the server.
    pub(super) fn proxies(nodes: usize, between: Between<'_>) -> Result<Network, String> {
        let open = |to| Link::open(to).map_err(|error| format!("a link cannot be opened: {error}"));
        let mut links = Vec::new();
        for from in 0..nodes {
            match between {
                Between::Server(port) => links.push(Proxied { from, to: None, link: open(port)? }),
                Between::Nodes(ports) => {
                    for (to, port) in ports.iter().enumerate().filter(|(to, _)| *to != from) {
                        links.push(Proxied { from, to: Some(to), link: open(*port)? });
                    }
                }
            }
        }
        Ok(Network::Proxies(links))
    }

    /// The address of a node's own.
    pub(super) fn host(&self, at: usize) -> String {
        match self {
            Network::Proxies(_) => "127.0.0.1".to_owned(),
            Network::Spaces(spaces) => spaces.host(at),
        }
    }

    /// The address of the server's own.
    pub(super) fn server_host(&self) -> String {
        match self {
            Network::Proxies(_) => "127.0.0.1".to_owned(),
            Network::Spaces(spaces) => spaces.server_host(),
        }
    }

    /// What a node dials to reach another one, or the server, which listens at `port`.
    pub(super) fn dialled(&self, from: usize, to: Option<usize>, port: u16) -> String {
        match self {
            Network::Proxies(links) => {
                let found = links.iter().find(|between| between.from == from && between.to == to);
                format!("127.0.0.1:{}", found.expect("there is one for each way").link.port())
            }
            Network::Spaces(spaces) => {
                format!("{}:{port}", to.map_or_else(|| spaces.server_host(), |to| spaces.host(to)))
            }
        }
    }

    /// Whether others than this machine could reach the nodes, by their addresses.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Network::Spaces(_))
    }

    /// A program that runs where a node is.
    pub(super) fn command(&self, at: usize, program: &Path) -> Command {
        match self {
            Network::Proxies(_) => Command::new(program),
            Network::Spaces(spaces) => spaces.command(at, program),
        }
    }

    /// Sets the ways between these nodes and the rest.
    pub(super) fn set(&self, side: &BTreeSet<usize>, way: Way, mode: Mode) -> Result<(), String> {
        match self {
            Network::Proxies(links) => {
                for Proxied { from, to, link } in links {
                    if is_hit(side, way, *from, *to) {
                        link.set(mode);
                    }
                }
                Ok(())
            }
            Network::Spaces(spaces) => spaces.set(side, way, mode),
        }
    }

    /// Everything passes.
    pub(super) fn heal(&self) -> Result<(), String> {
        match self {
            Network::Proxies(links) => {
                links.iter().for_each(|between| between.link.set(Mode::Pass));
                Ok(())
            }
            Network::Spaces(spaces) => spaces.heal(),
        }
    }

    /// What has happened so far.
    pub(super) fn counts(&self) -> Counts {
        match self {
            Network::Proxies(links) => {
                links.iter().map(|between| between.link.counts()).fold(Counts::default(), Counts::plus)
            }
            Network::Spaces(spaces) => spaces.counts(),
        }
    }

    /// What [`Counts`] counts here: what was cut, what was stalled, what was slowed.
    pub(super) fn words(&self) -> [&'static str; 3] {
        match self {
            Network::Proxies(_) => ["connections broken", "chunks held up", "chunks late"],
            Network::Spaces(_) => ["packets without a route", "segments sent again", "packets late"],
        }
    }
}

/// Whether the way from one to another, or to the server, is between these nodes and the rest.
pub(super) fn is_hit(side: &BTreeSet<usize>, way: Way, from: usize, to: Option<usize>) -> bool {
    let out = side.contains(&from) && to.is_none_or(|to| !side.contains(&to));
    let back = !side.contains(&from) && to.is_some_and(|to| side.contains(&to));
    match way {
        Way::Both => out || back,
        Way::Out => out,
        // To a server, a node has one connection for both ways.
        Way::In => back || (out && to.is_none()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_hits_the_ways_across_it_and_no_other() {
        let side = BTreeSet::from([0, 1]);
        let hit = |way| {
            let pairs = (0..3).flat_map(|from| (0..3).map(move |to| (from, to))).filter(|(from, to)| from != to);
            pairs.filter(|(from, to)| is_hit(&side, way, *from, Some(*to))).collect::<Vec<_>>()
        };
        assert_eq!(hit(Way::Both), [(0, 2), (1, 2), (2, 0), (2, 1)]);
        assert_eq!(hit(Way::Out), [(0, 2), (1, 2)]);
        assert_eq!(hit(Way::In), [(2, 0), (2, 1)]);
        for way in [Way::Both, Way::Out, Way::In] {
            assert!(is_hit(&side, way, 1, None) && !is_hit(&side, way, 2, None), "{way:?}");
        }
    }
}
