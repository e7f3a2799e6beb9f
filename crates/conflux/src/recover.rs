//! A cluster that cannot go on by itself is begun anew, while no node of it runs: from what one node of a lost majority
//! holds, or from a backup.
//!
//! Either way it is another cluster, of one node, and the next generation of the history. Nodes of the old cluster that
//! come back are refused. Others join with empty disks, as ever; who had a vote gets it again once it has caught up.

use std::collections::BTreeSet;
use std::sync::Arc;

use conflux_core::store::GENERATION_MAX;
use conflux_core::{
    Code, Container, Digest, Halt, Incarnation, Index, NodeName, Random, RestoreError, RosterChange, Store,
};

use crate::backup::{Backup, BackupError};
use crate::disk::{Contents, Disk, Journal};
use crate::identity::Identity;
use crate::message::{Propose, Source};
use crate::raft::{Held, Member, Unfit, begin};
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
    /// The term of the last entry of its log. Of several nodes, the one with the highest term holds the most, and of those
    /// the one with the highest index; 0 for a backup.
    pub term: u64,
    /// Who voted.
    pub voters: BTreeSet<NodeName>,
    /// The node was removed from the cluster for good, as far as its own log says: what was committed since is not in it.
    pub removed: bool,
    /// What other code made, if any: see [`Recovery::changed`].
    pub changed: Option<Changed>,
}

/// What was made by another version or other code than the one that goes on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// That version.
    pub version: u32,
    /// The digest of that code.
    pub code: Digest,
    /// The place up to which the state is as that code saved it.
    pub saved: Index,
    /// How many actions behind that place are reduced by the code at hand.
    pub reduced: u64,
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
    /// Another version or other code of the container made the data.
    #[error("{0}; or go on with the one at hand: see `Recovery::changed`")]
    Changed(Halt),
    /// Another version or other code made the data, and the one at hand cannot go on with them.
    #[error(
        "this code cannot go on with what other code made: behind index {index}, {what}. Nothing was changed; the code that \
         made it goes on as before"
    )]
    Unfit {
        /// The place behind which it cannot.
        index: Index,
        /// What is wrong.
        what: String,
    },
    /// The backup is no good.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The disk cannot be used.
    #[error("the disk cannot be used: {0}")]
    Stop(#[from] Stop),
}

/// Begins a cluster of one node with everything that its disk holds, because the majority is lost for good. With
/// `dry_run`, only says what would be. The short form of [`Recovery::plan`] and [`Recovery::recover`].
///
/// What other nodes committed and this one had not received yet is lost. Choose the disk whose term is the highest, and of
/// those the one whose index is.
///
/// # Errors
/// When the disk is in use, damaged, another node's, or empty, and when another version or other code of the container made
/// what it holds.
pub fn recover<C: Container>(
    container: C,
    id: &str,
    disk: &dyn Disk,
    dry_run: bool,
) -> Result<Recovered, RecoverError> {
    let recovery = Recovery::new(container, id);
    if dry_run { recovery.plan(disk) } else { recovery.recover(disk) }
}

/// Begins a cluster of one node with a backup, on an empty disk. The short form of [`Recovery::restore`].
///
/// # Errors
/// When the backup is of another container, or the disk is not empty or cannot be used.
pub fn restore<C: Container>(
    container: C,
    id: &str,
    disk: &dyn Disk,
    backup: &Backup,
) -> Result<Recovered, RecoverError> {
    Recovery::new(container, id).restore(disk, backup)
}

/// Which other version or code made what a disk holds, if one did: a node with the container would be refused by it. Reads
/// what is said of the data, and not the data.
///
/// # Errors
/// When the disk is in use, damaged or another node's.
pub fn other_code<C: Container>(container: &C, id: &str, disk: &dyn Disk) -> Result<Option<Halt>, Stop> {
    let (contents, journal) = disk.open(id)?;
    let other = Held::other_code(container, contents);
    journal.close();
    other
}

