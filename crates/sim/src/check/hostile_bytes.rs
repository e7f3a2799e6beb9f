//! Promise 11: whatever bytes come, and whatever a container does, no task of a node panics, and what is committed can be
//! read by all.

use conflux::Digest;
use conflux::disk::EntryId;

use crate::wrong::{Checked, Promise, Wrong, hold};

/// Something panicked: each says what.
pub(crate) fn no_panic(panics: &[String]) -> Checked {
    let first = panics.first().map_or("", String::as_str);
    hold!(HostileBytes, panics.is_empty(), "{first}");
    Ok(())
}

/// An entry is committed, and cannot be read.
pub(crate) fn unreadable(entry: EntryId, why: &str) -> Wrong {
    Wrong::new(Promise::HostileBytes, format!("entry {entry}: {why}"))
}

/// The call that was decided is the one that somebody asked for, wherever its bytes went.
pub(crate) fn what_was_asked(tag: u64, asked: Option<Digest>, decided: Option<Digest>) -> Checked {
    hold!(HostileBytes, asked == decided, "call {tag} was asked for as {asked:?}, and decided as {decided:?}");
    Ok(())
}

/// A node's opening ended in another way than by an answer.
pub(crate) fn opening_ended(name: &str, how: &str) -> Wrong {
    Wrong::new(Promise::HostileBytes, format!("{name} does not open: {how}"))
}
