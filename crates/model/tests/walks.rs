//! The judge of traces and the model agree: whatever the model does, the judge allows; and of a mutant's counterexample it
//! refuses what can be seen from outside.

use conflux_model::batch::{Batch, Record};
use conflux_model::ledger::Applied;
use conflux_model::store::{BatchId, Made, SessionId};
use conflux_model::trace::{self, Event, Refusal, Rule, Seen, validate};
use conflux_model::{Answer, Bounds, Model, Mutant, Step, World};
use stateright::{Checker, Model as _};

const ROOT: &str = "0.0";

fn batch_name(id: BatchId) -> String {
    format!("{}.{}", id.term, id.counter)
}

fn session_name(session: SessionId) -> String {
    format!("{}/{}", session.origin, session.number)
}

fn batch(made: &Made) -> Batch {
    let Batch { id, prev, base, elapsed, records } = made.batch.clone();
    let records = records.into_iter().map(|record| match record {
        Record::Open { session } => Record::Open { session: session_name(session) },
        Record::Call { session, number, floor, chosen, verdict } => {
            Record::Call { session: session_name(session), number, floor, chosen, verdict }
        }
        Record::Void { session, number, floor } => Record::Void { session: session_name(session), number, floor },
        Record::Sweep { sessions_before, ids_before } => Record::Sweep { sessions_before, ids_before },
        Record::Other => Record::Other,
    });
    Batch { id: batch_name(id), prev: batch_name(prev), base, elapsed, records: records.collect() }
}

fn proposed(node: usize, term: u8, made: &Made) -> Event {
    Event::Proposed { node: node.to_string(), term: term.into(), batch: batch(made) }
}

fn restored(world: &World, node: usize) -> Event {
    let (applied, store) = (world.nodes[node].applied, &world.nodes[node].store);
    let (place, head) = (store.ledger.place, batch_name(store.ledger.head));
    Event::Restored { node: node.to_string(), index: applied as u64, place, head }
}

/// What there was before the first step. A node without calls that does not lead applies when that changes, so it is not
/// told that it has.
fn beginning(world: &World) -> Vec<Event> {
    let made = World::batches(&world.committed).map(|made| proposed(0, 1, made));
    let nodes = (0..world.nodes.len()).map(|node| restored(world, node));
    made.chain(committed(world, 0)).chain(nodes).collect()
}

fn committed(world: &World, from: usize) -> impl Iterator<Item = Event> {
    (from as u64 + 1..).zip(&world.committed[from..]).map(|(index, entry)| Event::Committed {
        index,
        batch: entry.batch.as_ref().map(|made| batch_name(made.batch.id)),
    })
}

/// What is seen of a step.
fn seen(before: &World, step: Step, after: &World) -> Vec<Event> {
    let mut events = Vec::new();
    let leading = |world: &'_ World, node: usize| world.nodes[node].leading.clone().expect("it leads");
    match step {
        Step::Propose { node, .. } => {
            let made = leading(after, node).in_flight.last().expect("it was proposed").made.clone();
            events.push(proposed(node, after.nodes[node].term, &made));
        }
        Step::Refuse { node, at } => {
            events.push(Event::Refused { batch: batch_name(leading(before, node).in_flight[at].made.batch.id) });
        }
        Step::Append { node, .. } | Step::AppendLate { node, .. } => {
            let log = &after.nodes[node].log;
            let made = log.last().and_then(|entry| entry.batch.as_ref()).expect("it was appended");
            events.push(Event::Appended { index: log.len() as u64, batch: batch_name(made.batch.id) });
        }
        _ => {}
    }
    events.extend(committed(after, before.committed.len()));
    match step {
        Step::Apply { node } if !after.nodes[node].stopped => {
            let (index, store) = (after.nodes[node].applied, &after.nodes[node].store);
            if let Some(made) = &after.committed[index - 1].batch {
                let fits = store.decided != before.nodes[node].store.decided || store.ledger.head == made.batch.id;
                events.push(Event::Applied {
                    node: node.to_string(),
                    index: index as u64,
                    batch: batch_name(made.batch.id),
                    verdict: if fits { Applied::Applied } else { Applied::Skipped },
                    place: store.state.len(),
                });
            }
        }
        Step::Install { to: node, .. } | Step::Crash { node } => events.push(restored(after, node)),
        _ => {}
    }
    for told in &after.told[before.told.len()..] {
        let origin = usize::from(told.call.origin);
        let line = &before.lines[origin];
        let at = line.pending.iter().position(|pending| pending.call == told.call).expect("somebody waits for it");
        let session = session_name(SessionId { origin: told.call.origin, number: line.session });
        let answer = match told.answer {
            Answer::Done { place } => trace::Answer::Done { place },
            Answer::Rejected { place, .. } => trace::Answer::Rejected { place },
            Answer::NeverProposed => trace::Answer::NeverProposed,
            Answer::Unknown => trace::Answer::Unknown,
            // Nobody is told: it was given up.
            Answer::Void => continue,
        };
        events.push(Event::Told { node: origin.to_string(), session, number: line.first + at as u64, answer });
    }
    events
}

