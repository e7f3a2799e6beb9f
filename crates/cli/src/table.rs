//! The nodes in a table, and whether they agree.

use std::fmt;

use conflux::json::JsonNode;
use conflux::status::{Role, Status};
use conflux_core::{Digest, Index};
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// How every node is, side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// The place at which the digests were taken.
    pub(crate) at: Index,
    pub(crate) rows: Vec<Row>,
}

/// A node, and how it is unless it is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) up: Option<Up>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Up {
    pub(crate) role: String,
    pub(crate) term: u64,
    pub(crate) index: Index,
    /// Absent where the node does not hold so old a state any more.
    pub(crate) digest: Option<Digest>,
    /// What it waits for, or why it stopped.
    pub(crate) notice: Option<String>,
    /// Whether it has a vote; only a node that runs has one.
    pub(crate) votes: bool,
    /// It stopped by itself.
    pub(crate) stopped: bool,
}

impl Table {
    /// The nodes as they are, compared at the highest place that all of them have reached.
    pub(crate) fn of(cluster: &Cluster) -> Table {
        let at = cluster.lowest();
        Table::with(cluster, at, |node| node.digest_at(at))
    }

    /// The nodes as they are, without the digests of their states.
    pub(crate) fn uncompared(cluster: &Cluster) -> Table {
        Table::with(cluster, cluster.lowest(), |_| None)
    }

    fn with(cluster: &Cluster, at: Index, digest: impl Fn(&dyn JsonNode) -> Option<Digest>) -> Table {
        let rows = cluster
            .seats()
            .iter()
            .map(|seat| {
                let up = seat.node.as_ref().map(|node| {
                    let status = node.status();
                    Up {
                        role: status.role.to_string(),
                        term: status.term,
                        index: status.index,
                        digest: digest(&**node),
                        votes: votes(status.role),
                        stopped: status.stopped.is_some(),
                        notice: notice(status, seat.wiped),
                    }
                });
                Row { id: seat.name.to_string(), up }
            })
            .collect();
        Table { at, rows }
    }

    fn up(&self) -> impl Iterator<Item = &Up> {
        self.rows.iter().filter_map(|row| row.up.as_ref())
    }

    /// Whether two nodes hold different states at the same place.
    pub(crate) fn is_split(&self) -> bool {
        let mut digests = self.up().filter_map(|up| up.digest);
        let first = digests.next();
        digests.any(|digest| Some(digest) != first)
    }

    /// Whether a node stopped by itself.
    pub(crate) fn has_stopped(&self) -> bool {
        self.up().any(|up| up.stopped)
    }

    pub(crate) fn to_json(&self) -> Value {
        let row = |row: &Row| match &row.up {
            None => json!({"id": row.id, "role": "down"}),
            Some(up) => {
                let mut value =
                    json!({"id": row.id, "role": up.role, "term": up.term, "index": up.index, "votes": up.votes});
                if let Some(notice) = &up.notice {
                    value["notice"] = notice.as_str().into();
                }
                value
            }
        };
        self.rows.iter().map(row).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["id".to_owned(), "role".into(), "term".into(), "index".into(), format!("digest at {}", self.at)];
        let cells: Vec<[String; 5]> = std::iter::once(header).chain(self.rows.iter().map(Row::cells)).collect();
        let width = |column: usize| cells.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
        let [id, role, term, index] = [0, 1, 2, 3].map(width);
        for (nth, cells) in cells.iter().enumerate() {
            let line = format!(
                "{:id$}  {:role$}  {:>term$}  {:>index$}  {}",
                cells[0], cells[1], cells[2], cells[3], cells[4]
            );
            let end = if nth == self.rows.len() { "" } else { "\n" };
            write!(f, "{}{end}", line.trim_end())?;
        }
        for row in &self.rows {
            if let Some(notice) = row.up.as_ref().and_then(|up| up.notice.as_ref()) {
                write!(f, "\n{}: {notice}", row.id)?;
            }
        }
        if self.is_split() {
            write!(f, "\nthe nodes hold different states at index {}: the container is not deterministic", self.at)?;
        }
        Ok(())
    }
}

fn votes(role: Role) -> bool {
    matches!(role, Role::Leader | Role::Follower | Role::Candidate)
}

/// What a node waits for whose disk was emptied.
pub(crate) const LET_IN: &str = "to be let in again as a new node, for which a majority of the cluster must be up";

/// What is to be said of a node besides its row.
fn notice(status: Status, wiped: bool) -> Option<String> {
    match status.role {
        _ if status.stopped.is_some() => status.stopped,
        // It knows of no cluster; we do.
        Role::Waiting if wiped => Some(format!("waits {LET_IN}")),
        role if wiped && !votes(role) => {
            let waits = status.notice.map(|notice| format!(": {notice}")).unwrap_or_default();
            Some(format!("has joined again as a new node, and has no vote yet{waits}"))
        }
        _ => status.notice,
    }
}

impl Row {
    fn cells(&self) -> [String; 5] {
        let dash = || "-".to_owned();
        match &self.up {
            None => [self.id.clone(), "down".into(), dash(), dash(), dash()],
            Some(up) => [
                self.id.clone(),
                up.role.clone(),
                up.term.to_string(),
                up.index.to_string(),
                up.digest.map_or_else(dash, |digest| digest.to_string()),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(index: u64, digest: Option<u128>) -> Up {
        Up {
            role: "follower".into(),
            term: 2,
            index: Index(index),
            digest: digest.map(Digest),
            notice: None,
            votes: true,
            stopped: false,
        }
    }

    fn table(rows: Vec<Option<Up>>) -> Table {
        let rows = rows.into_iter().zip(["a", "b", "c"]).map(|(up, id)| Row { id: id.into(), up }).collect();
        Table { at: Index(12), rows }
    }

    #[test]
    fn columns_line_up() {
        let text = table(vec![Some(up(12, Some(0xab))), None, Some(up(1200, None))]).to_string();
        assert_eq!(
            text,
            "id  role      term  index  digest at 12\n\
             a   follower     2     12  000000000000000000000000000000ab\n\
             b   down         -      -  -\n\
             c   follower     2   1200  -"
        );
    }

    #[test]
    fn only_digests_that_are_known_can_differ() {
        assert!(!table(vec![Some(up(12, Some(1))), None, Some(up(12, None))]).is_split());
        assert!(!table(vec![None, None, None]).is_split());
        let split = table(vec![Some(up(12, None)), Some(up(12, Some(1))), Some(up(12, Some(2)))]);
        assert!(split.is_split());
        assert!(split.to_string().ends_with("at index 12: the container is not deterministic"));
    }
}
