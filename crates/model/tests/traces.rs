//! The judge of traces: a run with something of everything, which it has to allow, and one change of it for every rule.

use conflux_model::batch::{Batch, Chosen, Record, Verdict};
use conflux_model::ledger::Applied;
use conflux_model::trace::{Answer, Event, Rule, Seen, validate};

const ROOT: &str = "0.0.0";
const A: &str = "a/1/1";
const B: &str = "b/1/1";

fn call(session: &str, number: u64, verdict: Verdict) -> Record {
    Record::Call { session: session.into(), number, floor: 1, chosen: None, verdict }
}

fn chosen(session: &str, number: u64, call: &str, verdict: Verdict) -> Record {
    let chosen = Some(Chosen { id: "order-17".into(), call: call.into() });
    Record::Call { session: session.into(), number, floor: 1, chosen, verdict }
}

fn void(session: &str, number: u64) -> Record {
    Record::Void { session: session.into(), number, floor: number }
}

fn open(session: &str) -> Record {
    Record::Open { session: session.into() }
}

fn proposed(node: &str, term: u64, id: &str, prev: &str, base: u64, records: Vec<Record>) -> Event {
    let batch = Batch { id: id.into(), prev: prev.into(), base, elapsed: 10 * term, records };
    Event::Proposed { node: node.into(), term, batch }
}

fn refused(batch: &str) -> Event {
    Event::Refused { batch: batch.into() }
}

fn appended(index: u64, batch: &str) -> Event {
    Event::Appended { index, batch: batch.into() }
}

fn committed(index: u64, batch: Option<&str>) -> Event {
    Event::Committed { index, batch: batch.map(str::to_string) }
}

fn applied(node: &str, index: u64, batch: &str, verdict: Applied, place: u64) -> Event {
    Event::Applied { node: node.into(), index, batch: batch.into(), verdict, place }
}

fn restored(node: &str, index: u64, place: u64, head: &str) -> Event {
    Event::Restored { node: node.into(), index, place, head: head.into() }
}

fn told(node: &str, session: &str, number: u64, answer: Answer) -> Event {
    Event::Told { node: node.into(), session: session.into(), number, answer }
}

/// Two terms. In the first, a batch is refused and its child skipped; in the second, a call is void, ids are used again,
/// sessions expire, and node c comes back by a snapshot.
fn run() -> Vec<Event> {
    use Applied::{Applied as Fits, Skipped};
    vec![
        committed(1, None),
        proposed("a", 1, "1.1", ROOT, 0, vec![open(A), open(B)]),
        appended(2, "1.1"),
        committed(2, Some("1.1")),
        applied("a", 2, "1.1", Fits, 0),
        proposed("a", 1, "1.2", "1.1", 0, vec![call(A, 1, Verdict::Action)]),
        proposed("a", 1, "1.3", "1.2", 1, vec![call(B, 1, Verdict::Rejected)]),
        refused("1.2"),
        appended(3, "1.3"),
        committed(3, Some("1.3")),
        applied("a", 3, "1.3", Skipped, 0),
        proposed("a", 1, "1.4", "1.1", 0, vec![chosen(B, 1, "x", Verdict::Action), call(A, 1, Verdict::Rejected)]),
        appended(4, "1.4"),
        committed(4, Some("1.4")),
        applied("a", 4, "1.4", Fits, 1),
        told("a", A, 1, Answer::Rejected { place: 1 }),
        told("a", A, 2, Answer::NeverProposed),
        told("a", A, 3, Answer::Unknown),
        // What the second leader finds is committed by its term's first entry.
        committed(5, None),
        committed(4, Some("1.4")),
        applied("b", 2, "1.1", Fits, 0),
        applied("b", 3, "1.3", Skipped, 0),
        applied("b", 4, "1.4", Fits, 1),
        told("b", B, 1, Answer::Done { place: 1 }),
        proposed("b", 2, "2.1", "1.4", 1, vec![void(A, 2), call(A, 3, Verdict::Action), call(A, 4, Verdict::Nothing)]),
        committed(6, Some("2.1")),
        applied("b", 6, "2.1", Fits, 2),
        told("a", A, 3, Answer::NotVisible { place: 2 }),
        applied("a", 6, "2.1", Fits, 2),
        told("a", A, 3, Answer::Done { place: 2 }),
        told("a", A, 4, Answer::Nothing { place: 2 }),
        proposed(
            "b",
            2,
            "2.2",
            "2.1",
            2,
            vec![
                chosen(A, 5, "x", Verdict::Repeated),
                chosen(A, 6, "y", Verdict::Conflict),
                call(A, 7, Verdict::Failed),
            ],
        ),
        committed(7, Some("2.2")),
        applied("a", 7, "2.2", Fits, 2),
        // Its outcome is that of the call before it with the same id.
        told("a", A, 5, Answer::Done { place: 1 }),
        told("a", A, 6, Answer::Conflict),
        told("a", A, 7, Answer::Failed { place: 2 }),
        restored("c", 0, 0, ROOT),
        restored("c", 6, 2, "2.1"),
        applied("c", 7, "2.2", Fits, 2),
        proposed("b", 2, "2.3", "2.2", 2, vec![Record::Sweep { sessions_before: 20, ids_before: 20 }, Record::Other]),
        committed(8, Some("2.3")),
        applied("c", 8, "2.3", Fits, 2),
        proposed("b", 2, "2.4", "2.3", 2, vec![open("b/1/2"), chosen("b/1/2", 1, "y", Verdict::Action)]),
        committed(9, Some("2.4")),
    ]
}

