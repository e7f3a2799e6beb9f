//! Promise 2: each action was judged on exactly the state that it is applied to. Its method saw that state, and run on it
//! once more, comes to the same.

use conflux::{BatchId, CallNumber, Container, Decision, Index, Payload, SessionId, Verdict};

use crate::observed::{Observed, Tagged, Trail};
use crate::wrong::{Checked, hold};

/// One call of a batch, and what the batch says of it.
pub(crate) struct Judged<'a, C: Container> {
    pub(crate) session: SessionId,
    pub(crate) number: CallNumber,
    pub(crate) verdict: &'a Verdict<Observed<C>>,
}

/// What a call comes to.
pub(crate) type Again<C> = Decision<Tagged<<C as Container>::Action>, Tagged<<C as Container>::Rejection>>;

/// An action's method saw one state, and the action is applied to another.
pub(crate) fn judged_on(index: Index, seen: Trail, there: Trail) -> Checked {
    hold!(ExactValidation, seen == there, "the action at {index} was judged on {seen}, and is applied to {there}");
    Ok(())
}

/// The calls of a batch were run again on the state before it.
pub(crate) fn comes_to_the_same<C: Container>(batch: BatchId, judged: &[Judged<'_, C>], again: &[Again<C>]) -> Checked {
    let (was, now) = (judged.len(), again.len());
    hold!(
        ExactValidation,
        was == now,
        "batch {batch} has {was} decided calls, and comes to {now} when they are run again"
    );
    for (Judged { session, number, verdict }, again) in judged.iter().zip(again) {
        let (was, now) = (verdict_in_words(verdict), decision_in_words::<C>(again));
        let number = number.0;
        hold!(
            ExactValidation,
            was.0 == now.0,
            "call {number} of {session} came to {}; run again on the state before batch {batch}, it comes to {}",
            was.1,
            now.1
        );
    }
    Ok(())
}

/// A verdict to compare by, and for people.
fn verdict_in_words<C: Container>(verdict: &Verdict<Observed<C>>) -> (Vec<u8>, String) {
    match verdict {
        Verdict::Action(action) => (written(0, &**action), format!("{action:?}")),
        Verdict::Rejected(rejection) => (written(1, &**rejection), format!("the rejection {rejection:?}")),
        Verdict::Nothing => (vec![2], "nothing to do".into()),
        // Where a script was at a limit, it may say so in other words.
        Verdict::Failed(failure) => (vec![3], format!("the failure {failure}")),
        Verdict::Repeated | Verdict::Conflict => (vec![4], "a repetition".into()),
    }
}

fn decision_in_words<C: Container>(decision: &Again<C>) -> (Vec<u8>, String) {
    match decision {
        Decision::Action(action) => (written(0, action), format!("{action:?}")),
        Decision::Rejected(rejection) => (written(1, rejection), format!("the rejection {rejection:?}")),
        Decision::Nothing => (vec![2], "nothing to do".into()),
        Decision::Failed(failure) => (vec![3], format!("the failure {failure}")),
    }
}

fn written(kind: u8, value: &impl Payload) -> Vec<u8> {
    let mut bytes = vec![kind];
    // What could not be written would have failed its call.
    let _ = value.encode(&mut bytes);
    bytes
}
