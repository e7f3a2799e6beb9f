//! Each checker is able to fail: records that are doctored, so that one thing in them cannot be.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use conflux::disk::EntryId;
use conflux::observe::{MemberId, Vote};
use conflux::{
    BatchId, CallNumber, Container, Context, Decision, Digest, Halt, Incarnation, Index, RequestId, Role, SessionId,
    Verdict,
};

use super::exact_validation::Again;
use super::*;
use crate::logs::{Line, Shelf, Taken, Voters};
use crate::observed::{Observed, Tagged, Trail};
use crate::record::{Claim, Fate, Heard, Listener, Try};
use crate::wrong::Promise;

fn member(name: &str) -> MemberId {
    (name.into(), Incarnation(1))
}

fn id(term: u64, index: u64) -> EntryId {
    EntryId { term, index }
}

fn line(term: u64, index: u64) -> Line {
    Line { id: id(term, index), digest: Digest(u128::from(term)), voters: None, batch: None }
}

fn group(names: &str) -> BTreeSet<MemberId> {
    names.split(' ').map(member).collect()
}

/// Says who votes.
fn members(term: u64, index: u64, voters: Voters) -> Line {
    Line { voters: Some(voters), ..line(term, index) }
}

fn vote(term: u64, candidate: &str, leads: bool) -> Noted {
    Noted::Vote(Vote { term, candidate: member(candidate), leads })
}

/// The disks of nodes, each with a log that is durable.
fn logs<const N: usize>(logs: [(&str, Vec<Line>); N], committed: Vec<Line>) -> Logs {
    let shelves = logs.into_iter().enumerate().map(|(number, (name, lines))| {
        let log = Log { lines: lines.into(), ..Log::default() };
        let shelf = Shelf { member: Some(member(name)), present: log.clone(), durable: log, ..Shelf::default() };
        (number, shelf)
    });
    Logs { shelves: shelves.collect(), committed }
}

/// What comes of changes that members make, one after the other.
fn check(logs: &mut Logs, changes: &[(&str, Noted)]) -> Result<(), Promise> {
    let mut checks = RaftChecks::default();
    for (name, noted) in changes {
        let member = member(name);
        let number =
            *logs.shelves.iter().find(|(_, shelf)| shelf.member.as_ref() == Some(&member)).expect("it is there").0;
        let log = &logs.shelves[&number].present;
        checks.step(&Step { logs, member: &member, log, noted }).map_err(|wrong| wrong.promise)?;
        if let Noted::Vote(vote) = noted {
            checks.voted(&member, vote).map_err(|wrong| wrong.promise)?;
        }
        logs.shelves.get_mut(&number).expect("it was found").present.take(noted);
    }
    Ok(())
}

fn three() -> Vec<Line> {
    vec![members(0, 0, vec![group("a b c")])]
}

#[test]
fn two_leaders_of_one_term() {
    let mut all = logs([("a", three()), ("b", three())], Vec::new());
    assert_eq!(check(&mut all, &[("a", vote(3, "a", true)), ("b", vote(4, "b", true))]), Ok(()));
    let two = [("a", vote(5, "a", true)), ("b", vote(5, "b", true))];
    assert_eq!(check(&mut all, &two), Err(Promise::ElectionSafety));
}

#[test]
fn a_second_vote_in_one_term_and_a_term_that_goes_back() {
    let mut all = logs([("a", three())], Vec::new());
    // A leader that was elected by others is heard of.
    assert_eq!(check(&mut all, &[("a", vote(3, "b", false)), ("a", vote(3, "c", true))]), Ok(()));
    let twice = [("a", vote(4, "b", false)), ("a", vote(4, "c", false))];
    assert_eq!(check(&mut all, &twice), Err(Promise::OneVote));
    assert_eq!(check(&mut all, &[("a", vote(2, "b", false))]), Err(Promise::OneVote));
}

