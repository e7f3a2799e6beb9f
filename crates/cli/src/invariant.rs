//! Containers whose invariant is asked after each action.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use conflux_core::container::holds;
use conflux_core::{
    BatchContext, Call, CallError, Container, Context, Decided, Digest, Failure, Index, NodeName, Payload,
    PayloadError, Random, Reduction,
};
use serde_json::Value;

use crate::exit::Refusal;
use crate::factory::Factory;

/// Makes the containers of another factory, each with its invariant asked.
pub(crate) struct Guarding<F: Factory> {
    factory: F,
    /// What was made, for as long as its node lives.
    made: Mutex<Vec<Weak<Guarded<F::Container>>>>,
    /// What was told already.
    told: Mutex<BTreeSet<String>>,
}

/// A container; what its invariant says after each action that is applied is kept.
pub(crate) struct Guarded<C> {
    container: C,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// What the invariant said last, where it did not hold: that is told once.
    said: Option<String>,
    broken: Vec<Broken>,
}

/// A state on which the invariant does not hold, and did on the one before, or said something else.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) by: By,
    /// What the invariant says.
    pub(crate) said: String,
}

/// What led to a state.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// It is the initial one.
    Nothing,
    /// It was saved.
    Saving,
    Action {
        index: Index,
        action: String,
        origin: NodeName,
    },
}

impl<F: Factory> Guarding<F> {
    pub(crate) fn new(factory: F) -> Self {
        Guarding { factory, made: Mutex::default(), told: Mutex::default() }
    }
}

impl<F: Factory> Factory for Guarding<F> {
    type Container = Arc<Guarded<F::Container>>;

    fn make(&self) -> Result<Self::Container, Refusal> {
        let made = Arc::new(Guarded { container: self.factory.make()?, seen: Mutex::default() });
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&made));
        Ok(made)
    }

    fn name(&self) -> String {
        self.factory.name()
    }

    fn file(&self) -> Option<&Path> {
        self.factory.file()
    }

    fn is_fatal(failure: &Failure) -> bool {
        F::is_fatal(failure)
    }

    fn findings(&self) -> Vec<String> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|container| container.strong_count() > 0);
        let broken = made.iter().filter_map(Weak::upgrade).flat_map(|container| container.take_broken());
        let name = self.name();
        // Every node finds the same.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let broken = broken.map(|Broken { by, said }| match by {
            By::Nothing => format!("the initial state broke the invariant ({name}): {said}"),
            By::Saving => format!("the state that was saved broke the invariant ({name}): {said}"),
            By::Action { index, action, .. } => {
                format!("the action {action} at {index} broke the invariant ({name}): {said}")
            }
        });
        let broken = broken.filter(|text| told.insert(text.clone())).collect();
        [broken, self.factory.findings()].concat()
    }
}

impl<C: Container> Guarded<C> {
    /// What was found since this was last asked.
    pub(crate) fn take_broken(&self) -> Vec<Broken> {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner).broken)
    }

    fn ask(&self, state: &C::State, by: impl FnOnce() -> By) {
        let said = holds(&self.container, state).err();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(said) = said.clone().filter(|_| seen.said != said) {
            seen.broken.push(Broken { by: by(), said });
        }
        seen.said = said;
    }
}

impl<C: Container> Container for Guarded<C> {
    type State = C::State;
    type Method = C::Method;
    type Action = C::Action;
    type Rejection = C::Rejection;

    fn initial(&self) -> C::State {
        let state = self.container.initial();
        self.ask(&state, || By::Nothing);
        state
    }

    fn decide(
        &self,
        state: &C::State,
        method: C::Method,
        context: &Context<'_>,
    ) -> Result<Option<C::Action>, C::Rejection> {
        self.container.decide(state, method, context)
    }

    fn reduce(&self, state: &mut C::State, action: &C::Action, context: &Context<'_>) {
        self.container.reduce(state, action, context);
    }

    fn version(&self) -> u32 {
        self.container.version()
    }

    fn code(&self) -> Digest {
        self.container.code()
    }

    fn may_take_long(&self) -> bool {
        self.container.may_take_long()
    }

    fn methods(&self) -> Vec<String> {
        self.container.methods()
    }

    fn method(&self, name: &str, arguments: Vec<Value>) -> Result<C::Method, CallError> {
        self.container.method(name, arguments)
    }

