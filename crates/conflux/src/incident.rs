//! What one node holds at an instant, in one file: to be looked at, and replayed, elsewhere and later.
//!
//! ```text
//! "conflux\x01" version                         magic and format
//! kind length digest content                    a part, as often as there are some
//!   HEAD STATUS [SNAPSHOT] ENTRY* END           in this order
//! ```
//!
//! A part's digest is over its kind, its length and its content; that of the end counts the parts and is over all of
//! their digests. So what is cut, changed, left out or put in is found, and where.
//!
//! `conflux replay FILE APP.js` shows what is in one. In a test, a file that was kept is gone through like this:
//!
//! ```
//! use std::path::Path;
//! use std::sync::Arc;
//!
//! use conflux::Incident;
//! # use conflux::{Container, Context, MemoryChannel, Never, Node};
//! # struct Counter;
//! # impl Container for Counter {
//! #     type State = u64; type Method = u64; type Action = u64; type Rejection = Never;
//! #     fn initial(&self) -> u64 { 0 }
//! #     fn decide(&self, _: &u64, n: u64, _: &Context<'_>) -> Result<Option<u64>, Never> { Ok(Some(n)) }
//! #     fn reduce(&self, count: &mut u64, n: &u64, _: &Context<'_>) { *count += n }
//! # }
//!
//! fn comes_to_the_same_state(file: &Path) -> Result<(), Box<dyn std::error::Error>> {
//!     let incident = Incident::decode(&std::fs::read(file)?.into())?;
//!     let store = incident.replay(Arc::new(Counter))?;
//!     assert_eq!((store.index(), store.digest().ok()), (incident.index, incident.digest));
//!     Ok(())
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let node = Node::builder(Counter, "a").cluster_size(1).channel(MemoryChannel::new()).open().await?;
//! # node.perform(5).await?;
//! # let place = tempfile::tempdir()?;
//! # let file = place.path().join("monday.incident");
//! # std::fs::write(&file, node.incident().await?.encode())?;
//! # node.close().await;
//! # comes_to_the_same_state(&file)
//! # }
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use conflux_core::codec::{CodecError, Reader, Writer};
use conflux_core::{Batch, Code, Container, Digest, Halt, Incarnation, Index, NodeName, RestoreError, Store};
use serde_json::json;

use crate::core::Core;
use crate::disk::{DiskError, EntryId, LogEntry};
use crate::raft::{Recorded, is_batch, off_task};

pub(crate) const MAGIC: &[u8; 8] = b"conflux\x01";
const VERSION: u8 = 1;
/// Kind, length and digest of a part.
const PART_BYTES: usize = 1 + 8 + 16;
/// The longest name of a version of this program.
const PROGRAM_BYTES_MAX: usize = 64;

/// The largest incident that a node which stops writes by itself.
const LEFT_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// The kinds of parts.
mod part {
    pub(super) const END: u8 = 0;
    pub(super) const HEAD: u8 = 1;
    pub(super) const STATUS: u8 = 2;
    pub(super) const SNAPSHOT: u8 = 3;
    pub(super) const ENTRY: u8 = 4;
}

fn name_of(kind: u8) -> &'static str {
    match kind {
        part::END => "the end",
        part::HEAD => "the head",
        part::STATUS => "the status",
        part::SNAPSHOT => "the snapshot",
        part::ENTRY => "an entry",
        _ => "a part of unknown kind",
    }
}

/// The flight recorder of one node: its last snapshot, its log, and what it made of them.
///
/// What is uncommitted is in the log, too, and so is a batch that the node could not apply and stopped at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// When it was taken, in milliseconds since 1970 by the node's clock.
    pub taken_ms: u64,
    /// The version of conflux that took it.
    pub program: String,
    /// The node.
    pub node: NodeName,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its cluster; 0 for none.
    pub cluster: u64,
    /// The generation of its history.
    pub generation: u64,
    /// The version of its container.
    pub container_version: u32,
    /// The digest of its container's code, where there is one to take.
    pub code: Digest,
    /// The place of its state.
    pub index: Index,
    /// The digest of that state, unless the state could not be written, or a newer snapshot was being put in its place.
    pub digest: Option<Digest>,
    /// The last entry that `index` and `digest` have the effect of.
    pub applied: Option<EntryId>,
    /// How far the log was known to be committed.
    pub committed: Option<EntryId>,
    /// The last entry that was purged from the log.
    pub purged: Option<EntryId>,
    /// How the node was, for people: a JSON object.
    pub status: String,
    /// Its last snapshot.
    pub snapshot: Option<IncidentSnapshot>,
    /// Its log, without a hole. It may begin before the snapshot's last entry.
    pub entries: Vec<LogEntry>,
}

