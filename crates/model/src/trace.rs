//! Judges what was seen of a run by the rules that the model goes by.
//!
//! What happened is written down as [`Event`]s, in the order in which it happened. [`validate`] plays the committed log
//! through the rules of chain and sessions, and compares: which batches are applied and which are skipped, where each
//! node is behind each of them, what became of each call, and what callers may be told when.
//!
//! ```
//! use conflux_model::batch::{Batch, Record, Verdict};
//! use conflux_model::ledger::Applied;
//! use conflux_model::trace::{Answer, Event, validate};
//!
//! let open = Record::Open { session: "a/1/1".to_string() };
//! let call = Record::Call { session: "a/1/1".to_string(), number: 1, floor: 1, chosen: None, verdict: Verdict::Action };
//! let batch = Batch { id: "1.a.1".into(), prev: "root".into(), base: 0, elapsed: 0, records: vec![open, call] };
//! let applied = |node: &str| Event::Applied {
//!     node: node.into(),
//!     index: 1,
//!     batch: "1.a.1".into(),
//!     verdict: Applied::Applied,
//!     place: 1,
//! };
//! let told = Event::Told { node: "a".into(), session: "a/1/1".into(), number: 1, answer: Answer::Done { place: 1 } };
//! let proposed = Event::Proposed { node: "b".into(), term: 1, batch };
//! let committed = Event::Committed { index: 1, batch: Some("1.a.1".into()) };
//!
//! let seen = validate("root", &[proposed.clone(), committed.clone(), applied("a"), told.clone()]).unwrap();
//! assert_eq!((seen.applied, seen.told), (1, 1));
//! // The node that the caller is at has not applied it.
//! let refusal = validate("root", &[proposed, committed, applied("b"), told]).unwrap_err();
//! assert_eq!(refusal.at, 3);
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::batch::{Batch, Record, Verdict};
use crate::ledger::{Applied, Ledger, Outcome};

/// Something that was seen of a run. Names are any strings, as long as one thing has one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A leader has made a batch, and hands it to the engine.
    Proposed {
        /// The leader.
        node: String,
        /// Its term.
        term: u64,
        /// The batch, with sessions by their full names. Digests, stamps for people and payloads are of no matter here; a
        /// record of the roster is `Other`.
        batch: Batch,
    },
    /// The engine says that a batch never comes into the log.
    Refused {
        /// The batch.
        batch: String,
    },
    /// The leader's engine has written a batch to its log. (What followers write is not told.)
    Appended {
        /// The position in the log.
        index: u64,
        /// The batch.
        batch: String,
    },
    /// An entry is committed: told in the order of the log, without gaps, by the first node that knows. Others may tell it
    /// again.
    Committed {
        /// The position in the log. The first one told may be any.
        index: u64,
        /// The batch; `None` for an entry that holds none (the first of a term, a change of members).
        batch: Option<String>,
    },
    /// A node has applied a committed batch, and published what came of it. Entries without a batch are not told.
    Applied {
        /// The node.
        node: String,
        /// The position in the log.
        index: u64,
        /// The batch.
        batch: String,
        /// What it made of it.
        verdict: Applied,
        /// The place of its state afterwards.
        place: u64,
    },
    /// A node's store was replaced: it has started, from a snapshot of its own or from nothing, or it was sent one.
    Restored {
        /// The node.
        node: String,
        /// The position in the log of the last entry that the snapshot holds; 0 for nothing.
        index: u64,
        /// The place of its state.
        place: u64,
        /// The head of its chain.
        head: String,
    },
    /// A caller was told what became of a call: by its perform, or when it asked by the request id.
    Told {
        /// The node that told it.
        node: String,
        /// The call's session.
        session: String,
        /// The call's number there.
        number: u64,
        /// What.
        answer: Answer,
    },
}