    fn sample(&self, random: &mut Random) -> Result<Option<C::Method>, String> {
        self.container.sample(random)
    }

    fn invariant(&self, state: &C::State) -> Result<(), String> {
        self.container.invariant(state)
    }

    fn save(&self, state: &C::State, output: &mut dyn Write) -> Result<Digest, PayloadError> {
        self.container.save(state, output)
    }

    fn restore(&self, input: &mut dyn Read) -> Result<C::State, PayloadError> {
        let state = self.container.restore(input)?;
        self.ask(&state, || By::Saving);
        Ok(state)
    }

    fn decide_batch(&self, state: &mut C::State, batch: &BatchContext, calls: Vec<Call<C::Method>>) -> Decided<Self> {
        let Decided { decisions, damaged } = self.container.decide_batch(state, batch, calls);
        Decided { decisions, damaged }
    }

    fn reduce_batch(
        &self,
        state: &mut C::State,
        batch: &BatchContext,
        actions: &[Reduction<'_, C::Action>],
    ) -> Result<(), Failure> {
        for reduction in actions {
            self.container.reduce_batch(state, batch, std::slice::from_ref(reduction))?;
            self.ask(state, || By::Action {
                index: reduction.index,
                action: reduction
                    .action
                    .to_json()
                    .map_or_else(|_| format!("{:?}", reduction.action), |action| action.to_string()),
                origin: reduction.session.node.clone(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::factory::SharedFactory;
    use conflux_core::{CallNumber, Incarnation, Never, SessionId, Stamps};

    struct Counter;

    impl Container for Counter {
        type State = u64;
        type Method = u64;
        type Action = u64;
        type Rejection = Never;

        fn initial(&self) -> u64 {
            0
        }

        fn decide(&self, _: &u64, n: u64, _: &Context<'_>) -> Result<Option<u64>, Never> {
            Ok(Some(n))
        }

        fn reduce(&self, count: &mut u64, n: &u64, _: &Context<'_>) {
            *count = *n;
        }

        fn invariant(&self, count: &u64) -> Result<(), String> {
            assert_ne!(*count, 13, "nobody likes it");
            if *count < 5 { Ok(()) } else { Err(format!("{count} is large")) }
        }
    }

    fn take(container: &impl Container<State = u64, Action = u64>, state: &mut u64, actions: &[u64]) {
        let session = SessionId { node: "a".into(), incarnation: Incarnation(1), number: 1 };
        let batch = BatchContext { base: Index(0), stamps: Stamps::default(), seed: 1 };
        let reductions: Vec<_> = (0..)
            .zip(actions)
            .map(|(nth, action)| Reduction {
                action,
                index: Index(nth as u64 + 1),
                nth,
                session: &session,
                number: CallNumber::FIRST,
            })
            .collect();
        container.reduce_batch(state, &batch, &reductions).expect("it is reduced");
    }

    #[test]
    fn the_action_that_breaks_it_is_told_once() {
        let factory = Guarding::new(SharedFactory::new(Counter, "counter".into()));
        let nodes = [factory.make().expect("it is made"), factory.make().expect("it is made")];
        for node in &nodes {
            let mut state = node.initial();
            take(node, &mut state, &[1, 7, 7, 2, 13, 3]);
            assert_eq!(state, 3);
        }
        let findings = factory.findings();
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert_eq!(findings[0], "the action 7 at 2 broke the invariant (counter): 7 is large");
        let panicked = "the action 13 at 5 broke the invariant (counter): the invariant panicked: ";
        assert!(findings[1].starts_with(panicked) && findings[1].contains("nobody likes it"), "{findings:?}");
        assert!(factory.findings().is_empty());
    }

    #[test]
    fn a_saved_state_that_breaks_it_is_told() {
        let factory = Guarding::new(SharedFactory::new(Counter, "counter".into()));
        let node = factory.make().expect("it is made");
        let mut bytes = Vec::new();
        node.save(&9, &mut bytes).expect("it is written");
        let mut state = node.restore(&mut &*bytes).expect("it is read");
        take(&node, &mut state, &[9]);
        assert_eq!(factory.findings(), ["the state that was saved broke the invariant (counter): 9 is large"]);
    }
}
