//! A container behind an `Arc` is a container: several nodes of one process can share one.

use std::io::{Read, Write};
use std::sync::Arc;

use crate::call::CallError;
use crate::container::{BatchContext, Call, Container, Decided, Failure, Reduction};
use crate::context::{Context, Random};
use crate::digest::Digest;
use crate::payload::PayloadError;

impl<C: Container> Container for Arc<C> {
    type State = C::State;
    type Method = C::Method;
    type Action = C::Action;
    type Rejection = C::Rejection;

    fn initial(&self) -> C::State {
        (**self).initial()
    }

    fn decide(
        &self,
        state: &C::State,
        method: C::Method,
        context: &Context<'_>,
    ) -> Result<Option<C::Action>, C::Rejection> {
        (**self).decide(state, method, context)
    }

    fn reduce(&self, state: &mut C::State, action: &C::Action, context: &Context<'_>) {
        (**self).reduce(state, action, context);
    }

    fn version(&self) -> u32 {
        (**self).version()
    }

    fn code(&self) -> Digest {
        (**self).code()
    }

    fn may_take_long(&self) -> bool {
        (**self).may_take_long()
    }

    fn methods(&self) -> Vec<String> {
        (**self).methods()
    }

    fn method(&self, name: &str, arguments: Vec<serde_json::Value>) -> Result<C::Method, CallError> {
        (**self).method(name, arguments)
    }

    fn sample(&self, random: &mut Random) -> Result<Option<C::Method>, String> {
        (**self).sample(random)
    }

    fn invariant(&self, state: &C::State) -> Result<(), String> {
        (**self).invariant(state)
    }

    fn save(&self, state: &C::State, output: &mut dyn Write) -> Result<Digest, PayloadError> {
        (**self).save(state, output)
    }

    fn restore(&self, input: &mut dyn Read) -> Result<C::State, PayloadError> {
        (**self).restore(input)
    }

    fn decide_batch(&self, state: &mut C::State, batch: &BatchContext, calls: Vec<Call<C::Method>>) -> Decided<Self> {
        let Decided { decisions, damaged } = (**self).decide_batch(state, batch, calls);
        Decided { decisions, damaged }
    }

    fn reduce_batch(
        &self,
        state: &mut C::State,
        batch: &BatchContext,
        actions: &[Reduction<'_, C::Action>],
    ) -> Result<(), Failure> {
        (**self).reduce_batch(state, batch, actions)
    }
}
