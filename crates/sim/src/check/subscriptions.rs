//! Promise 7: every committed action in order, or an explicit reset with the state and the index.

use crate::observed::Trail;
use crate::record::{Heard, Listener};
use crate::wrong::{Checked, hold};

/// `actions` are the calls whose actions there are, from the first on; `trails` the states, from the initial one on.
pub(crate) fn heard(listener: &mut Listener, heard: &Heard, actions: &[u64], trails: &[Trail]) -> Checked {
    let last = listener.last;
    let (index, state) = match *heard {
        Heard::Began { after } => {
            listener.last = Some(after);
            return Ok(());
        }
        Heard::Change { previous, index, tag, state } => {
            hold!(
                Subscriptions,
                last == Some(previous) && index == previous + 1,
                "after {last:?} a subscriber hears of {index}, the one after {previous}"
            );
            let known = actions.get(previous as usize);
            hold!(
                Subscriptions,
                known == Some(&tag),
                "a subscriber hears that {index} is call {tag}; committed is {known:?}"
            );
            (index, state)
        }
        Heard::Reset { index, state } => {
            hold!(
                Subscriptions,
                last.is_none_or(|last| last <= index),
                "after {last:?} a subscriber is sent back to {index}"
            );
            (index, state)
        }
    };
    let known = trails.get(index as usize);
    hold!(Subscriptions, known == Some(&state), "a subscriber is given {state} at {index}; committed is {known:?}");
    listener.last = Some(index);
    Ok(())
}

/// In the end nobody waits for what there is.
pub(crate) fn heard_all(listeners: &[Listener], index: u64) -> Checked {
    for (number, Listener { last }) in listeners.iter().enumerate() {
        hold!(
            Subscriptions,
            *last == Some(index),
            "in the end subscriber {number} is at {last:?}, and {index} is committed"
        );
    }
    Ok(())
}