#[test]
fn a_vote_that_is_told_before_it_is_durable() {
    let mut checks = RaftChecks::default();
    let vote = |term, candidate: &str, leads| Vote { term, candidate: member(candidate), leads };
    let told = |checks: &RaftChecks, term, candidate: &str| {
        checks.cast("a", Some(&member("a")), &vote(term, candidate, false)).map_err(|wrong| wrong.promise)
    };
    assert_eq!(told(&checks, 3, "b"), Err(Promise::OneVote));
    assert_eq!(checks.voted(&member("a"), &vote(3, "b", false)), Ok(()));
    assert_eq!(told(&checks, 3, "b"), Ok(()));
    assert_eq!(told(&checks, 3, "c"), Err(Promise::OneVote));
    assert_eq!(told(&checks, 4, "b"), Err(Promise::OneVote));
    // Who is in a later term, or knows who leads, has not voted by that; and what it voted for it may tell late.
    assert_eq!(checks.voted(&member("a"), &vote(5, "c", true)), Ok(()));
    assert_eq!((told(&checks, 3, "b"), told(&checks, 4, "b")), (Ok(()), Err(Promise::OneVote)));
    assert_eq!(told(&checks, 5, "c"), Err(Promise::OneVote));
    let nobody = checks.cast("a", None, &vote(3, "b", false)).map_err(|wrong| wrong.promise);
    assert_eq!(nobody, Err(Promise::OneVote));
}

#[test]
fn an_older_snapshot_over_a_newer_one() {
    let taken = |index| Taken { last: Some(id(1, index)), voters: Vec::new() };
    let log = Log { snapshot: Some(taken(5)), ..Log::default() };
    let keeps = |index| kept(&member("a"), &log, &taken(index), Some(id(1, 6))).map_err(|wrong| wrong.promise);
    assert_eq!((keeps(5), keeps(6), keeps(4)), (Ok(()), Ok(()), Err(Promise::OrderOfIndexes)));
    // Of what is not committed.
    assert_eq!(keeps(7), Err(Promise::OrderOfIndexes));
}

#[test]
fn an_entry_that_is_another_elsewhere_or_lies_behind_a_hole() {
    let append = |lines: Vec<Line>| Noted::Append(lines);
    let fresh = || logs([("a", three()), ("b", three())], Vec::new());
    let same = [("a", append(vec![line(1, 1), line(2, 2)])), ("b", append(vec![line(1, 1), line(2, 2)]))];
    assert_eq!(check(&mut fresh(), &same), Ok(()));
    let other = Line { digest: Digest(99), ..line(1, 1) };
    let another = [("a", append(vec![line(1, 1)])), ("b", append(vec![other]))];
    assert_eq!(check(&mut fresh(), &another), Err(Promise::LogMatching));
    // The same entry behind different ones.
    let behind = [("a", append(vec![line(1, 1), line(2, 2)])), ("b", append(vec![line(2, 1), line(2, 2)]))];
    assert_eq!(check(&mut fresh(), &behind), Err(Promise::LogMatching));
    assert_eq!(check(&mut fresh(), &[("a", append(vec![line(1, 2)]))]), Err(Promise::LogMatching));
    assert_eq!(check(&mut fresh(), &[("a", append(vec![line(1, 1), line(1, 3)]))]), Err(Promise::LogMatching));
}

#[test]
fn a_leader_without_what_is_committed() {
    let committed = [three(), vec![line(1, 1)]].concat();
    let mut all = logs([("a", three()), ("b", committed.clone())], committed);
    assert_eq!(check(&mut all, &[("b", vote(2, "b", true))]), Ok(()));
    assert_eq!(check(&mut all, &[("a", vote(3, "a", true))]), Err(Promise::LeaderCompleteness));
}

#[test]
fn another_entry_taken_for_committed() {
    let log = |term| [three(), vec![line(term, 1)]].concat();
    let mut all = logs([("a", log(1)), ("b", log(1)), ("c", log(2))], log(1));
    assert_eq!(check(&mut all, &[("b", Noted::Committed(id(1, 1)))]), Ok(()));
    assert_eq!(check(&mut all, &[("c", Noted::Committed(id(2, 1)))]), Err(Promise::StateMachineSafety));
}

#[test]
fn a_commit_that_most_disks_do_not_have() {
    let log = || [three(), vec![line(1, 1)]].concat();
    let committed = Noted::Committed(id(1, 1));
    let mut all = logs([("a", log()), ("b", log()), ("c", three())], three());
    assert_eq!(check(&mut all, &[("a", committed.clone())]), Ok(()));
    // Handed over is not durable.
    all.shelves.get_mut(&1).expect("b").durable = Log { lines: three().into(), ..Log::default() };
    assert_eq!(check(&mut all, &[("a", committed)]), Err(Promise::QuorumDurability));
}

