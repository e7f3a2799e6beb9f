//! A container whose values live elsewhere, as those of a script do: it says itself how they are written, and several
//! nodes share it.

mod common;

use std::io::{Read, Write};
use std::sync::Arc;

use common::{Board, Method, quiet_planned_panics};
use conflux_core::container::{holds, sampled};
use conflux_core::payload::{decode_foreign, digest_foreign, encode_foreign};
use conflux_core::*;
use serde_json::{Value, json};

/// Nothing that serde knows. There is none of 13.
#[derive(Clone, Debug, PartialEq)]
struct Handle(u64);

impl Payload for Handle {
    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), PayloadError> {
        assert!(self.0 != 13, "planned: no 13");
        bytes.extend(self.0.to_le_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Handle, PayloadError> {
        let number = u64::from_le_bytes(bytes.try_into().map_err(PayloadError::new)?);
        assert!(number != 13, "planned: no 13");
        Ok(Handle(number))
    }

    fn to_json(&self) -> Result<Value, PayloadError> {
        Ok(self.0.into())
    }

    fn digest(&self) -> Result<Digest, PayloadError> {
        assert!(self.0 != 13, "planned: no 13");
        Ok(Digest::of_bytes(&self.0.to_le_bytes()))
    }

    fn from_call(name: &str, _: Vec<Value>) -> Result<Handle, CallError> {
        Err(CallError::unknown_method(name, Handle::variants()))
    }
}

/// Says of everything something else than what is provided. Its state is a sum, which ought to be even.
#[derive(Debug)]
struct Engine;

impl Container for Engine {
    type State = Handle;
    type Method = u64;
    type Action = u64;
    type Rejection = Reject;

    fn initial(&self) -> Handle {
        Handle(100)
    }

    fn decide(&self, _: &Handle, method: u64, _: &Context<'_>) -> Result<Option<u64>, Reject> {
        if method == 1 { Err("not one".into()) } else { Ok(Some(method)) }
    }

    fn reduce(&self, state: &mut Handle, action: &u64, _: &Context<'_>) {
        state.0 += action;
    }

    fn version(&self) -> u32 {
        4
    }

    fn code(&self) -> Digest {
        Digest(5)
    }

    fn may_take_long(&self) -> bool {
        true
    }

    fn methods(&self) -> Vec<String> {
        vec!["add".into(), "take".into()]
    }

    fn method(&self, name: &str, arguments: Vec<Value>) -> Result<u64, CallError> {
        assert_eq!(name, "add");
        Ok(arguments.len() as u64)
    }

    fn sample(&self, random: &mut Random) -> Result<Option<u64>, String> {
        Ok(Some(random.next_u64() | 1 << 63))
    }

    fn invariant(&self, state: &Handle) -> Result<(), String> {
        assert!(state.0 < 1000, "planned: too much");
        if state.0.is_multiple_of(2) { Ok(()) } else { Err(format!("{} is odd", state.0)) }
    }

    fn save(&self, state: &Handle, output: &mut dyn Write) -> Result<Digest, PayloadError> {
        output.write_all(b"saved:").map_err(PayloadError::new)?;
        state.write(output)
    }

    /// Takes what it needs, and looks at no more.
    fn restore(&self, input: &mut dyn Read) -> Result<Handle, PayloadError> {
        let mut bytes = [0; 14];
        input.read_exact(&mut bytes).map_err(PayloadError::new)?;
        Handle::decode(&bytes[6..])
    }
}

/// A store of a container, one call further.
fn added<C: Container<Method = u64>>(container: Arc<C>, number: u64) -> Result<Store<C>, Reject> {
    let mut store = Store::new(container);
    let mut fork = Fork::new(store.clone(), 1, Incarnation(1), Retention::default());
    let open = Request::Open { id: common::session("a", 1), as_of: std::time::Duration::ZERO };
    let (session, first) = (SessionKey(1), CallNumber::FIRST);
    let call = Request::Call { session, number: first, floor: first, chosen: None, audit: None, method: number };
    for (counter, request) in [open, call].into_iter().enumerate() {
        let batch = fork.batch(counter as u64 + 1, Stamps::default(), 0, vec![request], false);
        let batch = batch.expect("sound").expect("something to log");
        if let Some(Record::Call { verdict: Verdict::Rejected(rejection), .. }) = batch.records.first() {
            return Err(Reject::new(rejection.to_string()));
        }
        store.apply(&batch, |_, _, _| {}).expect("it fits");
    }
    Ok(store)
}

#[test]
fn what_such_values_do_not_say_is_provided() {
    let mut output = Vec::new();
    assert_eq!(Handle(7).write(&mut output), Handle(7).digest());
    assert_eq!(output, 7u64.to_le_bytes());
    assert_eq!(Handle::read(&mut &*output), Ok(Handle(7)));
    assert!(Handle::read(&mut &output[1..]).is_err(), "it is cut");
    Handle(7).write(&mut &mut [0; 7][..]).expect_err("there is no room for it");
    let error = Handle::from_call("add", vec![]).expect_err("it is no enum").to_string();
    assert_eq!(error, "there is no method \"add\"; the container has none");
    Handle::sample(&mut Random::new(1)).expect_err("it does not say how");
}

#[test]
fn values_of_others_may_panic() {
    quiet_planned_panics();
    let mut bytes = Vec::new();
    encode_foreign(&Handle(7), &mut bytes).expect("it is written");
    assert_eq!(decode_foreign(&bytes), Ok(Handle(7)));
    assert_eq!(digest_foreign(&Handle(7)), Handle(7).digest());
    let errors = [
        encode_foreign(&Handle(13), &mut Vec::new()).err(),
        decode_foreign::<Handle>(&13u64.to_le_bytes()).err(),
        digest_foreign(&Handle(13)).err(),
    ];
    for error in errors {
        let error = error.expect("there is none of 13").to_string();
        assert!(error.ends_with("panicked: planned: no 13"), "{error}");
    }
}

#[test]
fn a_container_that_is_shared_is_the_same_one() {
    quiet_planned_panics();
    let shared = Arc::new(Arc::new(Engine));
    let store = added(shared.clone(), 6).expect("it takes 6");
    assert_eq!((&**store.state(), store.index()), (&Handle(106), Index(1)));
    assert_eq!(added(shared.clone(), 1).err(), Some("not one".into()));

    // What either of them saved the other takes up: the version, the code and the bytes are one.
    let saved = store.save().expect("it is written");
    assert_eq!(saved, added(Arc::new(Engine), 6).expect("it takes 6").save().expect("it is written"));
    let origins = Origins::of_snapshot(&saved).expect("it says so itself");
    assert_eq!(origins, Origins { version: 4, code: Digest(5), index: Index(1) });
    assert_eq!(Store::restore(shared.clone(), &saved).expect("it is read").state(), store.state());

    let origin = Origin { session: common::session("a", 1), number: CallNumber::FIRST };
    let context = Context::new(Index(1), Stamps::default(), &origin, 0);
    let mut state = shared.initial();
    assert_eq!(shared.decide(&state, 1, &context), Err("not one".into()));
    assert_eq!(shared.decide(&state, 6, &context), Ok(Some(6)));
    shared.reduce(&mut state, &6, &context);
    assert_eq!(state, Handle(106));

    assert!(shared.may_take_long() && !Arc::new(Board).may_take_long());
    assert_eq!(shared.methods(), ["add", "take"]);
    assert_eq!(shared.method("add", vec![json!(1), json!(2)]), Ok(2));
    let drawn = Random::new(3).next_u64() | 1 << 63;
    assert_eq!(sampled(&*shared, &mut Random::new(3)), Ok(Some(drawn)));
    assert_eq!(holds(&*shared, &Handle(8)), Ok(()));
    assert_eq!(holds(&*shared, &Handle(7)), Err("7 is odd".into()));
    assert_eq!(holds(&*shared, &Handle(1000)), Err("the invariant panicked: planned: too much".into()));
}

#[test]
fn a_container_that_says_nothing_is_what_most_are() {
    assert!(!Board.may_take_long());
    assert_eq!(Board.methods(), ["Claim", "Release", "Panic", "PanicInReducer"]);
    assert_eq!(Board.method("Claim", vec![json!(3)]), Ok(Method::Claim(3)));
    assert_eq!(Payload::to_json(&Method::Claim(3)), Ok(json!({"Claim": 3})));
}

#[test]
fn what_a_container_leaves_of_its_state_is_damage() {
    let saved = added(Arc::new(Engine), 6).expect("it takes 6").save().expect("it is written");
    let (before, digest) = saved.split_at(saved.len() - 16);
    let longer = [before, &[0], digest].concat();
    let error = Store::restore(Arc::new(Engine), &longer).err().expect("a byte is left").to_string();
    assert!(error.contains("bytes that follow the state of a snapshot holds 1"), "{error}");
}
