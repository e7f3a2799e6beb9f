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
    chain_unchecked: ChainUnchecked in 9;
    refused_id_reused: RefusedIdReused in 17;
    forked_early: ForkedEarly in 6;
    tail_forgotten: TailForgotten in 5;
    rejection_told_early: RejectionToldEarly in 5;
    success_told_early: SuccessToldEarly in 4;
    sessions_forgotten: SessionsForgotten in 20;
    head_forgotten: HeadForgotten in 2;
    never_proposed_told_late: NeverProposedToldLate in 7;
    retried_anew: RetriedAnew in 12;
    gaps_taken: GapsTaken in 11;
    opening_not_dated: OpeningNotDated in 19;
    expired_locally: ExpiredLocally in 23;
}