/// The old voters of a change of members are asked, too: an engine that counts the new ones only is found.
#[test]
fn a_commit_by_the_new_side_of_a_change_alone() {
    let joint = || members(1, 1, vec![group("a b c"), group("c d e")]);
    let log = || [three(), vec![joint(), line(1, 2)]].concat();
    let committed = [("c", Noted::Committed(id(1, 2)))];
    let old = || [three(), vec![joint()]].concat();
    let mut all = logs([("a", log()), ("b", old()), ("c", log()), ("d", log()), ("e", old())], three());
    assert_eq!(check(&mut all, &committed), Ok(()));
    let mut all = logs([("a", old()), ("b", old()), ("c", log()), ("d", log()), ("e", log())], three());
    assert_eq!(check(&mut all, &committed), Err(Promise::QuorumDurability));
    // Nor by the old side alone.
    let mut all = logs([("a", log()), ("b", log()), ("c", log()), ("d", old()), ("e", old())], three());
    assert_eq!(check(&mut all, &[("a", Noted::Committed(id(1, 2)))]), Err(Promise::QuorumDurability));
}

/// An entry of an earlier term that is on most disks can still be replaced (Raft, figure 8).
#[test]
fn a_leader_that_commits_an_earlier_term_by_count() {
    let log = || [three(), vec![line(1, 1)]].concat();
    let mut all = logs([("a", log()), ("b", log()), ("c", three())], three());
    let leads = ("a", vote(2, "a", true));
    assert_eq!(check(&mut all, &[leads, ("a", Noted::Committed(id(1, 1)))]), Err(Promise::QuorumDurability));
}

#[test]
fn indexes_out_of_order() {
    let log = || [three(), vec![line(1, 1), line(1, 2)]].concat();
    let fresh = || logs([("a", log()), ("b", log())], log());
    assert_eq!(check(&mut fresh(), &[("a", Noted::Purge(id(1, 1)))]), Err(Promise::OrderOfIndexes));
    let mut kept = fresh();
    kept.shelves.get_mut(&0).expect("a").present.snapshot = Some(Taken { last: Some(id(1, 1)), voters: Vec::new() });
    assert_eq!(check(&mut kept, &[("a", Noted::Purge(id(1, 1)))]), Ok(()));
    let back = [("a", Noted::Committed(id(1, 2))), ("a", Noted::Committed(id(1, 1)))];
    assert_eq!(check(&mut fresh(), &back), Err(Promise::OrderOfIndexes));
    let truncated = [("a", Noted::Committed(id(1, 2))), ("a", Noted::Truncate(2))];
    assert_eq!(check(&mut fresh(), &truncated), Err(Promise::OrderOfIndexes));
}

#[test]
fn a_disk_that_lost_what_it_had() {
    let log = |lines: Vec<Line>| Log { lines: lines.into(), ..Log::default() };
    let durable = [three(), vec![line(1, 1)]].concat();
    let later = [durable.clone(), vec![line(1, 2)]].concat();
    let waiting = [Noted::Append(vec![line(1, 2)])].into();
    let shelf = Shelf { member: None, present: log(later.clone()), durable: log(durable.clone()), waiting, handed: 0 };
    for found in [durable, later] {
        assert_eq!(reopened("a", &shelf, &log(found)), Ok(()));
    }
    let lost = reopened("a", &shelf, &log(three())).map_err(|wrong| wrong.promise);
    assert_eq!(lost, Err(Promise::WholeDisks));
}

#[test]
fn a_subscriber_that_was_forgotten() {
    let all = |last| heard_all(&[Listener { last: Some(7) }, Listener { last }], 7).map_err(|wrong| wrong.promise);
    assert_eq!(all(Some(7)), Ok(()));
    assert_eq!((all(Some(6)), all(None)), (Err(Promise::Subscriptions), Err(Promise::Subscriptions)));
}

#[test]
fn one_member_on_two_disks() {
    let mut membership = SafeMembership::default();
    assert_eq!(membership.named(&member("a"), 0), Ok(()));
    assert_eq!(membership.named(&member("a"), 0), Ok(()));
    assert_eq!(membership.named(&member("a"), 3).map_err(|wrong| wrong.promise), Err(Promise::SafeMembership));
}