/// Goes some way through the model, by chance.
fn walk(model: &Model, mut chance: u64) -> Vec<Event> {
    let mut world = model.init_states().remove(0);
    let mut events = beginning(&world);
    let mut steps = Vec::new();
    for _ in 0..80 {
        steps.clear();
        model.actions(&world, &mut steps);
        // Xorshift.
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        let Some(step) = steps.get((chance % steps.len().max(1) as u64) as usize) else { break };
        let next = model.next_state(&world, *step).expect("every step is one");
        events.extend(seen(&world, *step, &next));
        world = next;
    }
    events
}

#[test]
fn whatever_the_model_does_is_allowed() {
    let mut sum = Seen::default();
    for bounds in [Bounds::PIPELINE, Bounds::BATCHES, Bounds::LEADERS, Bounds::SNAPSHOTS, Bounds::SESSIONS] {
        // More than can be tried exhaustively.
        let model = Model::new(Bounds { terms: bounds.terms + 1, give_ups: 1, calls: [2, 2], ..bounds });
        for seed in 1..=400 {
            let events = walk(&model, seed << 32 | seed);
            let seen = validate(ROOT, &events).unwrap_or_else(|refusal| {
                panic!("{bounds:?}, seed {seed}: {refusal}\n{:#?}", &events[..=refusal.at]);
            });
            sum.refused += seen.refused;
            sum.skipped += seen.skipped;
            sum.voids += seen.voids;
            sum.restored += seen.restored;
            sum.told += seen.told;
        }
    }
    println!("{sum:?}");
    assert!([sum.refused, sum.skipped, sum.voids, sum.restored, sum.told].iter().all(|count| *count > 0), "{sum:?}");
}

/// What the judge says of the shortest run that breaks a mutant's promise.
fn judged(mutant: Mutant) -> Result<Seen, Refusal> {
    let model = Model::of(mutant);
    let path = Model::of(mutant).checker().spawn_bfs().join().discovery(mutant.shows().1).expect("it is caught");
    let mut world = model.init_states().remove(0);
    let mut events = beginning(&world);
    for step in path.into_actions() {
        let next = model.next_state(&world, step).expect("every step is one");
        events.extend(seen(&world, step, &next));
        world = next;
    }
    validate(ROOT, &events)
}

#[test]
fn a_mutant_is_refused_by_what_is_seen_of_it() {
    let refused = [
        (Mutant::ChainUnchecked, Rule::TheChainDecides),
        (Mutant::RejectionToldEarly, Rule::ToldWhatWasDecided),
        (Mutant::SuccessToldEarly, Rule::ToldWhatWasDecided),
        (Mutant::HeadForgotten, Rule::PlacesAgree),
        (Mutant::NeverProposedToldLate, Rule::NeverMeansNever),
        (Mutant::GapsTaken, Rule::TheTableAgrees),
        (Mutant::OpeningNotDated, Rule::ExpiredStaysExpired),
    ];
    for (mutant, rule) in refused {
        let refusal = judged(mutant).expect_err("it breaks a rule");
        assert_eq!(refusal.rule, rule, "{mutant:?}: {refusal}");
    }
}
