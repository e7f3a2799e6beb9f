//! A disk holds what it said it holds: what a node finds as it opens is all that was durable, and nothing but the beginning
//! of what was handed over after that. This is promise 3 at its root.

use crate::logs::{Log, Shelf};
use crate::wrong::{Checked, Promise, Wrong};

pub(crate) fn reopened(name: &str, shelf: &Shelf, found: &Log) -> Checked {
    let same = |log: &Log| {
        let vote_and_log = log.vote == found.vote && log.purged == found.purged && log.lines == found.lines;
        // A snapshot is kept beside the log: a newer one may have come to be kept.
        vote_and_log
            && log.snapshot.as_ref().and_then(|taken| taken.last)
                <= found.snapshot.as_ref().and_then(|taken| taken.last)
    };
    let mut log = shelf.durable.clone();
    if same(&log) {
        return Ok(());
    }
    for noted in &shelf.waiting {
        log.take(noted);
        if same(&log) {
            return Ok(());
        }
    }
    let told = |log: &Log| {
        let Log { vote, purged, snapshot, .. } = log;
        let vote = vote.as_ref().map(|vote| (vote.term, &vote.candidate.0));
        format!(
            "vote {vote:?}, purged {purged:?}, {} to {:?}, snapshot {:?}",
            log.first(),
            log.last(),
            snapshot.as_ref().map(|taken| taken.last)
        )
    };
    let what = format!(
        "{name} said that this is durable: {}; and finds: {}; {} changes were not durable yet",
        told(&shelf.durable),
        told(found),
        shelf.waiting.len()
    );
    Err(Wrong::new(Promise::WholeDisks, what))
}