/// The snapshot in an [`Incident`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentSnapshot {
    /// The last entry whose effect it holds.
    pub last: Option<EntryId>,
    /// What else the engine says of it.
    pub meta: Bytes,
    /// The store, as it is written for a snapshot.
    pub store: Bytes,
}

/// A file that is no incident, or not a whole one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IncidentError {
    /// The bytes are something else.
    #[error("this is no incident of conflux: it does not begin as one; `conflux incident -o FILE` writes one")]
    Foreign,
    /// The bytes are a backup.
    #[error("this is a backup of conflux, and no incident: `conflux restore` begins a cluster with it")]
    Backup,
    /// Written by a newer program.
    #[error("the incident has format {came}, and this program reads up to {VERSION}: use a newer one")]
    Version {
        /// Its format.
        came: u8,
    },
    /// It ends too early.
    #[error("the incident was cut: {what} at byte {at} takes {needed} bytes, and {left} are left; fetch it again")]
    Cut {
        /// What is not all there.
        what: &'static str,
        /// Where it begins.
        at: u64,
        /// How long it says it is.
        needed: u64,
        /// How much of it there is.
        left: u64,
    },
    /// Bytes of it changed.
    #[error("the incident is damaged: {what} at byte {at} has not the digest that it says it has; fetch it again")]
    Damaged {
        /// The part.
        what: &'static str,
        /// Where it begins.
        at: u64,
    },
    /// A part stands where it cannot.
    #[error("the incident is not put together as one: {what} at byte {at} is not what comes there")]
    Misplaced {
        /// The part.
        what: &'static str,
        /// Where it begins.
        at: u64,
    },
    /// A part is whole, and not what this program writes.
    #[error("{what} at byte {at} of the incident cannot be read: {error}")]
    Content {
        /// The part.
        what: &'static str,
        /// Where it begins.
        at: u64,
        /// What is wrong with it.
        error: CodecError,
    },
    /// What a replay would begin with is not what its log follows.
    #[error(
        "the incident has a hole: its log begins at entry {first}, and nothing in it has the effect of entry {missing}"
    )]
    Hole {
        /// The index of the first entry that is there.
        first: u64,
        /// That of the first one that is not.
        missing: u64,
    },
    /// It is of another container, or its snapshot does not give back what it was taken from.
    #[error("the incident's snapshot cannot be used: {0}")]
    Restore(#[from] RestoreError),
}

/// An incident that could not be recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The snapshot cannot be read.
    #[error("the snapshot cannot be read: {0}")]
    Disk(#[from] DiskError),
    /// The work broke.
    #[error("the incident could not be put together: {0}")]
    Broken(String),
    /// A node that stops leaves no file of any size.
    #[error(
        "the incident would have {bytes} bytes, and a node that stops writes at most {bytes_max}; its data directory holds \
         the same"
    )]
    TooLarge {
        /// How large the snapshot and the log are.
        bytes: u64,
        /// How large they may be.
        bytes_max: u64,
    },
}

impl Incident {
    /// The file, in pieces that follow each other. What is large is shared and not copied.
    #[must_use]
    pub fn pieces(&self) -> Vec<Bytes> {
        let mut begin = Vec::with_capacity(MAGIC.len() + 1);
        begin.extend_from_slice(MAGIC);
        begin.put_u8(VERSION);
        let mut parts = Parts { pieces: vec![begin.into()], count: 0, digests: Vec::new() };
        parts.add(part::HEAD, &[self.head().into()]);
        parts.add(part::STATUS, &[Bytes::copy_from_slice(self.status.as_bytes())]);
        if let Some(IncidentSnapshot { last, meta, store }) = &self.snapshot {
            let mut head = Vec::new();
            put_place(&mut head, *last);
            head.put_bytes(meta);
            parts.add(part::SNAPSHOT, &[head.into(), store.clone()]);
        }
        for LogEntry { id, kind, bytes } in &self.entries {
            let mut head = Vec::with_capacity(17);
            head.put_u64(id.term);
            head.put_u64(id.index);
            head.put_u8(*kind);
            parts.add(part::ENTRY, &[head.into(), bytes.clone()]);
        }
        let mut end = Vec::with_capacity(24);
        end.put_u64(parts.count);
        end.put_digest(Digest::of_bytes(&parts.digests));
        parts.add(part::END, &[end.into()]);
        parts.pieces
    }