/// A cluster is begun anew: with whose code, and for which node. Nothing of it may run meanwhile.
///
/// ```no_run
/// # use conflux::{Container, FileDisk, RecoverError, Recovery};
/// # fn f<C: Container>(container: C) -> Result<(), RecoverError> {
/// // The container was changed, and goes on with the data that it made before.
/// let recovery = Recovery::new(container, "a").changed(true);
/// let planned = recovery.plan(&FileDisk::new("./data/a"))?;
/// println!("{:?}", planned.changed);
/// recovery.recover(&FileDisk::new("./data/a"))?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Recovery<C: Container> {
    container: Arc<C>,
    id: NodeName,
    code: Code,
}

impl<C: Container> Recovery<C> {
    /// For a node that is called `id`, with the code that made the data.
    #[must_use]
    pub fn new(container: C, id: &str) -> Self {
        Recovery { container: Arc::new(container), id: id.into(), code: Code::Same }
    }

    /// With `true`, another version or other code of the container may have made the data.
    ///
    /// The state is then taken as it was saved last, and the actions behind it, which may be thousands, are reduced by the
    /// code at hand. A value that it cannot read (of the state, an action, a rejection that is remembered) or reduce
    /// refuses the whole, and nothing is changed. That the new state means the same is nobody's to check but yours. The
    /// generation is another one: nodes with the old code cannot meet it.
    #[must_use]
    pub fn changed(mut self, changed: bool) -> Self {
        self.code = if changed { Code::Changed } else { Code::Same };
        self
    }

    /// Says what [`recover`](Self::recover) would do, and tries all of it that can fail for the data's sake.
    ///
    /// # Errors
    /// As [`recover`](Self::recover).
    pub fn plan(&self, disk: &dyn Disk) -> Result<Recovered, RecoverError> {
        let (contents, journal) = disk.open(&self.id).map_err(Stop::from)?;
        let planned = self.held(contents).and_then(|(held, was)| self.planned(held, &was));
        journal.close();
        Ok(planned?.recovered)
    }

    /// Begins a cluster of one with everything that the node's disk holds: see [`recover`].
    ///
    /// # Errors
    /// When the disk is in use, damaged, another node's, or empty; when other code made what it holds, unless that is
    /// [meant](Self::changed), and then when this code cannot go on with it.
    pub fn recover(&self, disk: &dyn Disk) -> Result<Recovered, RecoverError> {
        let (contents, journal) = disk.open(&self.id).map_err(Stop::from)?;
        let planned = self.held(contents).and_then(|(held, was)| self.planned(held, &was));
        let done = planned.and_then(|planned| planned.begin(&journal));
        journal.close();
        done
    }

    /// The same, and the beginning is put onto another disk, which is empty. What was on the node's own stays as it was,
    /// for whoever wants to go back; it must not run beside the other.
    ///
    /// # Errors
    /// As [`recover`](Self::recover), and when the other disk is not empty or cannot be used.
    pub fn recover_onto(&self, disk: &dyn Disk, fresh: &dyn Disk) -> Result<Recovered, RecoverError> {
        let (contents, journal) = disk.open(&self.id).map_err(Stop::from)?;
        let planned = self.held(contents).and_then(|(held, was)| self.planned(held, &was));
        journal.close();
        self.begin_on(fresh, planned?)
    }

    /// Begins a cluster of one with a backup, on an empty disk.
    ///
    /// # Errors
    /// When the disk is not empty or cannot be used; when the backup is of other code, unless that is
    /// [meant](Self::changed), and then when this code cannot go on with it.
    pub fn restore(&self, disk: &dyn Disk, backup: &Backup) -> Result<Recovered, RecoverError> {
        let origins = backup.origins()?;
        let source = Source { version: origins.version, code: origins.code };
        if self.code == Code::Same {
            Halt::check_code(&*self.container, source.version, source.code).map_err(RecoverError::Changed)?;
        }
        let restored = Store::restore_by(self.container.clone(), &backup.store, self.code);
        let store = restored.map_err(|error| match self.code {
            Code::Same => RecoverError::Backup(error.into()),
            Code::Changed => RecoverError::Unfit { index: origins.index, what: error.to_string() },
        })?;
        let mut held = Held::of(store);
        held.made_by = Some(source).filter(|source| *source != self.source());
        // Of no disk: nobody was removed.
        self.begin_on(disk, self.planned(held, &Was { cluster: backup.cluster, removed: false })?)
    }

