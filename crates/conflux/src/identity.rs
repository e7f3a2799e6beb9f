//! What a node must remember of itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use conflux_core::Incarnation;
use conflux_core::codec::{CodecError, Reader, Writer};

use crate::disk::{Change, Contents, DiskError, Journal};
use crate::message::{Propose, Source};
use crate::stop::Stop;

/// What a node must remember of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) incarnation: Incarnation,
    /// How often it was opened: each opening has sessions of its own.
    pub(crate) starts: u64,
    /// The founder set it is pledged to. With `cluster` set to its id: the founding is to be written into the log.
    pub(crate) pledge: Option<Propose>,
    /// The pledge from which a new incarnation of its proposer freed this node. The one before it may have founded with
    /// others all the same; then this node is waited for.
    pub(crate) freed: Option<Propose>,
    /// The cluster it belongs to; 0 for none.
    pub(crate) cluster: u64,
    /// What it ran when it came to belong to it: until there is a batch in its log, nothing else says so.
    pub(crate) source: Option<Source>,
}

const VERSION: u8 = 2;
/// Without the source.
const VERSION_1: u8 = 1;

impl Identity {
    /// A node that nobody knows yet.
    pub(crate) fn new(incarnation: Incarnation) -> Identity {
        Identity { incarnation, starts: 0, pledge: None, freed: None, cluster: 0, source: None }
    }

    /// The one that takes over another's data: it belongs to the cluster that the log is of, and owes nothing that the
    /// other promised. A founding of which nothing is in the log is not its own.
    fn successor(&self, incarnation: Incarnation, log_is_empty: bool) -> Identity {
        Identity { cluster: if log_is_empty { 0 } else { self.cluster }, ..Identity::new(incarnation) }
    }

    /// The one that begins a cluster of its own with data that are there.
    pub(crate) fn founder(incarnation: Incarnation, cluster: u64) -> Identity {
        Identity { cluster, ..Identity::new(incarnation) }
    }

    /// The proposal of that cluster, if the node pledged itself to it and to no other since.
    pub(crate) fn promised(&self, cluster: u64) -> Option<&Propose> {
        self.pledge.as_ref().or(self.freed.as_ref()).filter(|propose| propose.id() == cluster)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(64);
        bytes.put_u8(VERSION);
        bytes.put_u64(self.incarnation.0);
        bytes.put_u64(self.starts);
        bytes.put_u64(self.cluster);
        for propose in [&self.pledge, &self.freed] {
            bytes.put_u8(u8::from(propose.is_some()));
            if let Some(propose) = propose {
                bytes.put_bytes(&propose.encode());
            }
        }
        bytes.put_u8(u8::from(self.source.is_some()));
        if let Some(source) = &self.source {
            source.write(&mut bytes);
        }
        bytes.into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Identity, CodecError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8("a version")?;
        if !matches!(version, VERSION | VERSION_1) {
            return Err(CodecError::invalid("the version of an identity", version));
        }
        let incarnation = Incarnation(reader.u64("an incarnation")?);
        let (starts, cluster) = (reader.u64("a count of starts")?, reader.u64("a cluster's id")?);
        let mut propose = || match reader.flag("a pledge")? {
            true => Propose::decode(reader.bytes("a pledge")?).map(Some),
            false => Ok(None),
        };
        let (pledge, freed) = (propose()?, propose()?);
        let has_source = version != VERSION_1 && reader.flag("a source")?;
        let source = if has_source { Some(Source::read(&mut reader)?) } else { None };
        reader.end()?;
        Ok(Identity { incarnation, starts, pledge, freed, cluster, source })
    }
}

/// The identity of an open node, and the disk that keeps it.
pub(crate) struct Keeper {
    identity: Mutex<Identity>,
    journal: Arc<dyn Journal>,
}

impl Keeper {
    /// Takes up what the disk holds, for one more opening. `incarnation` is for a node that is new, or `moved`.
    pub(crate) fn open(
        contents: &Contents,
        incarnation: Incarnation,
        journal: Arc<dyn Journal>,
    ) -> Result<Keeper, Stop> {
        let Contents { identity: saved, moved, entries, purged, snapshot, .. } = contents;
        let saved = saved.as_deref().map(Identity::decode).transpose();
        let saved = saved.map_err(|error| Stop::Contents("the identity".into(), error.to_string()))?;
        let mut identity = match saved {
            Some(identity) if *moved => {
                let is_empty = entries.is_empty() && purged.is_none() && snapshot.is_none();
                identity.successor(incarnation, is_empty)
            }
            Some(identity) => identity,
            None => Identity::new(incarnation),
        };
        identity.starts += 1;
        // Durable before anything comes of it: the sessions of two openings must not meet.
        journal.write_now(Change::Identity(identity.encode()))?;
        Ok(Keeper { identity: Mutex::new(identity), journal })
    }

    fn lock(&self) -> MutexGuard<'_, Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self) -> Identity {
        self.lock().clone()
    }

    /// Looks at the identity and changes it in one step. What is changed is durable before this returns: nothing may be
    /// said that could be forgotten. It changes a few times in a node's life, so a task may wait.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Identity) -> R) -> Result<R, DiskError> {
        let mut identity = self.lock();
        let mut changed = identity.clone();
        let result = change(&mut changed);
        if changed != *identity {
            self.journal.write_now(Change::Identity(changed.encode()))?;
            *identity = changed;
        }
        Ok(result)
    }

    pub(crate) fn journal(&self) -> &Arc<dyn Journal> {
        &self.journal
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use conflux_core::Digest;
    use proptest::prelude::*;

    use super::*;
    use crate::raft::Member;

    fn identity() -> Identity {
        let founders = ["a", "b"].map(|name| Member { name: name.into(), incarnation: Incarnation(7) });
        let source = Source { version: 1, code: Digest(2) };
        let propose = Propose { founders: BTreeSet::from(founders), nonce: 9, source };
        let (incarnation, cluster) = (Incarnation(1), propose.id());
        Identity { incarnation, starts: 2, cluster, pledge: Some(propose), freed: None, source: Some(source) }
    }

    #[test]
    fn one_of_before_sources_were_kept_is_read() {
        let mut bytes = Identity { source: None, ..identity() }.encode().to_vec();
        // It ended before the flag that says that there is none.
        assert_eq!((bytes[0], bytes.pop()), (VERSION, Some(0)));
        bytes[0] = VERSION_1;
        assert_eq!(Identity::decode(&bytes), Ok(Identity { source: None, ..identity() }));
    }

    #[test]
    fn it_is_read_back_and_any_cut_is_an_error() {
        let bytes = identity().encode();
        assert_eq!(Identity::decode(&bytes), Ok(identity()));
        for length in 0..bytes.len() {
            assert!(Identity::decode(&bytes[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn who_takes_over_data_owes_nothing_and_is_no_founder() {
        let nothing_in_it = identity().successor(Incarnation(5), true);
        assert_eq!(nothing_in_it, Identity::new(Incarnation(5)));
        let member = identity().successor(Incarnation(5), false);
        assert_eq!(member, Identity { cluster: identity().cluster, ..Identity::new(Incarnation(5)) });
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_errors(bytes: Vec<u8>) {
            let _ = Identity::decode(&bytes);
        }
    }
}
