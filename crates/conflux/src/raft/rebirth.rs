//! A disk is read without an engine, and made the beginning of a cluster of one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use conflux_core::{Batch, Container, Index, NodeName, Store};
use openraft::{EmptyNode, LogIdOptionExt};

use super::log::{entry_id, from_disk, head_of, log_id, meta_of};
use super::rpc::Message;
use super::types::{
    CommittedLeaderId, EngineVote, LeaderId, LogId, Member, Membership, Payload, SnapshotMeta, StoredMembership,
};
use crate::disk::{Change, Contents, Journal};
use crate::identity::Identity;
use crate::stop::Stop;

/// Everything that one disk holds, taken as committed.
pub(crate) struct Held<C: Container> {
    pub(crate) store: Store<C>,
    /// How far its node knew the history to be committed.
    pub(crate) committed: Index,
    /// The names of the voters, by the newest membership in it.
    pub(crate) voters: BTreeSet<NodeName>,
    /// The last entry of its log.
    last: Option<LogId>,
    /// The term that its node was in.
    term: u64,
}

impl<C: Container> Held<C> {
    /// Nothing but a store, from elsewhere.
    pub(crate) fn of(store: Store<C>) -> Held<C> {
        let committed = store.index();
        Held { store, committed, voters: BTreeSet::new(), last: None, term: 0 }
    }

    /// Reads a disk: its snapshot, and every entry of its log behind that.
    pub(crate) fn read(container: Arc<C>, contents: Contents) -> Result<Held<C>, Stop> {
        let mut store = Store::new(container.clone());
        let (mut last, mut membership) = (contents.purged.map(log_id), StoredMembership::default());
        if let Some(kept) = &contents.snapshot {
            store = Store::restore(container, &kept.bytes.read_all()?)?;
            let meta = meta_of(&kept.head)?;
            (last, membership) = (meta.last_log_id, meta.last_membership);
        }
        let known = contents.committed.map(log_id).max(last);
        let (snapshot, mut committed) = (last, store.index());
        for entry in contents.entries {
            let entry = from_disk(entry)?;
            if Some(entry.log_id) <= snapshot {
                continue;
            }
            match entry.payload {
                Payload::Blank => {}
                Payload::Normal(proposal) => {
                    store.apply(&Batch::decode(&proposal.bytes)?, |_, _, _| {})?;
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
        Ok(Held { store, committed, voters, last, term })
    }
}

/// Makes a disk the beginning of a cluster of one: `me`, which alone votes. What was on it before is gone afterwards, but
/// for what is in `held`.
///
/// The identity comes first. Cut off behind it, the node belongs to a cluster of which it knows nothing, as a member that
/// no other cluster's log names: it acknowledges nothing, votes for nobody and founds nothing, until this is done again.
pub(crate) fn begin<C: Container>(
    journal: &Arc<dyn Journal>,
    held: Held<C>,
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
    draft.write(&held.store.save()?)?;
    draft.finish()?.keep()?;
    journal.write_now(Change::Purge(entry_id(last)))?;
    let vote =
        EngineVote { leader_id: LeaderId { term: last.leader_id.term, voted_for: me.clone() }, committed: false };
    journal.write_now(Change::Vote(vote.encode()))?;
    Ok(())
}