/// What callers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It took effect.
    Done {
        /// The place of its action.
        place: u64,
    },
    /// There was nothing to do.
    Nothing {
        /// The place it was judged at.
        place: u64,
    },
    /// Its method refused.
    Rejected {
        /// The place it was judged at.
        place: u64,
    },
    /// Its method or the reducer broke.
    Failed {
        /// The place it was judged at.
        place: u64,
    },
    /// Its request id was used for another call.
    Conflict,
    /// It is committed, and not visible at that node yet.
    NotVisible {
        /// The place of its action, or the one it was judged at.
        place: u64,
    },
    /// It has not taken effect, and never will. (So it is when a node is closed, if the call had not left it.)
    NeverProposed,
    /// Nobody knows yet. (So it is when a node is closed, if the call had left it.)
    Unknown,
}

/// A rule that a run broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The id of a batch is given once.
    IdsAreGivenOnce,
    /// All batches of a term are made by one node.
    OneProposerATerm,
    /// A batch is judged on one that was made before, at the place that that one leads to.
    JudgedOnItsPredecessor,
    /// Only what was proposed comes into the log.
    ProposedFirst,
    /// What was refused never comes into the log.
    RefusedStaysOut,
    /// A batch is in the log once.
    InTheLogOnce,
    /// What is committed at an index stays so, and there are no gaps.
    OneLog,
    /// A node applies what is committed, in order, and nothing is passed over.
    AppliedInOrder,
    /// A batch takes effect if, and only if, its predecessor is the head of the chain.
    TheChainDecides,
    /// Behind the same entry, all are at the same place and have the same head.
    PlacesAgree,
    /// What takes effect agrees with the session table: each call is decided once, as the next of its session.
    TheTableAgrees,
    /// A session that has expired is not opened again.
    ExpiredStaysExpired,
    /// A caller is told what was decided, and where.
    ToldWhatWasDecided,
    /// A caller is told that only once the node that tells it has applied it.
    ToldAfterOwnApply,
    /// What was told never to have been proposed never takes effect.
    NeverMeansNever,
}

/// Why a run is not one that the rules allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The position of the event, from 0.
    pub at: usize,
    /// The rule that it breaks.
    pub rule: Rule,
    /// How.
    pub why: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {} breaks the rule {:?}: {}", self.at, self.rule, self.why)
    }
}

impl std::error::Error for Refusal {}

/// What was looked at: a run of which nothing was seen proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Batches that were proposed.
    pub proposed: u64,
    /// Batches that the engine refused.
    pub refused: u64,
    /// Committed batches that take effect.
    pub applied: u64,
    /// Committed batches that are skipped.
    pub skipped: u64,
    /// Calls that were decided.
    pub decided: u64,
    /// Of these, voids.
    pub voids: u64,
    /// Times that a node's store was replaced.
    pub restored: u64,
    /// Answers.
    pub told: u64,
}

/// Whether the rules allow what was seen. `root` is the predecessor of a history's first batch.
///
/// # Errors
/// The first event that they do not allow.
pub fn validate<'a>(root: &str, events: impl IntoIterator<Item = &'a Event>) -> Result<Seen, Refusal> {
    let mut judge = Judge::new(root);
    for event in events {
        judge.take(event)?;
    }
    Ok(judge.seen())
}

/// The same, an event at a time, while the run goes on.
#[derive(Clone, Debug)]
pub struct Judge {
    root: String,
    taken: usize,
    proposed: BTreeMap<String, Proposal>,
    proposers: BTreeMap<u64, String>,
    ledger: Ledger<String, String>,
    /// The committed entries, from `first_index`.
    log: Vec<Committed>,
    first_index: u64,
    /// How far each node is.
    nodes: BTreeMap<String, u64>,
    /// All sessions that were ever opened.
    opened: BTreeSet<String>,
    /// What became of each call, and where in the log.
    decided: BTreeMap<(String, u64), (u64, Outcome)>,
    denied: BTreeSet<(String, u64)>,
    seen: Seen,
}

#[derive(Clone, Debug)]
struct Proposal {
    batch: Batch,
    /// The place it leads to.
    leads_to: u64,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Refused,
    Appended(u64),
    Committed(u64),
}