/// The run, with what `change` makes of the event that is equal to `of`.
fn changed(of: &Event, change: Vec<Event>) -> Vec<Event> {
    let mut run = run();
    let at = run.iter().position(|event| event == of).expect("it is in the run");
    run.splice(at..=at, change);
    run
}

/// The rules refuse it, at an event that is equal to `at`.
#[track_caller]
fn refuses(run: &[Event], at: &Event, rule: Rule) {
    let refusal = validate(ROOT, run).expect_err("a rule is broken");
    assert_eq!((&run[refusal.at], refusal.rule), (at, rule), "{refusal}");
}

/// As [`refuses`], of the run in which one event is another one.
#[track_caller]
fn refuses_instead(of: Event, another: Event, rule: Rule) {
    refuses(&changed(&of, vec![another.clone()]), &another, rule);
}

/// As [`refuses`], of the run in which behind one event comes another one.
#[track_caller]
fn refuses_behind(of: Event, another: Event, rule: Rule) {
    refuses(&changed(&of, vec![of.clone(), another.clone()]), &another, rule);
}

#[test]
fn a_run_by_the_rules_is_allowed() {
    let seen = validate(ROOT, &run()).unwrap_or_else(|refusal| panic!("{refusal}: {:?}", run()[refusal.at]));
    let expected =
        Seen { proposed: 8, refused: 1, applied: 6, skipped: 1, decided: 9, voids: 1, restored: 2, told: 10 };
    assert_eq!(seen, expected);
}

#[test]
fn an_id_is_given_once() {
    let again = proposed("a", 1, "1.2", "1.1", 0, vec![call(B, 1, Verdict::Action)]);
    refuses_behind(refused("1.2"), again, Rule::IdsAreGivenOnce);
}

#[test]
fn a_term_has_one_proposer() {
    let other = proposed("b", 1, "1.9", "1.1", 0, vec![]);
    refuses_behind(refused("1.2"), other, Rule::OneProposerATerm);
}

#[test]
fn a_batch_is_judged_on_its_predecessor() {
    let unknown = proposed("a", 1, "1.9", "1.8", 0, vec![]);
    refuses_behind(refused("1.2"), unknown, Rule::JudgedOnItsPredecessor);
    let elsewhere = proposed("a", 1, "1.9", "1.2", 0, vec![]);
    refuses_behind(refused("1.2"), elsewhere, Rule::JudgedOnItsPredecessor);
}

#[test]
fn what_is_in_the_log_was_proposed() {
    refuses_instead(appended(3, "1.3"), appended(3, "1.9"), Rule::ProposedFirst);
    refuses_instead(committed(6, Some("2.1")), committed(6, Some("2.9")), Rule::ProposedFirst);
}

#[test]
fn what_was_refused_stays_out_of_the_log() {
    refuses_behind(refused("1.2"), appended(3, "1.2"), Rule::RefusedStaysOut);
    refuses_instead(committed(3, Some("1.3")), committed(3, Some("1.2")), Rule::RefusedStaysOut);
    refuses_behind(committed(3, Some("1.3")), refused("1.3"), Rule::RefusedStaysOut);
}

#[test]
fn a_batch_is_in_the_log_once() {
    refuses_behind(appended(3, "1.3"), appended(4, "1.3"), Rule::InTheLogOnce);
    refuses_instead(committed(5, None), committed(5, Some("1.4")), Rule::InTheLogOnce);
}

#[test]
fn there_is_one_log() {
    refuses_behind(committed(5, None), committed(4, None), Rule::OneLog);
    refuses_instead(committed(5, None), committed(6, None), Rule::OneLog);
}

