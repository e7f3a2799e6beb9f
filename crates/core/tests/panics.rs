//! Where a container panicked, by a hook that the program installs.

use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};

use conflux_core::{
    BatchContext, Call, CallNumber, Container, Context, Decision, Incarnation, Index, Never, Origin, Reduction,
    SessionId, Stamps, panics,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
enum Method {
    Break,
    Poison,
}

#[derive(Debug, Serialize, Deserialize)]
struct Poisoned;

struct Fragile;

const DECIDE_LINE: u32 = line!() + 10;
impl Container for Fragile {
    type State = u64;
    type Method = Method;
    type Action = Poisoned;
    type Rejection = Never;
    fn initial(&self) -> u64 {
        0
    }
    fn decide(&self, _: &u64, method: Method, _: &Context<'_>) -> Result<Option<Poisoned>, Never> {
        assert!(matches!(method, Method::Poison), "on purpose");
        Ok(Some(Poisoned))
    }
    fn reduce(&self, _: &mut u64, _: &Poisoned, _: &Context<'_>) {
        panic!("on purpose, too");
    }
}
const REDUCE_LINE: u32 = line!() - 3;

#[test]
fn a_failure_tells_its_place_and_other_panics_stay_loud() {
    static LOUD: AtomicUsize = AtomicUsize::new(0);
    let before = panic::take_hook();
    panic::set_hook(Box::new(|info| {
        if !panics::note(info) {
            LOUD.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let session = SessionId { node: "a".into(), incarnation: Incarnation(1), number: 1 };
    let origin = Origin { session, number: CallNumber::FIRST };
    let batch = BatchContext { base: Index(0), stamps: Stamps::default(), seed: 1 };
    let decide = |method| {
        let call = Call { method, origin: origin.clone() };
        let Decision::Failed(failure) = Fragile.decide_batch(&mut 0, &batch, vec![call]).decisions.remove(0) else {
            panic!("it fails")
        };
        failure
    };
    let at = |line| Some(format!("{}:{line}", file!()));
    let broken = decide(Method::Break);
    let poisoned = decide(Method::Poison);
    let reduction =
        Reduction { action: &Poisoned, index: Index(1), nth: 0, session: &origin.session, number: origin.number };
    let reduced = Fragile.reduce_batch(&mut 0, &batch, &[reduction]).expect_err("it fails");
    let quiet = LOUD.load(Ordering::Relaxed);
    let _ = panic::catch_unwind(|| panic!("elsewhere"));
    let loud = LOUD.load(Ordering::Relaxed);
    panic::set_hook(before);
    assert_eq!((broken.message.as_str(), broken.at), ("the method panicked: on purpose", at(DECIDE_LINE)));
    assert_eq!((poisoned.message.as_str(), poisoned.at), ("the reducer panicked: on purpose, too", at(REDUCE_LINE)));
    assert_eq!(reduced.at, at(REDUCE_LINE));
    assert_eq!((quiet, loud), (0, 1));
}