#[derive(Clone, Debug)]
struct Committed {
    batch: Option<(String, Applied)>,
    /// Behind it.
    place: u64,
    head: String,
}

type Judged<T = ()> = Result<T, (Rule, String)>;

fn broken<T>(rule: Rule, why: impl Into<String>) -> Judged<T> {
    Err((rule, why.into()))
}

impl Judge {
    /// Of a history that begins with nothing: not one that was taken up again from a backup.
    #[must_use]
    pub fn new(root: &str) -> Judge {
        Judge {
            root: root.into(),
            taken: 0,
            proposed: BTreeMap::new(),
            proposers: BTreeMap::new(),
            ledger: Ledger::new(root.into()),
            log: Vec::new(),
            first_index: 0,
            nodes: BTreeMap::new(),
            opened: BTreeSet::new(),
            decided: BTreeMap::new(),
            denied: BTreeSet::new(),
            seen: Seen::default(),
        }
    }

    /// What was looked at.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// When the rules do not allow it; nothing can be said of what comes behind.
    pub fn take(&mut self, event: &Event) -> Result<(), Refusal> {
        let at = self.taken;
        self.taken += 1;
        let judged = match event {
            Event::Proposed { node, term, batch } => self.propose(node, *term, batch),
            Event::Refused { batch } => self.refuse(batch),
            Event::Appended { index, batch } => self.append(*index, batch),
            Event::Committed { index, batch } => self.commit(*index, batch.as_deref()),
            Event::Applied { node, index, batch, verdict, place } => self.apply(node, *index, batch, *verdict, *place),
            Event::Restored { node, index, place, head } => self.restore(node, *index, *place, head),
            Event::Told { node, session, number, answer } => self.tell(node, session, *number, *answer),
        };
        judged.map_err(|(rule, why)| Refusal { at, rule, why })
    }

    fn propose(&mut self, node: &str, term: u64, batch: &Batch) -> Judged {
        let id = &batch.id;
        if self.proposed.contains_key(id) || *id == self.root {
            return broken(Rule::IdsAreGivenOnce, format!("{node} gives {id} to a second batch"));
        }
        let proposer = self.proposers.entry(term).or_insert_with(|| node.into());
        if proposer != node {
            return broken(Rule::OneProposerATerm, format!("{node} makes {id} in term {term}, and so did {proposer}"));
        }
        let base = match self.proposed.get(&batch.prev) {
            Some(prev) => prev.leads_to,
            None if batch.prev == self.root => 0,
            None => {
                let why = format!("{id} is judged on {}, which nobody has made", batch.prev);
                return broken(Rule::JudgedOnItsPredecessor, why);
            }
        };
        if batch.base != base {
            let why = format!("{id} is judged at place {}, and {} leads to {base}", batch.base, batch.prev);
            return broken(Rule::JudgedOnItsPredecessor, why);
        }
        let is_action = |record: &&Record| matches!(record, Record::Call { verdict: Verdict::Action, .. });
        let leads_to = base + batch.records.iter().filter(is_action).count() as u64;
        self.proposed.insert(id.clone(), Proposal { batch: batch.clone(), leads_to, fate: Fate::Open });
        self.seen.proposed += 1;
        Ok(())
    }

    fn proposal(&mut self, id: &str) -> Judged<&mut Proposal> {
        match self.proposed.get_mut(id) {
            Some(proposal) => Ok(proposal),
            None => broken(Rule::ProposedFirst, format!("nobody has proposed {id}")),
        }
    }

    fn refuse(&mut self, id: &str) -> Judged {
        let proposal = self.proposal(id)?;
        if let Fate::Appended(index) | Fate::Committed(index) = proposal.fate {
            return broken(Rule::RefusedStaysOut, format!("{id} is refused, and is in the log at {index}"));
        }
        proposal.fate = Fate::Refused;
        self.seen.refused += 1;
        Ok(())
    }

