//! A disk is read without an engine, and made the beginning of a cluster of one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use conflux_core::{Applied, Batch, Code, Container, Failure, Halt, Index, NodeName, Origins, Store};
use openraft::{EmptyNode, LogIdOptionExt};

use super::log::{entry_id, from_disk, head_of, log_id, meta_of};
use super::rpc::Message;
use super::types::{
    CommittedLeaderId, EngineVote, LeaderId, LogId, Member, Membership, Payload, SnapshotMeta, StoredMembership,
};
use crate::disk::{Change, Contents, Journal};
use crate::identity::Identity;
use crate::message::Source;
use crate::stop::Stop;

/// Everything that one disk holds, taken as committed.
pub(crate) struct Held<C: Container> {
    pub(crate) store: Store<C>,
    /// How far its node knew the history to be committed.
    pub(crate) committed: Index,
    /// The names of the voters, by the newest membership in it.
    pub(crate) voters: BTreeSet<NodeName>,
    /// What made it, where that is another version or other code than the container's.
    pub(crate) made_by: Option<Source>,
    /// The place up to which the state is as it was saved.
    pub(crate) saved: Index,
    /// The last entry of its log.
    last: Option<LogId>,
    /// The term that its node was in.
    term: u64,
}

/// Data that cannot be taken up.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// They cannot be used by anybody, or not by a node.
    Stop(Stop),
    /// They are whole, and not what this code can read or reduce.
    Code {
        /// The place behind which that is.
        index: Index,
        /// What is wrong.
        what: String,
    },
}

impl<E: Into<Stop>> From<E> for Unfit {
    fn from(error: E) -> Self {
        Unfit::Stop(error.into())
    }
}

impl Unfit {
    /// What went wrong at a place; by the code that made the data it could not.
    fn at<E: std::fmt::Display + Into<Stop>>(code: Code, index: Index, error: E) -> Unfit {
        match code {
            Code::Same => Unfit::Stop(error.into()),
            Code::Changed => Unfit::Code { index, what: error.to_string() },
        }
    }
}

impl<C: Container> Held<C> {
    /// Nothing but a store, from elsewhere.
    pub(crate) fn of(store: Store<C>) -> Held<C> {
        let committed = store.index();
        Held { store, committed, voters: BTreeSet::new(), made_by: None, saved: committed, last: None, term: 0 }
    }

    /// Reads a disk: its snapshot, and every entry of its log behind that.
    pub(crate) fn read(container: Arc<C>, contents: Contents, code: Code) -> Result<Held<C>, Unfit> {
        let source = Source { version: container.version(), code: container.code() };
        let mut made_by = None;
        let mut made =
            |version, code| made_by = Some(Source { version, code }).filter(|came| *came != source).or(made_by);
        let mut store = Store::new(container.clone());
        let (mut last, mut membership) = (contents.purged.map(log_id), StoredMembership::default());
        if let Some(kept) = &contents.snapshot {
            let bytes = kept.bytes.read_all()?;
            let origins = Origins::of_snapshot(&bytes)?;
            made(origins.version, origins.code);
            let restored = Store::restore_by(container, &bytes, code);
            store = restored.map_err(|error| Unfit::at(code, origins.index, error))?;
            let meta = meta_of(&kept.head)?;
            (last, membership) = (meta.last_log_id, meta.last_membership);
        }
        let known = contents.committed.map(log_id).max(last);
        let (snapshot, saved, mut committed) = (last, store.index(), store.index());
        for entry in contents.entries {
            let entry = from_disk(entry)?;
            if Some(entry.log_id) <= snapshot {
                continue;
            }
            match entry.payload {
                Payload::Blank => {}
                Payload::Normal(proposal) => {
                    let header = Batch::<C>::peek(&proposal.bytes)?;
                    if code == Code::Same {
                        // Before it is decoded: that may fail by nothing but the difference.
                        Halt::check_code(&**store.container(), header.version, header.code)?;
                    }
                    let behind = store.index();
                    let batch = Batch::decode(&proposal.bytes).map_err(|error| Unfit::at(code, behind, error))?;
                    let applied = store.apply_by(&batch, code, |_, _, _| {}).map_err(|halt| match halt {
                        Halt::Reducer { index, failure } => Unfit::at(code, index, Failed(index, failure)),
                        halt => halt.into(),
                    })?;
                    if !matches!(applied, Applied::Skipped) {
                        made(header.version, header.code);
                    }
                }
                Payload::Membership(changed) => membership = StoredMembership::new(Some(entry.log_id), changed),
            }
            last = Some(entry.log_id);
            if last <= known {
                committed = store.index();
            }
        }
        let vote = contents.vote.map(|vote| EngineVote::decode(&vote)).transpose();
        let vote = vote.map_err(|error| Stop::Contents("the vote".into(), error.to_string()))?;
        let term = vote.map_or(0, |vote| vote.leader_id.term).max(last.map_or(0, |last| last.leader_id.term));
        let voters = membership.membership().voter_ids().map(|member| member.name).collect();
        Ok(Held { store, committed, voters, made_by, saved, last, term })
    }