    /// The file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.pieces().concat()
    }

    fn head(&self) -> Vec<u8> {
        let mut head = Vec::new();
        head.put_u64(self.taken_ms);
        head.put_bytes(self.program.as_bytes());
        head.put_bytes(self.node.as_bytes());
        head.put_u64(self.incarnation.0);
        head.put_u64(self.cluster);
        head.put_u64(self.generation);
        head.put_u32(self.container_version);
        head.put_digest(self.code);
        head.put_u64(self.index.0);
        head.put_u8(u8::from(self.digest.is_some()));
        if let Some(digest) = self.digest {
            head.put_digest(digest);
        }
        for place in [self.applied, self.committed, self.purged] {
            put_place(&mut head, place);
        }
        head
    }

    /// Reads a file. Nothing is believed before its digest was compared, and nothing is copied: what is large stays part
    /// of `bytes`.
    ///
    /// # Errors
    /// When it is something else, of a newer format, cut, damaged, or put together in another way.
    pub fn decode(bytes: &Bytes) -> Result<Incident, IncidentError> {
        if bytes.get(..MAGIC.len()) != Some(MAGIC) {
            return Err(if bytes.starts_with(crate::backup::MAGIC) {
                IncidentError::Backup
            } else {
                IncidentError::Foreign
            });
        }
        match bytes.get(MAGIC.len()) {
            Some(&VERSION) => {}
            Some(&came) => return Err(IncidentError::Version { came }),
            None => return Err(IncidentError::Cut { what: "the format", at: 8, needed: 1, left: 0 }),
        }
        let mut walk = Walk { bytes, at: MAGIC.len() + 1, count: 0, digests: Vec::new() };
        let (at, content) = walk.expect(part::HEAD)?;
        let mut incident = read_head(&content).map_err(|error| content_error(part::HEAD, at, error))?;
        let (at, content) = walk.expect(part::STATUS)?;
        let status = std::str::from_utf8(&content)
            .map_err(|_| content_error(part::STATUS, at, CodecError::invalid("the status", "what is no UTF-8")))?;
        status.clone_into(&mut incident.status);
        loop {
            // As many as are left to know before this one.
            let (count, digest) = (walk.count, Digest::of_bytes(&walk.digests));
            let (at, kind, content) = walk.next()?;
            let misplaced = IncidentError::Misplaced { what: name_of(kind), at };
            let failed = |error| content_error(kind, at, error);
            match kind {
                part::SNAPSHOT if incident.snapshot.is_none() && incident.entries.is_empty() => {
                    incident.snapshot = Some(read_snapshot(&content).map_err(failed)?);
                }
                part::ENTRY => {
                    let entry = read_entry(&content).map_err(failed)?;
                    if incident.entries.last().is_some_and(|last| last.id.index.checked_add(1) != Some(entry.id.index))
                    {
                        return Err(misplaced);
                    }
                    incident.entries.push(entry);
                }
                part::END => {
                    let mut reader = Reader::new(&content);
                    let told = reader.u64("the number of parts").map_err(failed)?;
                    let told = (told, reader.digest("the digest of the digests").map_err(failed)?);
                    reader.end().map_err(failed)?;
                    if told != (count, digest) {
                        return Err(IncidentError::Damaged { what: name_of(kind), at });
                    }
                    let left = bytes.len() - walk.at;
                    let trailing = CodecError::Trailing(left as u64);
                    return if left == 0 { Ok(incident) } else { Err(failed(trailing)) };
                }
                _ => return Err(misplaced),
            }
        }
    }

    /// The store that a replay begins with: that of the snapshot, or a new one.
    ///
    /// # Errors
    /// When it is of another container, or its state comes out another than it went in; or when there is no way from it to
    /// the log.
    pub fn store<C: Container>(&self, container: Arc<C>) -> Result<Store<C>, IncidentError> {
        self.store_by(container, Code::Same)
    }

    /// The same for a container that may be other code than the node's, to see what that makes of the same actions: go on
    /// with [`Store::apply_by`].
    ///
    /// # Errors
    /// As [`store`](Self::store); of a state that other code wrote no digest is compared.
    pub fn store_by<C: Container>(&self, container: Arc<C>, code: Code) -> Result<Store<C>, IncidentError> {
        let last = self.snapshot.as_ref().and_then(|snapshot| snapshot.last);
        let missing = last.map_or(0, |last| last.index.saturating_add(1));
        let purged = self.purged.map(|purged| purged.index.saturating_add(1));
        // Batches behind a hole would all be skipped, as they do not follow on what is there.
        if let Some(first) = self.entries.first().map(|entry| entry.id.index).or(purged)
            && first > missing
        {
            return Err(IncidentError::Hole { first, missing });
        }
        match &self.snapshot {
            Some(snapshot) => Ok(Store::restore_by(container, &snapshot.store, code)?),
            None => Ok(Store::new(container)),
        }
    }

    /// The batches that a replay goes through, with the entries that they came in: all that [`store`](Self::store) has not
    /// the effect of, the uncommitted ones at the end included. [`Batch::decode`] reads them.
    pub fn batches(&self) -> impl Iterator<Item = (EntryId, &Bytes)> {
        let last = self.snapshot.as_ref().and_then(|snapshot| snapshot.last);
        let behind = self.entries.iter().filter(move |entry| last.is_none_or(|last| entry.id.index > last.index));
        behind.filter(|entry| is_batch(entry)).map(|entry| (entry.id, &entry.bytes))
    }

    /// Goes through the batches up to [`applied`](Self::applied), and gives the store there: its index and digest are to
    /// be those of the incident.
    ///
    /// # Errors
    /// When the snapshot cannot be used, or a batch not be read or applied; with the entry at which that was.
    pub fn replay<C: Container>(&self, container: Arc<C>) -> Result<Store<C>, ReplayError> {
        let mut store = self.store(container)?;
        for (id, bytes) in self.batches().take_while(|(id, _)| self.applied.is_some_and(|last| *id <= last)) {
            let batch = Batch::decode(bytes).map_err(|error| ReplayError::Batch { id, error: error.to_string() })?;
            store.apply(&batch, |_, _, _| {}).map_err(|halt| ReplayError::Halt { id, halt })?;
        }
        Ok(store)
    }
}

