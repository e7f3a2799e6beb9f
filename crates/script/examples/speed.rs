//! Measures deciding and applying: `cargo run --release -p conflux-script --example speed`.

#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::time::{Duration, Instant};

use conflux_core::{
    BatchContext, Call, CallNumber, Container, Decision, Incarnation, Index, Origin, Reduction, SessionId, Stamps,
};
use conflux_script::{Action, ScriptContainer};
use serde_json::json;

const BATCH: u64 = 64;
const BATCHES: u64 = 3000;

const COUNTER: &str = "
export const initialState = { total: 0, last: 0, who: 'nobody' }
export const methods = { add({ state }, by) { return { type: 'ADD', by } } }
export function reduce(state, action) { return { ...state, total: state.total + action.by, last: action.by } }
";

const JOBS: &str = "
export const initialState = Object.fromEntries(Array.from({ length: 100 }, (_, i) => ['job' + i, { owner: null, tries: 0 }]))
export const methods = { add({ state, index }, by) { return { type: 'TAKE', id: 'job' + (index % 100), by } } }
export function reduce(state, action) {
  const job = state[action.id]
  return { ...state, [action.id]: { owner: action.by, tries: job.tries + 1 } }
}
";

fn main() {
    measure("counter", "add", &ScriptContainer::from_source("counter.js", COUNTER).expect("it loads"), BATCHES);
    let words = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/words.js");
    measure("words, a list that grows to 960", "append", &ScriptContainer::load(words).expect("it loads"), 15);
    measure("100 jobs", "add", &ScriptContainer::from_source("jobs.js", JOBS).expect("it loads"), BATCHES / 10);
}

fn measure(name: &str, method: &str, container: &ScriptContainer, batches: u64) {
    let session = SessionId { node: "a".into(), incarnation: Incarnation(1), number: 1 };
    let origin = Origin { session, number: CallNumber(1) };
    let batch =
        |base| BatchContext { base: Index(base), stamps: Stamps { time_ms: 1, elapsed: Duration::ZERO }, seed: 1 };
    let follower = container.another().expect("it loaded before");
    let (mut fork, mut state) = (container.initial(), follower.initial());
    let (mut deciding, mut reducing) = (Duration::ZERO, Duration::ZERO);
    for nth in 0..batches {
        let batch = batch(nth * BATCH);
        let argument = |by: u64| if method == "append" { json!(format!("word{by}")) } else { json!(by) };
        let made = |by: u64| container.method(method, vec![argument(by)]).expect("there is such a method");
        let calls: Vec<_> = (0..BATCH).map(|by| Call { method: made(by), origin: origin.clone() }).collect();
        let started = Instant::now();
        let decided = container.decide_batch(&mut fork, &batch, calls);
        deciding += started.elapsed();
        let actions: Vec<Action> = decided
            .decisions
            .into_iter()
            .map(|decision| match decision {
                Decision::Action(action) => action,
                other => panic!("{other:?}"),
            })
            .collect();
        let reductions: Vec<_> = actions
            .iter()
            .enumerate()
            .map(|(k, action)| Reduction {
                action,
                index: batch.base.plus(k as u64 + 1),
                nth: k,
                session: &origin.session,
                number: origin.number,
            })
            .collect();
        let started = Instant::now();
        follower.reduce_batch(&mut state, &batch, &reductions).expect("it passed on the leader");
        reducing += started.elapsed();
    }
    assert!(fork == state, "the follower has the same state");
    let each = |spent: Duration| spent.as_nanos() / u128::from(batches * BATCH);
    println!("{name}: decide_batch {} ns a call, reduce_batch {} ns an action", each(deciding), each(reducing));
}
