//! Whose frames are taken: signed, fresh, and of the one who is alive. No I/O and no clock here.
//!
//! A signature says that a node of the cluster made an envelope, not when. What was recorded could be sent again: to one
//! who has forgotten it, or never heard it. So a node takes frames of another one's *life* only after that life has
//! answered a challenge with a number drawn for it; and from then on only with rising numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::envelope::{Envelope, Kind, Life};
use crate::channel::{Message, Name};

/// How long to wait for a proof before it is asked for again.
const CHALLENGE_PAUSE: Duration = Duration::from_millis(200);

/// The most nodes that are kept in mind.
const NODES_MAX: usize = 1024;

/// What an envelope leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Deliver this.
    Deliver(Message),
    /// Send this kind of envelope to that node, about this.
    Reply(Kind, Name, u128),
    /// Another node has this node's name, and says so.
    Taken,
    /// Another node of this life wants this node's name.
    Claimed(Life),
    /// Nothing to do: it is for another, was heard before, or is not to be trusted yet.
    Nothing,
}

/// What one node knows of the others.
pub(super) struct Trust {
    name: Name,
    life: Life,
    nodes: BTreeMap<Name, Known>,
    /// Where challenges come from.
    draw: fn() -> u128,
}

#[derive(Default)]
struct Known {
    /// The life that answered last, and the number of its latest envelope.
    proven: Option<(Life, u64)>,
    /// The challenge that is not answered yet, and when it was sent last.
    challenge: Option<(u128, Instant)>,
}

impl Trust {
    pub(super) fn new(name: Name, life: Life, draw: fn() -> u128) -> Trust {
        Trust { name, life, nodes: BTreeMap::new(), draw }
    }

    /// Judges an envelope that is signed.
    pub(super) fn judge(&mut self, envelope: Envelope, now: Instant) -> Verdict {
        let Envelope { kind, to, from, life, number, about, frame } = envelope;
        if to.as_ref().is_some_and(|to| *to != self.name) {
            return Verdict::Nothing;
        }
        if from == self.name {
            // Its own, on a medium that has an echo; or those of a namesake.
            return match kind {
                Kind::Claim if life != self.life => Verdict::Claimed(life),
                Kind::Taken if about == self.life && life != self.life => Verdict::Taken,
                _ => Verdict::Nothing,
            };
        }
        match kind {
            Kind::Challenge if to.is_some() => Verdict::Reply(Kind::Proof, from, about),
            Kind::Proof => {
                let known = self.known(&from);
                let asked = known.challenge.take_if(|(challenge, _)| *challenge == about).is_some();
                if asked && known.proven.is_none_or(|(proven, latest)| proven != life || latest < number) {
                    known.proven = Some((life, number));
                }
                Verdict::Nothing
            }
            Kind::Frame => {
                let draw = self.draw;
                let known = self.known(&from);
                match &mut known.proven {
                    Some((proven, latest)) if *proven == life => {
                        if number <= *latest {
                            return Verdict::Nothing;
                        }
                        *latest = number;
                        Verdict::Deliver(Message { from, frame })
                    }
                    _ => known.challenge(from, draw, now),
                }
            }
            Kind::Challenge | Kind::Claim | Kind::Taken => Verdict::Nothing,
        }
    }

    fn known(&mut self, name: &Name) -> &mut Known {
        if self.nodes.len() >= NODES_MAX && !self.nodes.contains_key(name) {
            // One that was never proven, if there is one. It is asked anew when it is heard again.
            let stale = self.nodes.iter().find(|(_, known)| known.proven.is_none()).or(self.nodes.iter().next());
            let stale = stale.map(|(name, _)| name.clone()).expect("the table is full");
            self.nodes.remove(&stale);
        }
        self.nodes.entry(name.clone()).or_default()
    }
}