/// Where a replay ends early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// There is nothing to begin with.
    #[error(transparent)]
    Incident(#[from] IncidentError),
    /// A batch cannot be read.
    #[error("the batch in entry {id} cannot be read: {error}")]
    Batch {
        /// The entry.
        id: EntryId,
        /// Why.
        error: String,
    },
    /// A batch cannot be applied.
    #[error("the batch in entry {id} cannot be applied: {halt}")]
    Halt {
        /// The entry.
        id: EntryId,
        /// Why.
        halt: Halt,
    },
}

/// A file that is being put together.
struct Parts {
    pieces: Vec<Bytes>,
    count: u64,
    digests: Vec<u8>,
}

impl Parts {
    fn add(&mut self, kind: u8, content: &[Bytes]) {
        let mut head = Vec::with_capacity(PART_BYTES);
        head.put_u8(kind);
        head.put_u64(content.iter().map(Bytes::len).sum::<usize>() as u64);
        let digest = part_digest(&head, content.iter().map(AsRef::as_ref));
        head.put_digest(digest);
        self.digests.put_digest(digest);
        self.count += 1;
        self.pieces.push(head.into());
        self.pieces.extend(content.iter().filter(|piece| !piece.is_empty()).cloned());
    }
}

/// Of a part: its kind and length, and its content, which need not lie in one piece.
fn part_digest<'a>(head: &'a [u8], content: impl Iterator<Item = &'a [u8]>) -> Digest {
    Digest::of_pieces([head].into_iter().chain(content))
}

/// A file that is being read.
struct Walk<'a> {
    bytes: &'a Bytes,
    at: usize,
    count: u64,
    digests: Vec<u8>,
}