    fn append(&mut self, index: u64, id: &str) -> Judged {
        let proposal = self.proposal(id)?;
        match proposal.fate {
            Fate::Open => {
                proposal.fate = Fate::Appended(index);
                Ok(())
            }
            Fate::Refused => {
                broken(Rule::RefusedStaysOut, format!("{id} was refused, and comes into the log at {index}"))
            }
            Fate::Appended(other) | Fate::Committed(other) => {
                broken(Rule::InTheLogOnce, format!("{id} comes into the log at {index}, and is there at {other}"))
            }
        }
    }

    /// The committed entry at an index.
    fn entry(&self, index: u64) -> Option<&Committed> {
        self.log.get(usize::try_from(index.checked_sub(self.first_index)?).ok()?)
    }

    fn commit(&mut self, index: u64, id: Option<&str>) -> Judged {
        if let Some(entry) = self.entry(index) {
            let known = entry.batch.as_ref().map(|(batch, _)| batch.as_str());
            return if known == id {
                Ok(())
            } else {
                broken(Rule::OneLog, format!("{id:?} is committed at {index}, where {known:?} was"))
            };
        }
        if self.log.is_empty() {
            self.first_index = index;
        }
        let due = self.first_index + self.log.len() as u64;
        if index != due {
            return broken(Rule::OneLog, format!("{index} is committed, and {due} comes next"));
        }
        let batch = match id {
            None => None,
            Some(id) => {
                let proposal = self.proposal(id)?;
                match proposal.fate {
                    Fate::Refused => {
                        return broken(Rule::RefusedStaysOut, format!("{id} was refused, and is committed at {index}"));
                    }
                    Fate::Appended(other) | Fate::Committed(other) if other != index => {
                        let why = format!("{id} is committed at {index}, and is in the log at {other}");
                        return broken(Rule::InTheLogOnce, why);
                    }
                    _ => proposal.fate = Fate::Committed(index),
                }
                let batch = proposal.batch.clone();
                Some((id.to_string(), self.play(index, &batch)?))
            }
        };
        self.log.push(Committed { batch, place: self.ledger.place, head: self.ledger.head.clone() });
        Ok(())
    }

    /// Plays a committed batch through the rules.
    fn play(&mut self, index: u64, batch: &Batch) -> Judged<Applied> {
        let mut outcomes = Vec::new();
        let applied = self.ledger.apply(batch, |record, outcome| outcomes.push((record, outcome)));
        let applied = applied.map_err(|why| (Rule::TheTableAgrees, format!("batch {}: {why}", batch.id)))?;
        if applied == Applied::Skipped {
            self.seen.skipped += 1;
            return Ok(applied);
        }
        self.seen.applied += 1;
        for record in &batch.records {
            if let Record::Open { session } = record
                && !self.opened.insert(session.clone())
            {
                let why = format!("batch {} opens session {session}, which was open once", batch.id);
                return broken(Rule::ExpiredStaysExpired, why);
            }
        }
        for (at, outcome) in outcomes {
            let (Record::Call { session, number, .. } | Record::Void { session, number, .. }) = &batch.records[at]
            else {
                continue;
            };
            let call = (session.clone(), *number);
            if self.denied.contains(&call) && outcome != Outcome::Void {
                let why = format!(
                    "call {number} of {session} was told never to have been proposed, and comes to {outcome:?}"
                );
                return broken(Rule::NeverMeansNever, why);
            }
            self.seen.decided += 1;
            self.seen.voids += u64::from(outcome == Outcome::Void);
            self.decided.insert(call, (index, outcome));
        }
        Ok(applied)
    }

