//! Promise 1: a node that is where the history is shows the state that it comes to, with the same digest; in the end all are.

use conflux::Digest;

use crate::observed::Trail;
use crate::wrong::{Checked, hold};

/// Where a node is: its place, the way there, and what its state digests to, if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stand {
    pub(crate) index: u64,
    pub(crate) trail: Trail,
    pub(crate) digest: Option<Digest>,
}

/// What a node shows, and what is committed.
pub(crate) fn is_one(name: &str, shown: Stand, committed: Stand) -> Checked {
    let said = |Stand { index, trail, digest }: Stand| {
        let digest = digest.map_or_else(|| "no digest".to_owned(), |digest| format!("digest {digest}"));
        format!("{index}, by the way {trail}, with {digest}")
    };
    let (node, history) = (said(shown), said(committed));
    hold!(OneHistory, shown == committed, "{name} is at {node}; what is committed comes to {history}");
    Ok(())
}

/// Actions reduced one by one lead to one state, and as a batch to another.
pub(crate) fn one_by_one(one: Trail, other: Trail) -> Checked {
    hold!(OneHistory, one == other, "reduced one by one, actions lead to {one}, and as a batch to {other}");
    Ok(())
}

/// A node of another version was started on data of this one: it goes on from nothing of it.
pub(crate) fn of_another_version(name: &str, index: u64) -> Checked {
    hold!(OneHistory, index == 0, "{name}, of another version, took up what this one's had left, and came to {index}");
    Ok(())
}