impl Walk<'_> {
    /// The next part: where it begins, its kind and its content.
    fn next(&mut self) -> Result<(u64, u8, Bytes), IncidentError> {
        let (at, left) = (self.at as u64, self.bytes.len() - self.at);
        let cut = |what, needed, left: usize| Err(IncidentError::Cut { what, at, needed, left: left as u64 });
        if left < PART_BYTES {
            return cut("the beginning of a part", PART_BYTES as u64, left);
        }
        let head = &self.bytes[self.at..self.at + PART_BYTES];
        let failed = |error| content_error(head[0], at, error);
        let mut reader = Reader::new(&head[1..]);
        let length = reader.u64("the length of a part").map_err(failed)?;
        let digest = reader.digest("the digest of a part").map_err(failed)?;
        let (what, left) = (name_of(head[0]), left - PART_BYTES);
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= left) else {
            return cut(what, length, left);
        };
        let begin = self.at + PART_BYTES;
        let content = self.bytes.slice(begin..begin + length);
        if part_digest(&head[..9], [content.as_ref()].into_iter()) != digest {
            return Err(IncidentError::Damaged { what, at });
        }
        self.at = begin + length;
        self.count += 1;
        self.digests.put_digest(digest);
        Ok((at, head[0], content))
    }

    fn expect(&mut self, kind: u8) -> Result<(u64, Bytes), IncidentError> {
        let (at, came, content) = self.next()?;
        if came == kind { Ok((at, content)) } else { Err(IncidentError::Misplaced { what: name_of(came), at }) }
    }
}

fn content_error(kind: u8, at: u64, error: CodecError) -> IncidentError {
    IncidentError::Content { what: name_of(kind), at, error }
}

fn put_place(bytes: &mut Vec<u8>, place: Option<EntryId>) {
    bytes.put_u8(u8::from(place.is_some()));
    if let Some(EntryId { term, index }) = place {
        bytes.put_u64(term);
        bytes.put_u64(index);
    }
}

fn read_place(reader: &mut Reader<'_>) -> Result<Option<EntryId>, CodecError> {
    if !reader.flag("whether there is an entry")? {
        return Ok(None);
    }
    Ok(Some(EntryId { term: reader.u64("a term")?, index: reader.u64("an index of the log")? }))
}

fn read_head(content: &[u8]) -> Result<Incident, CodecError> {
    let mut reader = Reader::new(content);
    let incident = Incident {
        taken_ms: reader.u64("a time")?,
        program: reader.text("a version", PROGRAM_BYTES_MAX)?.into(),
        node: reader.node_name()?,
        incarnation: Incarnation(reader.u64("an incarnation")?),
        cluster: reader.u64("a cluster's id")?,
        generation: reader.u64("a generation")?,
        container_version: reader.u32("a container's version")?,
        code: reader.digest("the digest of a container's code")?,
        index: Index(reader.u64("an index")?),
        digest: match reader.flag("whether there is a digest")? {
            true => Some(reader.digest("the digest of a state")?),
            false => None,
        },
        applied: read_place(&mut reader)?,
        committed: read_place(&mut reader)?,
        purged: read_place(&mut reader)?,
        status: String::new(),
        snapshot: None,
        entries: Vec::new(),
    };
    reader.end()?;
    Ok(incident)
}

fn read_snapshot(content: &Bytes) -> Result<IncidentSnapshot, CodecError> {
    let mut reader = Reader::new(content);
    let last = read_place(&mut reader)?;
    let meta = content.slice_ref(reader.bytes("what is said of a snapshot")?);
    let store = content.slice(content.len() - reader.left()..);
    Ok(IncidentSnapshot { last, meta, store })
}

fn read_entry(content: &Bytes) -> Result<LogEntry, CodecError> {
    let mut reader = Reader::new(content);
    let id = EntryId { term: reader.u64("a term")?, index: reader.u64("an index of the log")? };
    let kind = reader.u8("the kind of an entry")?;
    Ok(LogEntry { id, kind, bytes: content.slice(content.len() - reader.left()..) })
}

impl<C: Container> Core<C> {
    /// Records everything that this node holds. Asks nobody else, and works on a node that has stopped, too.
    pub(crate) async fn record_incident(&self) -> Result<Incident, RecordError> {
        self.record_within(u64::MAX, None).await
    }

