//! Promise 4: at most once; success means exactly once, at the told place; what was rejected, given up or never
//! proposed never takes effect; calls of one node take effect in the order in which they were started.

use std::collections::BTreeMap;

use crate::container::State;
use crate::record::{Claim, Try};
use crate::world::Known;

pub(super) fn check(known: &Known, end: &State) -> Vec<String> {
    let mut places: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (before, entry) in end.entries.iter().enumerate() {
        places.entry(entry.tag).or_default().push(before as u64 + 1);
    }
    let mut broken = Vec::new();
    for (tag, places) in &places {
        if places.len() > 1 {
            broken.push(format!("{tag} took effect at {places:?}"));
        }
    }
    let place = |one: &Try| places.get(&one.method.tag).map(|places| places[0]);
    // By the call: the same one may have been tried more than once, under an id of the user's.
    let mut tries: BTreeMap<u64, Vec<(usize, &Try)>> = BTreeMap::new();
    for (number, one) in known.tries.iter().enumerate() {
        tries.entry(one.method.tag).or_default().push((number, one));
        for claim in &one.claims {
            if let Err(why) = holds(claim, place(one), one.chosen.is_some()) {
                broken.push(format!("try {number} of {} was told '{claim}', but {why}", one.method.tag));
            }
        }
    }
    for (tag, tries) in tries {
        // None of a call's tries may have taken effect if each of them was told that it did not.
        let denied = tries.iter().all(|(_, one)| one.claims.iter().any(denies));
        if denied && let Some(places) = places.get(&tag) {
            broken.push(format!("every try of {tag} was told that it took no effect, but it is at {places:?}"));
        }
        let mut told = tries.iter().flat_map(|(_, one)| &one.claims).filter_map(verdict);
        if let Some(first) = told.next()
            && let Some(other) = told.find(|other| *other != first)
        {
            broken.push(format!("{tag} was told to have come to '{first}' and to '{other}'"));
        }
    }
    broken.extend(same_id(known, &places));
    broken.extend(order(known, &places));
    broken
}

/// A claim that this try did not take effect. (Another try of the same id may have.)
fn denies(claim: &Claim) -> bool {
    match claim {
        Claim::Done { action, .. } => action.is_none(),
        Claim::Rejected { .. } | Claim::Failed { .. } | Claim::NeverProposed { .. } | Claim::Conflict => true,
        Claim::Closed { id } => id.is_none(),
        Claim::Unknown { .. } | Claim::NotVisible { .. } => false,
    }
}

/// A claim of what the call, under whichever try, finally came to.
fn verdict(claim: &Claim) -> Option<&Claim> {
    matches!(claim, Claim::Done { .. } | Claim::Rejected { .. } | Claim::Failed { .. }).then_some(claim)
}

fn holds(claim: &Claim, place: Option<u64>, chosen: bool) -> Result<(), String> {
    match (claim, place) {
        (Claim::Done { index, action: Some(_) }, place) if place != Some(*index) => Err(format!("it is at {place:?}")),
        (Claim::NotVisible { index, .. }, Some(place)) if place != *index => Err(format!("it is at {place}")),
        // Under a chosen id, another try may have taken effect after this one was given up.
        (Claim::NeverProposed { .. } | Claim::Closed { id: None }, Some(_)) if chosen => Ok(()),
        (claim, Some(place)) if denies(claim) => Err(format!("it took effect at {place}")),
        _ => Ok(()),
    }
}

/// Of the calls that were performed under one id, one at most takes effect.
fn same_id(known: &Known, places: &BTreeMap<u64, Vec<u64>>) -> Vec<String> {
    let mut ids: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for one in &known.tries {
        if let Some(id) = &one.chosen
            && places.contains_key(&one.method.tag)
        {
            ids.entry(id).or_default().push(one.method.tag);
        }
    }
    let mut broken = Vec::new();
    for (id, mut tags) in ids {
        tags.dedup();
        tags.sort_unstable();
        tags.dedup();
        if tags.len() > 1 {
            broken.push(format!("under the id {id}, {tags:?} took effect"));
        }
    }
    broken
}

fn order(known: &Known, places: &BTreeMap<u64, Vec<u64>>) -> Vec<String> {
    // The last call of each opening, and the place it took or was judged at.
    let mut last: BTreeMap<u64, (usize, u64)> = BTreeMap::new();
    let mut broken = Vec::new();
    for (number, one) in known.tries.iter().enumerate().filter(|(_, one)| one.chosen.is_none()) {
        // A rejection is judged where all calls before it have taken effect.
        let told = one.claims.iter().find_map(Claim::index);
        let Some(place) = places.get(&one.method.tag).map(|places| places[0]).or(told) else { continue };
        if let Some((before, last)) = last.insert(one.opening, (number, place))
            && last > place
        {
            broken
                .push(format!("try {before} is at {last}, try {number} of the same node came later and is at {place}"));
        }
    }
    broken
}
