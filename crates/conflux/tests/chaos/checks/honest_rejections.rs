//! Promise 5: a rejection, or "nothing to do", is only told once the state it was judged on is committed. So is a
//! failure. Each says the place it was judged at: there it is judged again.

use crate::container::{Judged, State};
use crate::record::Claim;
use crate::world::Known;

pub(super) fn check(known: &Known, end: &State) -> Vec<String> {
    let mut broken = Vec::new();
    for (number, one) in known.tries.iter().enumerate() {
        for claim in &one.claims {
            let (index, told) = match claim {
                Claim::Done { index, action: None } => (*index, Judged::Nothing),
                Claim::Rejected { index, .. } => (*index, Judged::Rejected),
                Claim::Failed { index } => (*index, Judged::Broken),
                _ => continue,
            };
            let Some(state) = end.seen_at(index) else {
                broken.push(format!("try {number} was told '{claim}', which never came to be"));
                continue;
            };
            let judged = one.method.judge(state);
            if judged != told {
                broken.push(format!("try {number} was told '{claim}', and there it comes to {judged:?}"));
            }
            if let Claim::Rejected { rejection, .. } = claim
                && (rejection.seen != state || rejection.tag != one.method.tag)
            {
                broken.push(format!("try {number} was told '{claim}' for {rejection:?}, and there was {state:?}"));
            }
        }
    }
    broken
}
