//! With any of its rules left out, the model breaks the promise that the rule is for.

use conflux_model::{Model, Mutant};
use stateright::{Checker, Model as _};

/// The fewest steps that break a promise. By one thread and breadth first, so that there are none with fewer.
fn counterexample(mutant: Mutant) -> Vec<String> {
    let (_, breaks) = mutant.shows();
    let checker = Model::of(mutant).checker().spawn_bfs().join();
    let path = checker.discovery(breaks).unwrap_or_else(|| panic!("without {mutant:?}, '{breaks}' is not broken"));
    let count = checker.unique_state_count();
    let steps: Vec<String> = path.clone().into_actions().iter().map(ToString::to_string).collect();
    println!("{mutant:?} breaks '{breaks}' in {} steps, found in {count} states:", steps.len());
    for (at, step) in steps.iter().enumerate() {
        println!("{:4}. {step}", at + 1);
    }
    println!("      {:?}", path.last_state().told);
    steps
}

macro_rules! caught {
    ($($name:ident: $mutant:ident in $steps:literal;)*) => {
        $(#[test]
        fn $name() {
            assert_eq!(counterexample(Mutant::$mutant).len(), $steps);
        })*

        #[test]
        fn none_is_forgotten() {
            assert_eq!(Mutant::ALL, [$(Mutant::$mutant),*]);
        }
    };
}

caught! {
    chain_unchecked: ChainUnchecked in 0;
    refused_id_reused: RefusedIdReused in 0;
    forked_early: ForkedEarly in 0;
    tail_forgotten: TailForgotten in 0;
    rejection_told_early: RejectionToldEarly in 0;
    success_told_early: SuccessToldEarly in 0;
    sessions_forgotten: SessionsForgotten in 0;
    head_forgotten: HeadForgotten in 0;
    never_proposed_told_late: NeverProposedToldLate in 0;
    retried_anew: RetriedAnew in 0;
    opening_not_dated: OpeningNotDated in 0;
    expired_locally: ExpiredLocally in 0;
}