    /// The same, into a file beside the data, as a node that stops does; with where that is, or in words why not.
    pub(crate) async fn leave_incident(&self, why: &str) -> Result<PathBuf, String> {
        let incident = self.record_within(LEFT_BYTES_MAX, Some(why)).await.map_err(|error| error.to_string())?;
        let journal = self.keeper.journal().clone();
        let kept = off_task(self.keeper.journal(), move || {
            let incidents = journal.incidents().ok_or(DiskError::Closed)?;
            incidents.keep(incident.taken_ms, &incident.pieces())
        });
        kept.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// `why` is why the node stops, before it says so.
    async fn record_within(&self, bytes_max: u64, why: Option<&str>) -> Result<Incident, RecordError> {
        let status = self.status();
        let (recorded, store) = self.engine.record(|| self.local.store().clone());
        let Recorded { applied, committed, purged, entries, snapshot } = recorded;
        let of_log: u64 = entries.iter().map(|entry| entry.bytes.len() as u64).sum();
        let bytes = of_log.saturating_add(snapshot.as_ref().map_or(0, |snapshot| snapshot.bytes.length()));
        if bytes > bytes_max {
            return Err(RecordError::TooLarge { bytes, bytes_max });
        }
        let (taken_ms, source) = (self.options.wall_clock.now_ms(), self.source);
        let (me, cluster) = (self.me().clone(), self.cluster());
        let told = json!({
            "id": &*status.id, "incarnation": status.incarnation.to_string(), "role": status.role.to_string(),
            "term": status.term, "leader": status.leader.as_deref(), "index": status.index.0,
            "generation": status.generation, "cluster": status.cluster.map(|cluster| format!("{cluster:x}")),
            "voters": names(&status.voters), "learners": names(&status.learners),
            "agreed": status.agreed.map(|index| index.0), "parted": status.parted,
            "notice": status.notice, "stopped": why.or(status.stopped.as_deref()),
        });
        // It may be large: not on a thread that carries messages.
        let work = move || {
            let snapshot = match snapshot {
                Some(kept) => {
                    Some(IncidentSnapshot { last: kept.head.last, meta: kept.head.meta, store: kept.bytes.read_all()? })
                }
                None => None,
            };
            let is_older = snapshot.as_ref().is_some_and(|snapshot| snapshot.last > applied);
            Ok(Incident {
                taken_ms,
                program: env!("CARGO_PKG_VERSION").into(),
                node: me.name,
                incarnation: me.incarnation,
                cluster,
                generation: store.generation(),
                container_version: source.version,
                code: source.code,
                index: store.index(),
                // A state that cannot be written is told of in the log.
                digest: if is_older { None } else { store.digest().ok() },
                applied,
                committed,
                purged,
                status: format!("{told:#}"),
                snapshot,
                entries,
            })
        };
        match crate::process::off_task(work).await {
            Ok(recorded) => recorded,
            Err(error) => Err(RecordError::Broken(error.to_string())),
        }
    }
}

fn names(names: &[NodeName]) -> Vec<&str> {
    names.iter().map(|name| &**name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident() -> Incident {
        let id = |index| EntryId { term: 3, index };
        let entry = |index, bytes: &'static [u8]| LogEntry { id: id(index), kind: 1, bytes: bytes.into() };
        Incident {
            taken_ms: 1_700_000_000_000,
            program: "0.1.0".into(),
            node: "a".into(),
            incarnation: Incarnation(u64::MAX),
            cluster: 7,
            generation: 1,
            container_version: 2,
            code: Digest(9),
            index: Index(300),
            digest: Some(Digest(5)),
            applied: Some(id(8)),
            committed: Some(id(9)),
            purged: None,
            status: "{\"id\": \"a\"}".into(),
            snapshot: Some(IncidentSnapshot {
                last: Some(id(6)),
                meta: Bytes::from_static(&[1]),
                store: Bytes::from_static(&[2, 3]),
            }),
            entries: vec![entry(6, &[]), entry(7, &[4]), entry(8, &[5, 6])],
        }
    }

    fn decode(bytes: Vec<u8>) -> Result<Incident, IncidentError> {
        Incident::decode(&bytes.into())
    }

    #[test]
    fn every_byte_counts() {
        let bare = Incident { snapshot: None, entries: vec![], digest: None, applied: None, ..incident() };
        for incident in [incident(), bare] {
            let bytes = incident.encode();
            assert_eq!(decode(bytes.clone()), Ok(incident));
            for length in 0..bytes.len() {
                assert!(decode(bytes[..length].to_vec()).is_err(), "cut at {length}");
            }
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut changed = bytes.clone();
                    changed[at] ^= 1 << bit;
                    assert!(decode(changed).is_err(), "changed at {at}");
                }
            }
            let mut longer = bytes;
            longer.push(0);
            assert!(matches!(decode(longer), Err(IncidentError::Content { what: "the end", .. })));
        }
    }

