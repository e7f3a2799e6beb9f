//! Promise 6, as far as it is seen here: a linearizable read is as new as anything that anyone had been told before.
//! (That a node never goes back, and shows what it was told, is looked at while it runs.)

use crate::container::State;
use crate::plan::Plan;
use crate::world::Known;

pub(super) fn check(known: &Known, _: &State) -> Vec<String> {
    let mut broken = Vec::new();
    for read in &known.reads {
        if let Some(at_least) = read.at_least
            && read.index < at_least
        {
            let (name, index, opening) = (Plan::name(read.slot), read.index, read.opening);
            broken.push(format!("{name} (opening {opening}) read {index} when {at_least} had been told"));
        }
    }
    broken
}