    /// The term of the last entry.
    pub(crate) fn last_term(&self) -> u64 {
        self.last.map_or(0, |last| last.leader_id.term)
    }

    /// Which other version or code made what a disk holds. Only looks at what is said of it.
    pub(crate) fn other_code(container: &C, contents: Contents) -> Result<Option<Halt>, Stop> {
        let mut snapshot = contents.purged.map(log_id);
        if let Some(kept) = &contents.snapshot {
            let origins = Origins::of_snapshot(&kept.bytes.read_all()?)?;
            if let Err(halt) = Halt::check_code(container, origins.version, origins.code) {
                return Ok(Some(halt));
            }
            snapshot = meta_of(&kept.head)?.last_log_id;
        }
        for entry in contents.entries {
            let entry = from_disk(entry)?;
            if let Payload::Normal(proposal) = entry.payload
                && Some(entry.log_id) > snapshot
            {
                let header = Batch::<C>::peek(&proposal.bytes)?;
                if let Err(halt) = Halt::check_code(container, header.version, header.code) {
                    return Ok(Some(halt));
                }
            }
        }
        Ok(None)
    }

    /// The store as bytes, to be put on a disk. What another code made is read back first: it is this code's from now on,
    /// and what cannot be taken up again would be lost.
    pub(crate) fn save(&self, code: Code) -> Result<Vec<u8>, Unfit> {
        let index = self.store.index();
        let bytes = self.store.save().map_err(|error| Unfit::at(code, index, error))?;
        if code == Code::Changed {
            let again = Store::restore(self.store.container().clone(), &bytes);
            again.map_err(|error| Unfit::at(code, index, error))?;
        }
        Ok(bytes)
    }
}

/// A reducer that fails on what another one took. The words for the same of a running node would be wrong here.
struct Failed(Index, Failure);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the reducer fails: {}", self.1)
    }
}

impl From<Failed> for Stop {
    fn from(Failed(index, failure): Failed) -> Stop {
        Halt::Reducer { index, failure }.into()
    }
}

/// Makes a disk the beginning of a cluster of one: `me`, which alone votes. What was on it before is gone afterwards, but
/// for what is in `held`.
///
/// The identity comes first. Cut off behind it, the node belongs to a cluster of which it knows nothing, as a member that
/// no other cluster's log names: it acknowledges nothing, votes for nobody and founds nothing, until this is done again.
///
/// `saved` is the store of it, as [`Held::save`] gave it: what can fail there has to be over before this.
pub(crate) fn begin<C: Container>(
    journal: &Arc<dyn Journal>,
    held: &Held<C>,
    saved: &[u8],
    me: &Member,
    cluster: u64,
) -> Result<(), Stop> {
    journal.write_now(Change::Identity(Identity::founder(me.incarnation, cluster).encode()))?;
    // An entry that never was, behind all that were: it stands for the change to this membership.
    let leader_id = CommittedLeaderId { term: held.term.max(1) };
    let last = LogId { leader_id, index: held.last.next_index() };
    let nodes = BTreeMap::from([(me.clone(), EmptyNode {})]);
    let membership =
        Membership::new(vec![BTreeSet::from([me.clone()])], nodes).map_err(|error| Stop::Engine(error.to_string()))?;
    let meta = SnapshotMeta { last_log_id: Some(last), last_membership: StoredMembership::new(Some(last), membership) };
    let mut draft = journal.draft(head_of(&meta))?;
    draft.write(saved)?;
    draft.finish()?.keep()?;
    journal.write_now(Change::Purge(entry_id(last)))?;
    let vote =
        EngineVote { leader_id: LeaderId { term: last.leader_id.term, voted_for: me.clone() }, committed: false };
    journal.write_now(Change::Vote(vote.encode()))?;
    Ok(())
}