#[test]
fn a_call_that_takes_effect_twice_out_of_order_or_against_its_answer() {
    let mut once = ExactlyOnce::default();
    assert_eq!(once.took_effect(7, 1, Some((1, 4))), Ok(()));
    assert_eq!(once.took_effect(7, 2, None).map_err(|wrong| wrong.promise), Err(Promise::ExactlyOnce));
    assert_eq!(once.took_effect(8, 2, Some((1, 3))).map_err(|wrong| wrong.promise), Err(Promise::ExactlyOnce));
    let denied = Claim::NeverProposed { reason: "it was full".into() };
    let told = |tag, claim: &Claim| Try {
        tag,
        node: 0,
        opening: 1,
        chosen: None,
        began: 0,
        answered: None,
        claims: vec![claim.clone()],
    };
    assert_eq!(denied_and_done(&[told(9, &denied)], &once), []);
    assert!(!denied_and_done(&[told(7, &denied)], &once).is_empty());
    // Under the id of 7, by mistake.
    assert_eq!(once.took_effect(6, 3, None).map_err(|wrong| wrong.promise), Err(Promise::ExactlyOnce));
    let judged = |index| Claim::Decided { fate: Fate::Rejected, index, tag: None };
    let [one, two] = [told(10, &judged(1)), told(12, &judged(2))];
    assert_eq!(out_of_order(&[told(7, &denied), one, two], &once), []);
    assert!(!out_of_order(&[told(10, &judged(2)), told(7, &denied)], &once).is_empty());
}

#[test]
fn a_call_that_takes_effect_before_what_was_told_before_it_began() {
    let decided =
        |fate, index| in_real_time(7, 0, 5, &Claim::Decided { fate, index, tag: None }).map_err(|wrong| wrong.promise);
    assert_eq!((decided(Fate::Action, 6), decided(Fate::Nothing, 5)), (Ok(()), Ok(())));
    assert_eq!(decided(Fate::Action, 5), Err(Promise::RealTime));
    assert_eq!(decided(Fate::Rejected, 4), Err(Promise::RealTime));
}

#[test]
fn an_answer_that_is_not_what_is_committed() {
    let fates = [(7, [(Fate::Rejected, 3)].into())].into();
    let told = |fate, index| Claim::Decided { fate, index, tag: None };
    assert_eq!(answered(7, &told(Fate::Rejected, 3), &fates), Ok(()));
    let promise = |claim| answered(7, &claim, &fates).map_err(|wrong| wrong.promise);
    assert_eq!(promise(told(Fate::Rejected, 4)), Err(Promise::HonestRejections));
    assert_eq!(promise(told(Fate::Action, 3)), Err(Promise::Durable));
    let early = answered(8, &told(Fate::Nothing, 1), &fates).map_err(|wrong| wrong.promise);
    assert_eq!(early, Err(Promise::HonestRejections));
}

fn trail(length: u64) -> Trail {
    Trail { length, hash: length }
}

#[test]
fn a_state_that_is_another_goes_back_or_is_stale() {
    let trails = [trail(0), trail(1)];
    assert_eq!(shown("a", 1, trail(1), &trails), Ok(()));
    assert_eq!(shown("a", 1, trail(5), &trails).map_err(|wrong| wrong.promise), Err(Promise::OneHistory));
    assert_eq!(shown("a", 2, trail(2), &trails).map_err(|wrong| wrong.promise), Err(Promise::Reads));
    assert_eq!(went_on("a", 4, 3).map_err(|wrong| wrong.promise), Err(Promise::Reads));
    assert_eq!(linearizable("a", 3, 4).map_err(|wrong| wrong.promise), Err(Promise::Reads));
    let other = provisional("a", (2, trail(2)), (3, trail(3))).map_err(|wrong| wrong.promise);
    assert_eq!(other, Err(Promise::Provisional));
}

#[test]
fn a_gap_a_double_and_a_way_back() {
    let (actions, trails) = ([7, 8, 9], [trail(0), trail(1), trail(2), trail(3)]);
    let change = |index: u64| Heard::Change { previous: index - 1, index, tag: 6 + index, state: trail(index) };
    let reset = |index| Heard::Reset { index, state: trail(index) };
    let hear = |all: &[Heard]| {
        let mut listener = Listener::default();
        all.iter().try_for_each(|one| heard(&mut listener, one, &actions, &trails)).map_err(|wrong| wrong.promise)
    };
    let began = || Heard::Began { after: 0 };
    assert_eq!(hear(&[began(), change(1), change(2)]), Ok(()));
    assert_eq!(hear(&[began(), change(1), reset(3)]), Ok(()));
    for wrong in [[change(1), change(3)], [change(1), change(1)], [change(2), reset(1)]] {
        assert_eq!(hear(&[&[began()][..], &wrong].concat()), Err(Promise::Subscriptions), "{wrong:?}");
    }
    let other = Heard::Change { previous: 0, index: 1, tag: 8, state: trail(1) };
    assert_eq!(hear(&[began(), other]), Err(Promise::Subscriptions));
}