#[test]
fn a_node_applies_what_is_committed_in_order() {
    let of = applied("a", 6, "2.1", Applied::Applied, 2);
    // Not committed; another one than is; twice; and one is passed over.
    refuses_instead(of.clone(), applied("a", 7, "2.2", Applied::Applied, 2), Rule::AppliedInOrder);
    refuses_instead(of.clone(), applied("a", 6, "1.4", Applied::Applied, 2), Rule::AppliedInOrder);
    refuses_instead(of.clone(), applied("a", 5, "2.1", Applied::Applied, 2), Rule::AppliedInOrder);
    refuses_behind(of.clone(), of, Rule::AppliedInOrder);
    let over = applied("b", 3, "1.3", Applied::Skipped, 0);
    let run: Vec<_> = run().into_iter().filter(|event| *event != over).collect();
    refuses(&run, &applied("b", 4, "1.4", Applied::Applied, 1), Rule::AppliedInOrder);
    refuses_instead(restored("c", 6, 2, "2.1"), restored("c", 8, 2, "2.3"), Rule::AppliedInOrder);
}

#[test]
fn the_chain_decides_what_is_skipped() {
    let skipped = applied("a", 3, "1.3", Applied::Skipped, 0);
    refuses_instead(skipped, applied("a", 3, "1.3", Applied::Applied, 0), Rule::TheChainDecides);
    let fits = applied("b", 4, "1.4", Applied::Applied, 1);
    refuses_instead(fits, applied("b", 4, "1.4", Applied::Skipped, 0), Rule::TheChainDecides);
}

#[test]
fn all_are_at_the_same_place() {
    let fits = applied("b", 4, "1.4", Applied::Applied, 1);
    refuses_instead(fits, applied("b", 4, "1.4", Applied::Applied, 2), Rule::PlacesAgree);
    refuses_instead(restored("c", 6, 2, "2.1"), restored("c", 6, 1, "2.1"), Rule::PlacesAgree);
    refuses_instead(restored("c", 6, 2, "2.1"), restored("c", 6, 2, ROOT), Rule::PlacesAgree);
}

/// The run, and then a batch of these.
#[track_caller]
fn refuses_records(records: Vec<Record>, rule: Rule) {
    let mut run = run();
    run.push(proposed("b", 2, "2.5", "2.4", 3, records));
    let last = committed(10, Some("2.5"));
    run.push(last.clone());
    refuses(&run, &last, rule);
}

#[test]
fn a_batch_agrees_with_the_table() {
    // Not next: a gap, and twice. Not open: never, and expired. Open already. An id that is known, and one that is not.
    refuses_records(vec![call("b/1/2", 3, Verdict::Nothing)], Rule::TheTableAgrees);
    refuses_records(vec![call("b/1/2", 1, Verdict::Nothing)], Rule::TheTableAgrees);
    refuses_records(vec![void("c/1/1", 1)], Rule::TheTableAgrees);
    refuses_records(vec![call(B, 2, Verdict::Nothing)], Rule::TheTableAgrees);
    refuses_records(vec![open("b/1/2")], Rule::TheTableAgrees);
    refuses_records(vec![chosen("b/1/2", 2, "y", Verdict::Nothing)], Rule::TheTableAgrees);
    refuses_records(vec![chosen("b/1/2", 2, "x", Verdict::Repeated)], Rule::TheTableAgrees);
    refuses_records(vec![chosen("b/1/2", 2, "y", Verdict::Conflict)], Rule::TheTableAgrees);
}

#[test]
fn a_session_that_has_expired_is_not_opened_again() {
    refuses_records(vec![open(B)], Rule::ExpiredStaysExpired);
}

#[test]
fn a_caller_is_told_what_was_decided() {
    let rejected = told("a", A, 1, Answer::Rejected { place: 1 });
    refuses_instead(rejected.clone(), told("a", A, 1, Answer::Rejected { place: 0 }), Rule::ToldWhatWasDecided);
    refuses_instead(rejected.clone(), told("a", A, 1, Answer::Done { place: 1 }), Rule::ToldWhatWasDecided);
    refuses_instead(rejected, told("a", A, 4, Answer::Nothing { place: 2 }), Rule::ToldWhatWasDecided);
    let known = told("a", A, 3, Answer::NotVisible { place: 2 });
    refuses_instead(known, told("a", A, 3, Answer::NotVisible { place: 1 }), Rule::ToldWhatWasDecided);
}

#[test]
fn a_caller_is_told_after_its_own_node_has_applied_it() {
    let known = told("a", A, 3, Answer::NotVisible { place: 2 });
    refuses_instead(known, told("a", A, 3, Answer::Done { place: 2 }), Rule::ToldAfterOwnApply);
}

#[test]
fn never_proposed_is_never_applied() {
    let unknown = told("a", A, 3, Answer::Unknown);
    let run = changed(&unknown, vec![told("a", A, 3, Answer::NeverProposed)]);
    refuses(&run, &committed(6, Some("2.1")), Rule::NeverMeansNever);
    let done = told("a", A, 3, Answer::Done { place: 2 });
    refuses_instead(done, told("a", A, 3, Answer::NeverProposed), Rule::NeverMeansNever);
}