    #[test]
    fn errors_say_what_and_where() {
        let bytes = incident().encode();
        assert_eq!(decode(crate::backup::MAGIC.to_vec()), Err(IncidentError::Backup));
        assert_eq!(decode(b"PK\x03\x04 something else".to_vec()), Err(IncidentError::Foreign));
        let mut newer = bytes.clone();
        newer[8] = 2;
        assert_eq!(decode(newer), Err(IncidentError::Version { came: 2 }));
        let cut = decode(bytes[..bytes.len() - 1].to_vec());
        assert!(matches!(cut, Err(IncidentError::Cut { what: "the end", needed: 24, left: 23, .. })), "{cut:?}");
        // A length beyond all memory takes none.
        let mut long = bytes.clone();
        long[10..18].copy_from_slice(&u64::MAX.to_le_bytes());
        let cut = decode(long);
        assert!(matches!(cut, Err(IncidentError::Cut { what: "the head", at: 9, needed: u64::MAX, .. })), "{cut:?}");
        let mut changed = bytes;
        changed[9 + PART_BYTES] ^= 1;
        assert_eq!(decode(changed), Err(IncidentError::Damaged { what: "the head", at: 9 }));
    }

    #[test]
    fn parts_have_their_places() {
        let begin = |kinds: &[u8]| {
            let whole = incident();
            let mut parts = Parts { pieces: whole.pieces()[..1].to_vec(), count: 0, digests: Vec::new() };
            for kind in kinds {
                let content: Vec<u8> = match *kind {
                    part::HEAD => whole.head(),
                    part::SNAPSHOT => vec![0, 0],
                    part::ENTRY => vec![0; 17],
                    part::END => {
                        let mut end = Vec::new();
                        end.put_u64(parts.count);
                        end.put_digest(Digest::of_bytes(&parts.digests));
                        end
                    }
                    _ => vec![],
                };
                parts.add(*kind, &[content.into()]);
            }
            decode(parts.pieces.concat())
        };
        use part::{END, ENTRY, HEAD, SNAPSHOT, STATUS};
        assert!(begin(&[HEAD, STATUS, END]).is_ok());
        assert!(begin(&[HEAD, STATUS, SNAPSHOT, ENTRY, END]).is_ok());
        for (kinds, what) in [
            (&[STATUS][..], "the status"),
            (&[HEAD, HEAD], "the head"),
            (&[HEAD, STATUS, STATUS], "the status"),
            (&[HEAD, STATUS, SNAPSHOT, SNAPSHOT], "the snapshot"),
            (&[HEAD, STATUS, ENTRY, SNAPSHOT], "the snapshot"),
            // The index stands still: a hole, or a place told twice.
            (&[HEAD, STATUS, ENTRY, ENTRY], "an entry"),
            (&[HEAD, STATUS, 9], "a part of unknown kind"),
        ] {
            let came = begin(kinds);
            assert!(
                matches!(came, Err(IncidentError::Misplaced { what: is, .. }) if is == what),
                "{kinds:?}: {came:?}"
            );
        }
        // One that was left out without a trace in the others.
        let mut pieces = incident().pieces();
        // The head of its part, what stands before its bytes, and those; behind it are two of the end.
        let last_entry = pieces.len() - 5;
        pieces.drain(last_entry..last_entry + 3);
        assert!(matches!(decode(pieces.concat()), Err(IncidentError::Damaged { what: "the end", .. })));
    }

    proptest::proptest! {
        #[test]
        fn hostile_bytes_are_errors(bytes: Vec<u8>, kind in 0_u8..6) {
            let _ = decode(bytes.clone());
            let begin = [MAGIC.as_slice(), &[VERSION]].concat();
            let _ = decode([begin.as_slice(), &bytes].concat());
            // With right digests, so that what is inside is read.
            let mut parts = Parts { pieces: vec![begin.into()], count: 0, digests: Vec::new() };
            parts.add(part::HEAD, &[incident().head().into()]);
            parts.add(part::STATUS, &[]);
            parts.add(kind, &[bytes.into()]);
            let _ = decode(parts.pieces.concat());
        }
    }
}
