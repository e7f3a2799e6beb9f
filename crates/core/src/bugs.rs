//! Bugs to be planted, so that whoever looks for bugs can be seen to find them: a simulation that has never failed has
//! shown nothing. Each is a plausible slip at one place, behind [`is`].
//!
//! Without the feature `bugs` there are none: [`is`] is a constant `false`, and nothing of them is built.

#[cfg(feature = "bugs")]
use std::cell::Cell;

/// What can be planted. Each says which promise (by its number) or property of Raft falls with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// A store applies any batch, whatever its predecessor; and the engine refuses one now and then, as it may. An action
    /// meets a state that its method did not see (2).
    NoChainCheck,
    /// A snapshot is taken without its session table: what was decided is decided again (4).
    SessionsLostInSnapshot,
    /// A node forgets sessions by how long it has been open: tables differ (4, 1).
    SessionsExpireByLocalClock,
    /// The last action is reduced once more when a node opens on its disk (1).
    DoubleApplyAfterRestart,
    /// A leader tells its own callers what was rejected, or came to nothing, before the batch is committed (5).
    RejectionBeforeItsBatch,
    /// A vote is answered before it is durable (one vote a term; election safety).
    VoteBeforeSync,
    /// Entries are acknowledged before they are durable (3; leader completeness).
    AppendBeforeSync,
    /// A vote is answered at once, and written behind the next entries only (one vote a term; election safety).
    VoteBehindLog,
    /// A truncation takes one entry more from the disk than from the log: what is appended next lies behind a hole
    /// (3; log matching).
    HoleAfterTruncate,
    /// Entries that a follower holds already, sent again, truncate the log behind them (3; leader completeness).
    StaleAppendTruncates,
    /// Damage within what was durable is taken for a torn tail, and cut (3).
    DamageTakenForTear,
    /// A snapshot is taken without the membership (10).
    SnapshotWithoutMembership,
    /// A snapshot claims entries that were applied after its state was taken (1; state machine safety).
    SnapshotIndexAhead,
    /// A snapshot that took long to build replaces a newer one that was installed meanwhile (3).
    OlderSnapshotOverNewer,
    /// A leader answers reads without asking whether it still leads (6).
    StaleRead,
    /// The provisional state is without what earlier leaders left in the log (8).
    ProvisionalWithoutTail,
    /// What may have been decided is given up when the leader changes, and sent again as another call (4).
    UnknownSentAnew,
    /// A subscriber whose past is gone goes on with what there is, without a reset (7).
    GapAtSnapshot,
    /// A vote is granted whatever the candidate's log holds (leader completeness; 3).
    NoUpToDateCheck,
    /// An append that was refused, or not answered, counts as acknowledged (3; quorum durability).
    StaleAcknowledgement,
    /// A follower applies entries as it takes them in (1, 6; state machine safety).
    ApplyBeforeCommit,
    /// A node whose data are gone takes its old incarnation up again, and votes with amnesia (10).
    IncarnationOfTheName,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 22] = [
        Bug::NoChainCheck,
        Bug::SessionsLostInSnapshot,
        Bug::SessionsExpireByLocalClock,
        Bug::DoubleApplyAfterRestart,
        Bug::RejectionBeforeItsBatch,
        Bug::VoteBeforeSync,
        Bug::AppendBeforeSync,
        Bug::VoteBehindLog,
        Bug::HoleAfterTruncate,
        Bug::StaleAppendTruncates,
        Bug::DamageTakenForTear,
        Bug::SnapshotWithoutMembership,
        Bug::SnapshotIndexAhead,
        Bug::OlderSnapshotOverNewer,
        Bug::StaleRead,
        Bug::ProvisionalWithoutTail,
        Bug::UnknownSentAnew,
        Bug::GapAtSnapshot,
        Bug::NoUpToDateCheck,
        Bug::StaleAcknowledgement,
        Bug::ApplyBeforeCommit,
        Bug::IncarnationOfTheName,
    ];
}

#[cfg(feature = "bugs")]
thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants a bug in all that runs on this thread, or takes it out again.
#[cfg(feature = "bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted here.
#[cfg(feature = "bugs")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// There are none.
#[cfg(not(feature = "bugs"))]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}
