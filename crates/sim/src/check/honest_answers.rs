//! Promises 3, 4 and 5 at the moment of an answer: whatever is told of a call is what the committed history says of it by
//! then. A success is at its place, and a rejection, a failure or "nothing to do" was judged where it says it was.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{Claim, Fate};
use crate::wrong::{Checked, Promise, Wrong, hold};

/// What became of the calls, as far as the history goes.
pub(crate) type Fates = BTreeMap<u64, BTreeSet<(Fate, u64)>>;

/// `tag` is the call that the answer is about.
pub(crate) fn answered(tag: u64, claim: &Claim, fates: &Fates) -> Checked {
    let known = fates.get(&tag);
    let (promise, holds) = match claim {
        Claim::Decided { fate, index, tag: named } => {
            let promise = if *fate == Fate::Action { Promise::Durable } else { Promise::HonestRejections };
            let its_own = named.is_none_or(|named| named == tag);
            (promise, its_own && known.is_some_and(|known| known.contains(&(*fate, *index))))
        }
        Claim::NotVisible { index, .. } => {
            (Promise::ExactlyOnce, known.is_some_and(|known| known.iter().any(|(_, place)| place == index)))
        }
        _ => return Ok(()),
    };
    if holds {
        return Ok(());
    }
    let what = match known {
        None => "nothing about it is committed".to_owned(),
        Some(known) => format!("what is committed about it is {known:?}"),
    };
    Err(Wrong::new(promise, format!("call {tag} was told '{claim}', and {what}")))
}

/// It is said that nothing is known of a call; `decided` is what the history had said of it before that was asked.
pub(crate) fn undecided(tag: u64, decided: bool) -> Checked {
    hold!(HonestRejections, !decided, "call {tag} was decided, and whoever asked after that was told that it is open");
    Ok(())
}

/// It is said that a call was decided, or its session is over, and that no more is known of it. That must be so; of an id
/// that a user chose nobody knows it.
pub(crate) fn forgotten(tag: u64, may_be: bool) -> Checked {
    hold!(
        HonestRejections,
        may_be,
        "whoever asked for call {tag} was told that it was forgotten, and it may be yet to come"
    );
    Ok(())
}
