//! The unit of the log, as far as the rules look at it.

/// What was judged on the state behind `prev`, and holds behind that one only.
///
/// `I` names batches, `S` sessions. In a trace both are strings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Batch<I = String, S = String> {
    /// Its name: never given to another batch, refused or not.
    pub id: I,
    /// The batch that it was judged on top of.
    pub prev: I,
    /// The place of the state that it was judged on: its first action takes the one after.
    pub base: u64,
    /// The replicated clock.
    pub elapsed: u64,
    /// What it does, in order.
    pub records: Vec<Record<S>>,
}

/// One thing that a batch does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record<S = String> {
    /// A session is opened: from here on its calls are decided, the first one first.
    Open {
        /// The session.
        session: S,
    },
    /// A call was decided.
    Call {
        /// Its session.
        session: S,
        /// Its number there: from 1, without gaps.
        number: u64,
        /// The origin holds the outcomes of all calls below.
        floor: u64,
        /// The request id, where the user chose one.
        chosen: Option<Chosen>,
        /// What became of it.
        verdict: Verdict,
    },
    /// A call was given up before it was decided: it never takes effect.
    Void {
        /// Its session.
        session: S,
        /// Its number there.
        number: u64,
        /// As in `Call`.
        floor: u64,
    },
    /// What was not seen since then is forgotten.
    Sweep {
        /// Sessions seen last before this instant of the replicated clock have expired.
        sessions_before: u64,
        /// Chosen ids decided before this instant are forgotten.
        ids_before: u64,
    },
    /// Something that neither the chain nor the sessions look at.
    Other,
}

/// A request id that the user chose, and what tells the call it names from another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Chosen {
    /// The id.
    pub id: String,
    /// The digest of the call.
    pub call: String,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It made an action.
    Action,
    /// There was nothing to do.
    Nothing,
    /// Its method refused.
    Rejected,
    /// Its method or the reducer broke.
    Failed,
    /// Its chosen id names the same call, decided before: the outcome is that one's.
    Repeated,
    /// Its chosen id names another call.
    Conflict,
}