    fn apply(&mut self, node: &str, index: u64, id: &str, verdict: Applied, place: u64) -> Judged {
        let is = self.nodes.get(node).copied().unwrap_or(0);
        let Some(entry) = self.entry(index) else {
            return broken(Rule::AppliedInOrder, format!("{node} applies {index}, which is not committed"));
        };
        let Some((batch, chain)) = &entry.batch else {
            return broken(
                Rule::AppliedInOrder,
                format!("{node} applies {id} at {index}, where no batch is committed"),
            );
        };
        if batch != id {
            return broken(Rule::AppliedInOrder, format!("{node} applies {id} at {index}, where {batch} is committed"));
        }
        let passed_over = (is + 1..index).find(|index| self.entry(*index).is_some_and(|entry| entry.batch.is_some()));
        if index <= is || passed_over.is_some() {
            let due = passed_over.unwrap_or(is + 1);
            return broken(Rule::AppliedInOrder, format!("{node} applies {index}, and {due} comes next there"));
        }
        if *chain != verdict {
            let why = format!("{node} has {verdict:?} {id} at {index}, and by the chain it is {chain:?}");
            return broken(Rule::TheChainDecides, why);
        }
        if entry.place != place {
            let why = format!("behind {index}, {node} is at place {place}, and ought to be at {}", entry.place);
            return broken(Rule::PlacesAgree, why);
        }
        self.nodes.insert(node.into(), index);
        Ok(())
    }

    fn restore(&mut self, node: &str, index: u64, place: u64, head: &str) -> Judged {
        let (is_place, is_head) = match self.entry(index) {
            Some(entry) => (entry.place, entry.head.as_str()),
            None if index < self.first_index || index == 0 => (0, self.root.as_str()),
            None => {
                return broken(Rule::AppliedInOrder, format!("{node} is restored to {index}, which is not committed"));
            }
        };
        if (is_place, is_head) != (place, head) {
            let why = format!(
                "{node} is restored to place {place}, head {head}, and behind {index} there is place {is_place}, head {is_head}"
            );
            return broken(Rule::PlacesAgree, why);
        }
        self.nodes.insert(node.into(), index);
        self.seen.restored += 1;
        Ok(())
    }

    fn tell(&mut self, node: &str, session: &str, number: u64, answer: Answer) -> Judged {
        self.seen.told += 1;
        let call = (session.to_string(), number);
        let decided = self.decided.get(&call).copied();
        let told = match answer {
            Answer::Unknown => return Ok(()),
            Answer::NeverProposed => {
                self.denied.insert(call);
                return match decided {
                    None | Some((_, Outcome::Void)) => Ok(()),
                    Some((index, outcome)) => broken(
                        Rule::NeverMeansNever,
                        format!(
                            "call {number} of {session} was never proposed, it is said, and at {index} came to {outcome:?}"
                        ),
                    ),
                };
            }
            Answer::Done { place } => Some((Verdict::Action, place)),
            Answer::Nothing { place } => Some((Verdict::Nothing, place)),
            Answer::Rejected { place } => Some((Verdict::Rejected, place)),
            Answer::Failed { place } => Some((Verdict::Failed, place)),
            Answer::NotVisible { place } => return self.tell_not_visible(session, number, place, decided),
            Answer::Conflict => None,
        };
        let outcome = told.map_or(Outcome::Conflict, |(verdict, place)| Outcome::Judged { verdict, place });
        let Some((index, is)) = decided else {
            let why = format!("call {number} of {session} is told to have come to {outcome:?}, and is not decided");
            return broken(Rule::ToldWhatWasDecided, why);
        };
        if is != outcome {
            let why = format!("call {number} of {session} is told to have come to {outcome:?}, and came to {is:?}");
            return broken(Rule::ToldWhatWasDecided, why);
        }
        let applied = self.nodes.get(node).copied().unwrap_or(0);
        if applied < index {
            let why =
                format!("call {number} of {session} is told at {node}, which has applied {applied}; it is at {index}");
            return broken(Rule::ToldAfterOwnApply, why);
        }
        Ok(())
    }

    /// The place is told, and the outcome is not.
    fn tell_not_visible(&self, session: &str, number: u64, place: u64, decided: Option<(u64, Outcome)>) -> Judged {
        match decided {
            Some((_, Outcome::Judged { place: is, .. })) if is == place => Ok(()),
            is => broken(
                Rule::ToldWhatWasDecided,
                format!("call {number} of {session} is told to be committed at place {place}, and is {is:?}"),
            ),
        }
    }
}