/// A container by its types only: here, what was said of calls is compared.
struct Words;

impl Container for Words {
    type State = Vec<String>;
    type Method = String;
    type Action = String;
    type Rejection = String;

    fn initial(&self) -> Vec<String> {
        Vec::new()
    }

    fn decide(&self, _: &Vec<String>, word: String, _: &Context<'_>) -> Result<Option<String>, String> {
        Ok(Some(word))
    }

    fn reduce(&self, words: &mut Vec<String>, word: &String, _: &Context<'_>) {
        words.push(word.clone());
    }
}

#[test]
fn a_call_that_was_judged_on_another_state() {
    assert_eq!(judged_on(Index(4), trail(3), trail(3)), Ok(()));
    let other = judged_on(Index(4), trail(2), trail(3)).map_err(|wrong| wrong.promise);
    assert_eq!(other, Err(Promise::ExactValidation));
    let tagged = |value: &str| Tagged { tag: 4, seen: trail(3), value: value.to_owned(), padding: 0 };
    let action = |value: &str| Verdict::<Observed<Words>>::Action(Arc::new(tagged(value)));
    let session = || SessionId { node: "a".into(), incarnation: Incarnation(1), number: 1 };
    let comes = |said: &Verdict<Observed<Words>>, again: &[Again<Words>]| {
        let judged = [Judged { session: session(), number: CallNumber(9), verdict: said }];
        comes_to_the_same::<Words>(BatchId { term: 1, incarnation: Incarnation(1), counter: 1 }, &judged, again)
            .map_err(|wrong| wrong.promise)
    };
    let broken = Err(Promise::ExactValidation);
    assert_eq!(comes(&action("x"), &[Decision::Action(tagged("x"))]), Ok(()));
    assert_eq!(comes(&action("x"), &[Decision::Action(tagged("y"))]), broken);
    assert_eq!(comes(&action("x"), &[Decision::Nothing]), broken);
    assert_eq!(comes(&Verdict::Nothing, &[Decision::Rejected(tagged("no"))]), broken);
    assert_eq!(comes(&Verdict::Nothing, &[]), broken);
}

#[test]
fn a_perform_that_is_not_answered_or_given_up_early() {
    let second = Duration::from_secs(1);
    let at_once =
        Given { after: second / 2, patience: second, chosen: false, session_is_over: false, node_ended: false };
    let told = |claim: &Claim, given: Given| waited_out(7, claim, given).map_err(|wrong| wrong.promise);
    let never = |reason: &str| Claim::NeverProposed { reason: reason.into() };
    let id = || RequestId::Chosen("x".into());
    let (unknown, late_here) = (Claim::Unknown { id: id() }, Claim::NotVisible { id: id(), index: 3 });
    let closed = Claim::Closed { id: None };
    for claim in [&never("no leader"), &unknown, &late_here, &closed, &Claim::Conflict] {
        assert_eq!(told(claim, at_once), Err(Promise::NothingByHand), "{claim}");
    }
    for claim in [&never("no leader"), &unknown, &late_here] {
        assert_eq!(told(claim, Given { after: second, ..at_once }), Ok(()), "{claim}");
    }
    assert_eq!(told(&never("this node is overloaded: 8 calls are on their way"), at_once), Ok(()));
    assert_eq!(told(&unknown, Given { session_is_over: true, ..at_once }), Ok(()));
    assert_eq!(told(&Claim::Conflict, Given { chosen: true, ..at_once }), Ok(()));
    assert_eq!(told(&closed, Given { node_ended: true, ..at_once }), Ok(()));
    assert_eq!(told(&Claim::Decided { fate: Fate::Nothing, index: 1, tag: None }, at_once), Ok(()));
    assert_eq!(late(7, "answer", second).promise, Promise::NothingByHand);
    assert_eq!(read_late("a", second).promise, Promise::NothingByHand);
    assert_eq!(all_answered(0), Ok(()));
    assert_eq!(all_answered(1).map_err(|wrong| wrong.promise), Err(Promise::NothingByHand));
}