impl Known {
    fn challenge(&mut self, from: Name, draw: fn() -> u128, now: Instant) -> Verdict {
        let challenge = match self.challenge {
            Some((_, when)) if now - when < CHALLENGE_PAUSE => return Verdict::Nothing,
            Some((challenge, _)) => challenge,
            None => draw(),
        };
        self.challenge = Some((challenge, now));
        Verdict::Reply(Kind::Challenge, from, challenge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Life = 0xa;
    const B: Life = 0xb;

    fn envelope(kind: Kind, to: Option<&str>, from: &str, life: Life, number: u64, about: Life) -> Envelope {
        let frame = if kind == Kind::Frame { format!("{life:x} {number}").into() } else { Default::default() };
        Envelope { kind, to: to.map(Into::into), from: from.into(), life, number, about, frame }
    }

    fn delivered(frame: &'static str) -> Verdict {
        Verdict::Deliver(Message { from: "a".into(), frame: frame.into() })
    }

    fn frame(life: Life, number: u64) -> Envelope {
        envelope(Kind::Frame, Some("b"), "a", life, number, 0)
    }

    fn proof(life: Life, number: u64, challenge: u128) -> Envelope {
        envelope(Kind::Proof, Some("b"), "a", life, number, challenge)
    }

    /// A node b that draws 1, and then whatever it is told.
    fn trust() -> (Trust, Instant) {
        (Trust::new("b".into(), B, || 1), Instant::now())
    }

    fn asks(challenge: u128) -> Verdict {
        Verdict::Reply(Kind::Challenge, "a".into(), challenge)
    }

    #[test]
    fn frames_are_taken_after_a_proof_once_and_in_order() {
        let (mut trust, now) = trust();
        assert_eq!(trust.judge(frame(A, 1), now), asks(1));
        assert_eq!(trust.judge(frame(A, 2), now), Verdict::Nothing, "asked a moment ago");
        trust.draw = || 2;
        assert_eq!(trust.judge(frame(A, 2), now + CHALLENGE_PAUSE), asks(1), "the same: an answer may be on its way");
        assert_eq!(trust.judge(proof(A, 3, 2), now), Verdict::Nothing);
        assert_eq!(trust.judge(frame(A, 4), now), Verdict::Nothing, "that was no answer");
        assert_eq!(trust.judge(proof(A, 3, 1), now), Verdict::Nothing);
        assert_eq!(trust.judge(frame(A, 1), now), Verdict::Nothing, "from before the proof");
        assert_eq!(trust.judge(frame(A, 4), now), delivered("a 4"));
        assert_eq!(trust.judge(frame(A, 4), now), Verdict::Nothing, "again");
        assert_eq!(trust.judge(frame(A, 6), now), delivered("a 6"));
        assert_eq!(trust.judge(frame(A, 5), now), Verdict::Nothing, "late");
        assert_eq!(trust.judge(envelope(Kind::Frame, None, "a", A, 7, 0), now), delivered("a 7"));
        assert_eq!(trust.judge(envelope(Kind::Frame, Some("c"), "a", A, 8, 0), now), Verdict::Nothing, "for another");
    }

    #[test]
    fn what_was_recorded_of_an_earlier_life_is_not_taken() {
        let (mut trust, now) = trust();
        assert_eq!(trust.judge(frame(A, 4), now), asks(1));
        trust.judge(proof(A, 5, 1), now);
        assert_eq!(trust.judge(frame(A, 6), now), delivered("a 6"));
        // It came back.
        trust.draw = || 2;
        assert_eq!(trust.judge(frame(0xa1, 1), now), asks(2));
        trust.judge(proof(0xa1, 2, 2), now);
        assert_eq!(trust.judge(frame(0xa1, 3), now), delivered("a1 3"));
        // What its earlier life sent is sent again, the proof included, before and after a challenge.
        trust.draw = || 3;
        trust.judge(proof(A, 5, 1), now);
        assert_eq!(trust.judge(frame(A, 6), now), asks(3));
        trust.judge(proof(A, 5, 1), now);
        assert_eq!(trust.judge(frame(A, 7), now), Verdict::Nothing);
        // Who is alive answers instead.
        trust.judge(proof(0xa1, 5, 3), now);
        assert_eq!(trust.judge(frame(0xa1, 4), now), Verdict::Nothing, "from before the proof");
        assert_eq!(trust.judge(frame(0xa1, 6), now), delivered("a1 6"));
    }

    #[test]
    fn a_late_proof_takes_nothing_back() {
        let (mut trust, now) = trust();
        trust.judge(frame(A, 1), now);
        trust.judge(proof(A, 2, 1), now);
        trust.judge(frame(A, 9), now);
        trust.draw = || 2;
        assert_eq!(trust.judge(frame(0xa0, 1), now), asks(2));
        trust.judge(proof(A, 3, 2), now);
        assert_eq!(trust.judge(frame(A, 9), now), Verdict::Nothing, "again");
        assert_eq!(trust.judge(frame(A, 10), now), delivered("a 10"));
    }

    #[test]
    fn a_proof_is_given_to_who_asks() {
        let (mut trust, now) = trust();
        let ask = |to| envelope(Kind::Challenge, to, "a", A, 1, 9);
        assert_eq!(trust.judge(ask(Some("b")), now), Verdict::Reply(Kind::Proof, "a".into(), 9));
        assert_eq!(trust.judge(ask(Some("c")), now), Verdict::Nothing);
        assert_eq!(trust.judge(ask(None), now), Verdict::Nothing);
    }

    #[test]
    fn namesakes_are_told_from_an_echo() {
        let (mut trust, now) = trust();
        assert_eq!(trust.judge(envelope(Kind::Claim, None, "b", B, 1, 0), now), Verdict::Nothing);
        assert_eq!(trust.judge(envelope(Kind::Claim, None, "b", 7, 1, 0), now), Verdict::Claimed(7));
        assert_eq!(trust.judge(envelope(Kind::Taken, Some("b"), "b", 7, 1, B), now), Verdict::Taken);
        assert_eq!(trust.judge(envelope(Kind::Taken, Some("b"), "b", 7, 1, 0xb0), now), Verdict::Nothing);
        assert_eq!(trust.judge(envelope(Kind::Frame, None, "b", B, 1, 0), now), Verdict::Nothing);
    }

    #[test]
    fn no_more_nodes_are_kept_in_mind_than_the_limit() {
        let (mut trust, now) = trust();
        trust.judge(frame(A, 1), now);
        trust.judge(proof(A, 2, 1), now);
        for number in 0..2 * NODES_MAX {
            trust.judge(envelope(Kind::Frame, None, &format!("node {number}"), 1, 1, 0), now);
        }
        assert_eq!(trust.nodes.len(), NODES_MAX);
        assert_eq!(trust.judge(frame(A, 3), now), delivered("a 3"), "one that was proven stays");
    }
}
