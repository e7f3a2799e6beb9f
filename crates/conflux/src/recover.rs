//! A cluster that cannot go on by itself is begun anew, while no node of it runs: from what one node of a lost majority
//! holds, or from a backup.
//!
//! Either way it is another cluster, of one node, and the next generation of the history. Nodes of the old cluster that
//! come back are refused. Others join with empty disks, as ever; who had a vote gets it again once it has caught up.

use std::collections::BTreeSet;
use std::sync::Arc;

use conflux_core::store::GENERATION_MAX;
use conflux_core::{Container, Incarnation, Index, NodeName, Random, RosterChange, Store};

use crate::backup::{Backup, BackupError};
use crate::disk::Disk;
use crate::identity::Identity;
use crate::message::{Propose, Source};
use crate::raft::{Held, Member, begin};
use crate::stop::Stop;

/// What a cluster was begun anew from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The cluster that it was, and 0 for none.
    pub was: u64,
    /// The cluster that it is.
    pub cluster: u64,
    /// The generation that begins, by the name that was drawn for it.
    pub generation: u64,
    /// The place up to which everything is there.
    pub index: Index,
    /// The place up to which the node knew the history to be committed. What is between may never have been answered; it
    /// counts as committed from here on.
    pub committed: Index,
    /// Who voted.
    pub voters: BTreeSet<NodeName>,
}

/// Why a cluster could not be begun anew. Where the disk failed in the middle, the node serves nobody until it is done
/// again; otherwise nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// There is nothing to recover from.
    #[error("the disk is empty: there is nothing to recover; a backup is restored onto it by `restore`")]
    Empty,
    /// There is something that would be lost.
    #[error(
        "the disk holds the data of cluster {0:016x} already: restore onto an empty one, and move this one away first"
    )]
    NotEmpty(u64),
    /// The backup is no good.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The disk cannot be used.
    #[error("the disk cannot be used: {0}")]
    Stop(#[from] Stop),
}

/// Begins a cluster of one node with everything that its disk holds, because the majority is lost for good. With
/// `dry_run`, only says what would be.
///
/// What other nodes committed and this one had not received yet is lost. Choose the disk whose index is the highest.
///
/// # Errors
/// When the disk is in use, damaged, another node's, or empty.
pub fn recover<C: Container>(
    container: C,
    id: &str,
    disk: &dyn Disk,
    dry_run: bool,
) -> Result<Recovered, RecoverError> {
    let container = Arc::new(container);
    let (mut contents, journal) = disk.open(id).map_err(Stop::from)?;
    let identity = contents.identity.take().ok_or(RecoverError::Empty)?;
    let identity = Identity::decode(&identity);
    let identity = identity.map_err(|error| Stop::Contents("the identity".into(), error.to_string()))?;
    if contents.entries.is_empty() && contents.snapshot.is_none() {
        return Err(RecoverError::Empty);
    }
    let held = Held::read(container, contents)?;
    let planned = plan(id, held, identity.cluster);
    if !dry_run {
        begin(&journal, planned.held, &planned.me, planned.recovered.cluster)?;
    }
    journal.close();
    Ok(planned.recovered)
}

/// Begins a cluster of one node with a backup, on an empty disk.
///
/// # Errors
/// When the backup is of another container, or the disk is not empty or cannot be used.
pub fn restore<C: Container>(
    container: C,
    id: &str,
    disk: &dyn Disk,
    backup: &Backup,
) -> Result<Recovered, RecoverError> {
    let store = backup.store(Arc::new(container))?;
    let (contents, journal) = disk.open(id).map_err(Stop::from)?;
    // An identity alone is what an attempt leaves that was cut off.
    let is_empty = contents.entries.is_empty() && contents.snapshot.is_none() && contents.purged.is_none();
    if let Some(identity) = contents.identity.filter(|_| !is_empty) {
        let identity = Identity::decode(&identity);
        let identity = identity.map_err(|error| Stop::Contents("the identity".into(), error.to_string()))?;
        return Err(RecoverError::NotEmpty(identity.cluster));
    }
    let planned = plan(id, Held::of(store), backup.cluster);
    begin(&journal, planned.held, &planned.me, planned.recovered.cluster)?;
    journal.close();
    Ok(planned.recovered)
}

struct Planned<C: Container> {
    held: Held<C>,
    me: Member,
    recovered: Recovered,
}

fn plan<C: Container>(id: &str, mut held: Held<C>, was: u64) -> Planned<C> {
    let mut random = Random::new(rand::random());
    let me = Member { name: id.into(), incarnation: Incarnation(random.next_u64()) };
    let (version, code) = (held.store.container().version(), held.store.container().code());
    let propose =
        Propose { founders: BTreeSet::from([me.clone()]), nonce: random.next_u64(), source: Source { version, code } };
    // Who voted is meant to vote again. One that voted beyond what is allowed cannot have.
    let named = BTreeSet::from([me.name.clone()]);
    let mut roster = held.store.roster().clone();
    for name in held.voters.iter().chain(&named) {
        roster = roster.after(&RosterChange::Seat(name.clone()), &named).unwrap_or(roster);
    }
    // Drawn, so that a backup that is restored twice gives two generations.
    let generation = (random.next_u64() & GENERATION_MAX).max(1);
    let recovered = Recovered {
        was,
        cluster: propose.id(),
        generation,
        index: held.store.index(),
        committed: held.committed,
        voters: held.voters.clone(),
    };
    held.store = Store::reborn(held.store, generation, roster);
    Planned { held, me, recovered }
}