    fn source(&self) -> Source {
        Source { version: self.container.version(), code: self.container.code() }
    }

    /// What a disk holds, and what its node was.
    fn held(&self, mut contents: Contents) -> Result<(Held<C>, Was), RecoverError> {
        let identity = contents.identity.take().ok_or(RecoverError::Empty)?;
        let identity = identity_of(&identity)?;
        if contents.entries.is_empty() && contents.snapshot.is_none() {
            return Err(RecoverError::Empty);
        }
        let held = Held::read(self.container.clone(), contents, self.code)?;
        let roster = held.store.roster();
        // One that was moved is another incarnation than the one that was removed.
        let moved = || roster.has_removed(&self.id) && !held.voters.contains(&self.id);
        let removed = roster.is_removed(&self.id, identity.incarnation) || moved();
        Ok((held, Was { cluster: identity.cluster, removed }))
    }

    fn begin_on(&self, disk: &dyn Disk, planned: Planned<C>) -> Result<Recovered, RecoverError> {
        let (contents, journal) = disk.open(&self.id).map_err(Stop::from)?;
        // An identity alone is what an attempt leaves that was cut off.
        let is_empty = contents.entries.is_empty() && contents.snapshot.is_none() && contents.purged.is_none();
        let done = match contents.identity.filter(|_| !is_empty).map(|identity| identity_of(&identity)) {
            None => planned.begin(&journal),
            Some(identity) => identity.and_then(|identity| Err(RecoverError::NotEmpty(identity.cluster))),
        };
        journal.close();
        done
    }

    fn planned(&self, mut held: Held<C>, was: &Was) -> Result<Planned<C>, RecoverError> {
        #[expect(clippy::disallowed_methods, reason = "a cluster that begins anew is like no other")]
        let mut random = Random::new(rand::random());
        let me = Member { name: self.id.clone(), incarnation: Incarnation(random.next_u64()) };
        let founders = BTreeSet::from([me.clone()]);
        let propose = Propose { founders, nonce: random.next_u64(), source: self.source() };
        // Who voted is meant to vote again. One that voted beyond what is allowed cannot have.
        let named = BTreeSet::from([me.name.clone()]);
        let mut roster = held.store.roster().clone();
        for name in held.voters.iter().chain(&named) {
            roster = roster.after(&RosterChange::Seat(name.clone()), &named).unwrap_or(roster);
        }
        // Drawn, so that a backup that is restored twice gives two generations.
        let generation = (random.next_u64() & GENERATION_MAX).max(1);
        let index = held.store.index();
        let changed = held.made_by.map(|Source { version, code }| Changed {
            version,
            code,
            saved: held.saved,
            reduced: index.0 - held.saved.0,
        });
        let recovered = Recovered {
            was: was.cluster,
            cluster: propose.id(),
            generation,
            index,
            committed: held.committed,
            term: held.last_term(),
            voters: held.voters.clone(),
            removed: was.removed,
            changed,
        };
        held.store = Store::reborn(held.store, generation, roster);
        let saved = held.save(self.code)?;
        Ok(Planned { held, saved, me, recovered })
    }
}

fn identity_of(bytes: &[u8]) -> Result<Identity, RecoverError> {
    let identity = Identity::decode(bytes);
    Ok(identity.map_err(|error| Stop::Contents("the identity".into(), error.to_string()))?)
}

impl From<Unfit> for RecoverError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Code { index, what } => RecoverError::Unfit { index, what },
            Unfit::Stop(Stop::Halt(halt) | Stop::Restore(RestoreError::Halt(halt))) if halt.is_other_code() => {
                RecoverError::Changed(halt)
            }
            Unfit::Stop(stop) => RecoverError::Stop(stop),
        }
    }
}

/// What a node was, by its disk.
struct Was {
    cluster: u64,
    removed: bool,
}

struct Planned<C: Container> {
    held: Held<C>,
    saved: Vec<u8>,
    me: Member,
    recovered: Recovered,
}

impl<C: Container> Planned<C> {
    fn begin(self, journal: &Arc<dyn Journal>) -> Result<Recovered, RecoverError> {
        begin(journal, &self.held, &self.saved, &self.me, self.recovered.cluster)?;
        Ok(self.recovered)
    }
}