#[test]
fn a_call_that_is_said_to_be_open_and_was_decided() {
    assert_eq!(undecided(7, false), Ok(()));
    assert_eq!(undecided(7, true).map_err(|wrong| wrong.promise), Err(Promise::HonestRejections));
    assert_eq!(forgotten(7, true), Ok(()));
    assert_eq!(forgotten(7, false).map_err(|wrong| wrong.promise), Err(Promise::HonestRejections));
}

#[test]
fn a_conflict_with_nobody() {
    let one = |tag, chosen: Option<&str>| Try {
        tag,
        node: 0,
        opening: 1,
        chosen: chosen.map(str::to_owned),
        began: 0,
        answered: None,
        claims: Vec::new(),
    };
    let told = |tries: &[Try], claim: &Claim| has_a_rival(tries.len() - 1, claim, tries).map_err(|wrong| wrong.promise);
    let rivals = [one(8, Some("x")), one(9, Some("x"))];
    assert_eq!(told(&rivals, &Claim::Conflict), Ok(()));
    assert_eq!(told(&rivals[..1], &Claim::NeverProposed { reason: String::new() }), Ok(()));
    for tries in [
        &[one(9, Some("x"))][..],
        &[one(8, Some("x")), one(8, Some("x"))],
        &[one(8, Some("y")), one(9, Some("x"))],
        &[one(8, None), one(9, None)],
    ] {
        assert_eq!(told(tries, &Claim::Conflict), Err(Promise::ExactlyOnce));
    }
}

#[test]
fn a_node_of_another_version_that_goes_on() {
    assert_eq!((of_another_version("a", 0), not_let_in("a", false)), (Ok(()), Ok(())));
    assert_eq!(of_another_version("a", 3).map_err(|wrong| wrong.promise), Err(Promise::OneHistory));
    assert_eq!(not_let_in("a", true).map_err(|wrong| wrong.promise), Err(Promise::SafeMembership));
}

#[test]
fn a_panic_a_call_that_is_another_and_bytes_that_cannot_be_read() {
    assert_eq!(what_was_asked(7, Some(Digest(1)), Some(Digest(1))), Ok(()));
    for decided in [Some(Digest(2)), None] {
        let another = what_was_asked(7, Some(Digest(1)), decided).map_err(|wrong| wrong.promise);
        assert_eq!(another, Err(Promise::HostileBytes));
    }
    assert_eq!(no_panic(&[]), Ok(()));
    assert_eq!(no_panic(&["at".into()]).map_err(|wrong| wrong.promise), Err(Promise::HostileBytes));
    assert_eq!(unreadable(id(1, 1), "it is cut").promise, Promise::HostileBytes);
    assert_eq!(opening_ended("a", "it was cancelled").promise, Promise::HostileBytes);
}

#[test]
fn a_node_that_ends_with_another_state_or_without_a_part() {
    let stand = |index, length, digest| Stand { index, trail: trail(length), digest: Some(Digest(digest)) };
    let ends = |shown| is_one("a", shown, stand(3, 3, 7)).map_err(|wrong| wrong.promise);
    assert_eq!(ends(stand(3, 3, 7)), Ok(()));
    for other in [stand(2, 3, 7), stand(3, 2, 7), stand(3, 3, 8), Stand { digest: None, ..stand(3, 3, 7) }] {
        assert_eq!(ends(other), Err(Promise::OneHistory));
    }
    assert_eq!(one_by_one(trail(3), trail(2)).map_err(|wrong| wrong.promise), Err(Promise::OneHistory));
    assert_eq!((has_its_part("a", Role::Leader), has_its_part("a", Role::Follower)), (Ok(()), Ok(())));
    assert_eq!(has_its_part("a", Role::Learner).map_err(|wrong| wrong.promise), Err(Promise::Liveness));
    assert_eq!(stuck("a does not serve", WITHIN, "").promise, Promise::Liveness);
    assert_eq!(stopped("a", "its disk failed").promise, Promise::Liveness);
    let (index, came, is) = (Index(3), Digest(1), Digest(2));
    for halt in [Halt::Diverged { index, came, is }, Halt::Divided { index, is }] {
        assert_eq!(stopped("a", &halt.to_string()).promise, Promise::OneHistory, "{halt}");
    }
}
