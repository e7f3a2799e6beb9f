//! Promise 4: a call takes effect once at most, one call of a request id does, and calls of one opening take effect, or are
//! judged, in the order in which they were started.

use std::collections::BTreeMap;

use crate::record::{Claim, Fate, Try};
use crate::wrong::{Checked, Promise, Wrong, hold};

#[derive(Default)]
pub(crate) struct ExactlyOnce {
    /// The place of each call that took effect.
    places: BTreeMap<u64, u64>,
    /// The last try of each opening that took effect, and its place.
    last: BTreeMap<u64, (usize, u64)>,
}

impl ExactlyOnce {
    /// A call takes effect. `order` is its opening and the number of its try, where no other try of it can be meant.
    pub(crate) fn took_effect(&mut self, tag: u64, index: u64, order: Option<(u64, usize)>) -> Checked {
        let first = *self.places.entry(tag).or_insert(index);
        hold!(ExactlyOnce, first == index, "call {tag} took effect at {first} and at {index}");
        // A call that was made under the id of another by mistake differs from it in the last bit only.
        let other = tag ^ 1;
        if let Some(place) = self.place(other) {
            let what = format!("call {tag} took effect at {index}, and {other}, which has the same id, at {place}");
            return Err(Wrong::new(Promise::ExactlyOnce, what));
        }
        if let Some((opening, number)) = order
            && let Some((before, place)) = self.last.insert(opening, (number, index))
        {
            hold!(
                ExactlyOnce,
                before < number,
                "perform {before} is at {place}, and perform {number}, started before it on the same node, at {index}"
            );
        }
        Ok(())
    }

    pub(crate) fn place(&self, tag: u64) -> Option<u64> {
        self.places.get(&tag).copied()
    }
}

/// Calls of which every try was told that it took no effect, and that did.
pub(crate) fn denied_and_done(tries: &[Try], done: &ExactlyOnce) -> Vec<Wrong> {
    let mut by_call: BTreeMap<u64, Vec<&Try>> = BTreeMap::new();
    for one in tries {
        by_call.entry(one.tag).or_default().push(one);
    }
    let mut wrong = Vec::new();
    for (tag, tries) in by_call {
        let Some(index) = done.place(tag) else { continue };
        if tries.iter().all(|one| one.claims.iter().any(denies)) {
            let what = format!("every perform of call {tag} was told that it took no effect, and it did at {index}");
            wrong.push(Wrong::new(Promise::ExactlyOnce, what));
        }
        // A try under an id of its own speaks for itself only: another may have taken effect after it was given up.
        for claim in tries.iter().filter(|one| one.chosen.is_none()).flat_map(|one| &one.claims) {
            if denies(claim) {
                let what = format!("call {tag} was told '{claim}', and took effect at {index}");
                wrong.push(Wrong::new(Promise::ExactlyOnce, what));
            }
        }
    }
    wrong
}

/// Calls of one opening that were judged on an earlier state than those before them: each is on what all before it came to.
pub(crate) fn out_of_order(tries: &[Try], done: &ExactlyOnce) -> Vec<Wrong> {
    // The last try of each opening whose place is known, and that.
    let mut last: BTreeMap<u64, (usize, u64)> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut of_id: BTreeMap<&str, usize> = BTreeMap::new();
    for id in tries.iter().filter_map(|one| one.chosen.as_deref()) {
        *of_id.entry(id).or_default() += 1;
    }
    // Of an id that was tried again, any try may be the one that counts.
    let alone = |one: &Try| one.chosen.as_deref().is_none_or(|id| of_id[id] == 1);
    for (number, one) in tries.iter().enumerate().filter(|(_, one)| alone(one)) {
        let told = one.claims.iter().find_map(Claim::index);
        let Some(index) = done.place(one.tag).or(told) else { continue };
        if let Some((before, place)) = last.insert(one.opening, (number, index))
            && place > index
        {
            let what = format!(
                "perform {before} is at {place}, and perform {number}, started after it on the same node, at {index}"
            );
            wrong.push(Wrong::new(Promise::ExactlyOnce, what));
        }
    }
    wrong
}

/// A try is told that its id was used for another call: somebody else must have used it before, for the other one.
pub(crate) fn has_a_rival(number: usize, claim: &Claim, tries: &[Try]) -> Checked {
    let Try { tag, chosen, .. } = &tries[number];
    let rival = |one: &Try| one.tag == *tag ^ 1 && one.chosen == *chosen;
    hold!(
        ExactlyOnce,
        *claim != Claim::Conflict || (chosen.is_some() && tries[..number].iter().any(rival)),
        "perform {number}, of call {tag}, was told that its id was used for another call, and nobody had done that"
    );
    Ok(())
}

/// A claim that this try did not take effect.
fn denies(claim: &Claim) -> bool {
    match claim {
        Claim::Decided { fate, .. } => *fate != Fate::Action,
        Claim::NeverProposed { .. } | Claim::Conflict => true,
        Claim::Closed { id } => id.is_none(),
        Claim::Unknown { .. } | Claim::NotVisible { .. } => false,
    }
}
