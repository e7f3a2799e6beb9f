//! What a method or a reducer may know of the world, handed to it so that it never has to ask.

use std::time::Duration;

use crate::ids::{CallNumber, Index, NodeName, SessionId};

/// The two clocks of a batch, fixed before its methods run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    /// Milliseconds since 1970 by the leader's wall clock, never less than the batch before. For people.
    pub time_ms: u64,
    /// How long this history has been served, by the leaders' monotonic clocks. The only clock that may expire things:
    /// a wall clock set a year ahead must not.
    pub elapsed: Duration,
}

/// Who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The session of the node on which the method was performed.
    pub session: SessionId,
    /// The call in that session.
    pub number: CallNumber,
}

impl Origin {
    /// The node on which the method was performed.
    #[must_use]
    pub fn node(&self) -> &NodeName {
        &self.session.node
    }
}

/// Given to every method and reducer. Neither may read a clock or a random source of its own.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    index: Index,
    stamps: Stamps,
    session: &'a SessionId,
    number: CallNumber,
    seed: u64,
}

impl<'a> Context<'a> {
    /// A context as a store or a fork makes it; users need this in unit tests of their containers.
    #[must_use]
    pub fn new(index: Index, stamps: Stamps, origin: &'a Origin, seed: u64) -> Self {
        Context::of(index, stamps, (&origin.session, origin.number), seed)
    }

    pub(crate) fn of(index: Index, stamps: Stamps, (session, number): (&'a SessionId, CallNumber), seed: u64) -> Self {
        Context { index, stamps, session, number, seed }
    }

    /// The place this call's action takes, if it makes one. In a reducer: the place of the action.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index
    }

    /// Milliseconds since 1970, the same on every node. For people, not for expiry: see [`elapsed`](Self::elapsed).
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.stamps.time_ms
    }

    /// How long this history has been served. Never goes back and is not moved by wall clocks: leases use this.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.stamps.elapsed
    }

    /// The node on which the method was performed.
    #[must_use]
    pub fn node(&self) -> &'a NodeName {
        &self.session.node
    }

    /// Who asked.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin { session: self.session.clone(), number: self.number }
    }

    /// Randomness that is the same on every node. Each call starts the same stream; methods and reducers have
    /// different ones.
    #[must_use]
    pub fn random(&self) -> Random {
        Random::new(self.seed)
    }
}

/// A small random stream (SplitMix64, Steele et al. 2014): fixed for ever, because replicas must agree on it.
///
/// Not for secrets: its seed is in the log.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound` (by multiplication; the bias is below 2^-32 for bounds below 2^32).
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "Random::below: the bound is 0, so there is no number to choose");
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `[0, 1)`, with 53 random bits.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double")]
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Which of a call's two streams.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    Decide,
    Reduce,
}

/// The seed of one stream of the `nth` call of a batch.
pub(crate) fn stream_seed(batch_seed: u64, nth: u64, stream: Stream) -> u64 {
    let stream = match stream {
        Stream::Decide => 0,
        Stream::Reduce => 1,
    };
    Random::new(batch_seed ^ (nth * 2 + stream).wrapping_mul(0xd6e8_feb8_6659_fd93)).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_fixed_for_ever() {
        // The published test vector of SplitMix64 with seed 1234567.
        let mut random = Random::new(1_234_567);
        assert_eq!(random.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(random.next_u64(), 3_203_168_211_198_807_973);
        // The third is 9,817,491,932,198,370,423, and what is made of it is fixed with it.
        assert_eq!(random.clone().below(1000), 532);
        assert_eq!(random.unit().to_bits(), 0.532_207_304_062_419_2_f64.to_bits());
    }

    #[test]
    fn streams_of_a_batch_differ() {
        let seeds: Vec<u64> = (0..100)
            .flat_map(|nth| [stream_seed(7, nth, Stream::Decide), stream_seed(7, nth, Stream::Reduce)])
            .collect();
        let mut unique = seeds.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), seeds.len());
    }
}
