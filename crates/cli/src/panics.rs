//! Where a container's panics happened.

use std::panic;

/// From now on, a panic of a method or reducer tells its place in the answer, and nowhere else; every other panic stays
/// as loud as it was.
pub(crate) fn place() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !conflux_core::panics::note(info) {
            before(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use conflux_core::{
        BatchContext, Call, CallNumber, Container, Context, Decision, Incarnation, Index, Never, Origin, SessionId,
        Stamps,
    };

    use super::*;

    struct Fragile;

    impl Container for Fragile {
        type State = u64;
        type Method = u64;
        type Action = u64;
        type Rejection = Never;

        fn initial(&self) -> u64 {
            0
        }

        fn decide(&self, _: &u64, _: u64, _: &Context<'_>) -> Result<Option<u64>, Never> {
            panic!("on purpose")
        }

        fn reduce(&self, _: &mut u64, _: &u64, _: &Context<'_>) {}
    }

    #[test]
    fn a_failure_has_its_place() {
        place();
        let session = SessionId { node: "a".into(), incarnation: Incarnation(1), number: 1 };
        let call = Call { method: 1, origin: Origin { session, number: CallNumber::FIRST } };
        let batch = BatchContext { base: Index(0), stamps: Stamps::default(), seed: 1 };
        let decided = Fragile.decide_batch(&mut 0, &batch, vec![call]).decisions.remove(0);
        let Decision::Failed(failure) = decided else { panic!("it does not fail") };
        assert!(failure.at.as_ref().is_some_and(|at| at.starts_with(file!())), "{failure}");
    }
}
