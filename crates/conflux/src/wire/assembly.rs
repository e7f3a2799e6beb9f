//! Putting the chunks of large messages together again.

use crate::channel::Name;

use super::{Frame, FrameError, Head, Limits, Role};

/// The messages of all peers that are half received.
///
/// A channel keeps the order or loses, so the chunks of a message come in order, and a gap means that the message will
/// never be whole: it is dropped at once. There is no clock here. A partial whose sender fell silent stays until newer
/// ones need its room, which the limits bound.
pub(super) struct Assembly {
    limits: Limits,
    /// In the order in which they began. At most `partials_max`, and `partials_per_peer_max` of a peer. Short enough
    /// (one or two, unless somebody is hostile) that looking through it is the fastest way to find one.
    partials: Vec<Partial>,
    /// What the partials' bodies have allocated; at most `partial_bytes_max`.
    bytes_held: usize,
    abandoned: u64,
    closed: bool,
}

/// What became of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It was the last one: the whole message, as one frame.
    Whole(Frame),
    /// It was kept or is a duplicate, and more have to come.
    Partial,
    /// It was dropped: an earlier one is missing.
    Gap,
}

struct Partial {
    from: Name,
    id: u64,
    role: Role,
    head: Head,
    count: u32,
    total: u64,
    body_checksum: u32,
    /// The index of the next chunk.
    next: u32,
    /// Grows as chunks come, never because of what a header announces.
    body: Vec<u8>,
}

impl Assembly {
    pub(super) fn new(limits: Limits) -> Self {
        Assembly { limits, partials: Vec::new(), bytes_held: 0, abandoned: 0, closed: false }
    }

    /// Take in a chunk of a message of several chunks. The frame was decoded under the same limits.
    pub(super) fn add(&mut self, from: &Name, frame: Frame) -> Result<Progress, FrameError> {
        if self.closed {
            return Ok(Progress::Gap);
        }
        let known = self.partials.iter().position(|partial| partial.is_of(from, &frame));
        let at = match known {
            // The first chunk of a message that is known: a duplicate, or a sender that began anew. To begin anew is
            // right for both: a duplicate's later chunks then leave a gap, and nothing is put together wrongly.
            Some(at) if frame.index == 0 => {
                self.abandon(at);
                self.begin(from, &frame)
            }
            Some(at) => at,
            None if frame.index == 0 => self.begin(from, &frame),
            None => return Ok(Progress::Gap),
        };
        let partial = &self.partials[at];
        if frame.index < partial.next {
            return Ok(Progress::Partial);
        }
        if frame.index > partial.next {
            self.abandon(at);
            return Ok(Progress::Gap);
        }
        if !partial.goes_on_with(&frame) {
            self.abandon(at);
            return Err(FrameError::Mismatch { id: frame.id, index: frame.index });
        }
        let Some(at) = self.make_room(at, frame.payload.len()) else {
            return Ok(Progress::Gap);
        };
        let partial = &mut self.partials[at];
        partial.body.extend_from_slice(&frame.payload);
        partial.next += 1;
        if partial.next < partial.count {
            return Ok(Progress::Partial);
        }
        let whole = self.remove(at);
        let payload = whole.body.into();
        Ok(Progress::Whole(Frame { index: 0, count: 1, body_checksum: 0, payload, ..frame }))
    }

    pub(super) fn len(&self) -> usize {
        self.partials.len()
    }

    pub(super) fn bytes_held(&self) -> usize {
        self.bytes_held
    }

    /// How many messages were dropped half received.
    pub(super) fn abandoned(&self) -> u64 {
        self.abandoned
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.partials = Vec::new();
        self.bytes_held = 0;
    }

    /// Begin a partial, dropping older ones where the limits ask for it. Returns its place.
    fn begin(&mut self, from: &Name, frame: &Frame) -> usize {
        let own = self.partials.iter().filter(|partial| partial.from == *from).count();
        if own >= self.limits.partials_per_peer_max {
            let oldest = self.partials.iter().position(|partial| partial.from == *from);
            self.abandon(oldest.expect("a peer at its bound has a partial"));
        }
        if self.partials.len() >= self.limits.partials_max {
            let crowding = self.oldest_of_heaviest(|_| 1).expect("the bound is not 0");
            self.abandon(crowding);
        }
        self.partials.push(Partial {
            from: from.clone(),
            id: frame.id,
            role: frame.role,
            head: frame.head,
            count: frame.count,
            total: frame.total,
            body_checksum: frame.body_checksum,
            next: 0,
            body: Vec::new(),
        });
        self.partials.len() - 1
    }

    /// Let a partial's body grow by a chunk, within the bound of all. Doubling keeps the copying small, and stopping at
    /// the total leaves no slack at the end. Returns the partial's place afterwards; none if it had to go itself.
    fn make_room(&mut self, mut at: usize, len: usize) -> Option<usize> {
        let body = &self.partials[at].body;
        let needed = body.len() + len;
        if needed <= body.capacity() {
            return Some(at);
        }
        let total = usize::try_from(self.partials[at].total).expect("decoding bounds the total by a usize");
        let capacity = needed.max(body.capacity() * 2).min(total);
        let growth = capacity - body.capacity();
        // A total is at most the bound of all, so this ends at the latest when only this partial is left.
        while self.bytes_held + growth > self.limits.partial_bytes_max {
            let heaviest = self.oldest_of_heaviest(|partial| partial.body.capacity())?;
            self.abandon(heaviest);
            match heaviest.cmp(&at) {
                std::cmp::Ordering::Less => at -= 1,
                std::cmp::Ordering::Equal => return None,
                std::cmp::Ordering::Greater => {}
            }
        }
        let body = &mut self.partials[at].body;
        let before = body.capacity();
        body.reserve_exact(capacity - body.len());
        self.bytes_held += body.capacity() - before;
        Some(at)
    }

    /// The oldest partial of the peer whose partials weigh most: a peer that takes too much pays for it itself.
    fn oldest_of_heaviest(&self, weight: impl Fn(&Partial) -> usize) -> Option<usize> {
        let mut weights = std::collections::BTreeMap::<&Name, usize>::new();
        for partial in &self.partials {
            *weights.entry(&partial.from).or_default() += weight(partial);
        }
        let (heaviest, _) = weights.into_iter().max_by_key(|(_, weight)| *weight)?;
        self.partials.iter().position(|partial| partial.from == *heaviest)
    }

    fn abandon(&mut self, at: usize) {
        self.abandoned += 1;
        self.remove(at);
    }

    fn remove(&mut self, at: usize) -> Partial {
        let partial = self.partials.remove(at);
        self.bytes_held -= partial.body.capacity();
        partial
    }
}

impl Partial {
    fn is_of(&self, from: &Name, frame: &Frame) -> bool {
        self.id == frame.id && self.role == frame.role && self.from == *from
    }

    /// Whether the frame, which has the next index, tells the same of the message and leaves the right length for the
    /// chunks after it: at least a byte each, and nothing after the last.
    fn goes_on_with(&self, frame: &Frame) -> bool {
        let after = u64::from(self.count - 1 - self.next);
        let rest = self.total.checked_sub(self.body.len() as u64 + frame.payload.len() as u64);
        let fits = rest.is_some_and(|rest| if after == 0 { rest == 0 } else { rest >= after });
        let same = |frame: &Frame| (frame.head, frame.count, frame.total, frame.body_checksum);
        fits && same(frame) == (self.head, self.count, self.total, self.body_checksum)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::Kind;

    const LIMITS: Limits = Limits {
        chunk_bytes: 4,
        message_bytes_max: 100,
        partials_per_peer_max: 2,
        partials_max: 3,
        partial_bytes_max: 120,
        requests_max: 1,
    };

    fn chunk(id: u64, index: u32, count: u32, total: u64, payload: &[u8]) -> Frame {
        let head = Head { kind: Kind(1), group: 2, cluster: 3 };
        let payload = Bytes::copy_from_slice(payload);
        Frame { head, role: Role::Post, id, index, count, total, body_checksum: 9, payload }
    }

    /// Chunk `index` of three of the message "abcdefghij".
    fn letters(id: u64, index: u32) -> Frame {
        chunk(id, index, 3, 10, [&b"abcd"[..], b"efgh", b"ij"][index as usize])
    }

    /// The first of two chunks, 50 bytes long.
    fn fifty(id: u64) -> Frame {
        chunk(id, 0, 2, 60, &[0; 50])
    }

    fn add(assembly: &mut Assembly, from: &str, frame: Frame) -> Progress {
        let progress = assembly.add(&from.into(), frame).unwrap();
        assert!(assembly.bytes_held <= LIMITS.partial_bytes_max);
        assert_eq!(assembly.bytes_held, assembly.partials.iter().map(|partial| partial.body.capacity()).sum::<usize>());
        progress
    }

    fn assert_whole(progress: Progress) {
        let Progress::Whole(frame) = progress else { panic!("not whole but {progress:?}") };
        assert_eq!(frame.payload, &b"abcdefghij"[..]);
        assert_eq!((frame.index, frame.count, frame.total), (0, 1, 10));
    }

    #[test]
    fn chunks_in_order_make_a_message_also_among_others() {
        let mut assembly = Assembly::new(LIMITS);
        for index in 0..2 {
            for (from, id) in [("a", 1), ("a", 2), ("b", 1)] {
                assert_eq!(add(&mut assembly, from, letters(id, index)), Progress::Partial);
            }
        }
        for (from, id) in [("b", 1), ("a", 1), ("a", 2)] {
            assert_whole(add(&mut assembly, from, letters(id, 2)));
        }
        assert_eq!((assembly.len(), assembly.bytes_held(), assembly.abandoned()), (0, 0, 0));
    }

    #[test]
    fn a_gap_drops_the_message_and_a_duplicate_does_not() {
        let mut assembly = Assembly::new(LIMITS);
        assert_eq!(add(&mut assembly, "a", letters(1, 1)), Progress::Gap);
        add(&mut assembly, "a", letters(1, 0));
        assert_eq!(add(&mut assembly, "a", letters(1, 2)), Progress::Gap);
        assert_eq!(add(&mut assembly, "a", letters(1, 1)), Progress::Gap, "it is gone");
        assert_eq!((assembly.len(), assembly.abandoned()), (0, 1));

        for index in [0, 0, 1, 1] {
            assert_eq!(add(&mut assembly, "a", letters(1, index)), Progress::Partial);
        }
        assert_whole(add(&mut assembly, "a", letters(1, 2)));
        assert_eq!(add(&mut assembly, "a", letters(1, 2)), Progress::Gap);
    }

    #[test]
    fn a_sender_that_begins_anew_drops_what_it_had_begun() {
        let mut assembly = Assembly::new(LIMITS);
        add(&mut assembly, "a", chunk(1, 0, 3, 10, b"old!"));
        for index in 0..2 {
            add(&mut assembly, "a", letters(1, index));
        }
        assert_whole(add(&mut assembly, "a", letters(1, 2)));
    }

    #[test]
    fn a_chunk_that_contradicts_the_earlier_ones_is_refused() {
        let contradictions = [
            chunk(1, 1, 4, 10, b"efgh"),
            chunk(1, 1, 3, 11, b"efgh"),
            chunk(1, 1, 3, 10, b"efghij"),
            Frame { head: Head { kind: Kind(9), group: 2, cluster: 3 }, ..letters(1, 1) },
            Frame { body_checksum: 8, ..letters(1, 1) },
        ];
        for contradiction in contradictions {
            let mut assembly = Assembly::new(LIMITS);
            add(&mut assembly, "a", letters(1, 0));
            let refused = assembly.add(&"a".into(), contradiction);
            assert_eq!(refused, Err(FrameError::Mismatch { id: 1, index: 1 }));
            assert_eq!((assembly.len(), assembly.bytes_held()), (0, 0));
        }
        let mut assembly = Assembly::new(LIMITS);
        add(&mut assembly, "a", letters(1, 0));
        add(&mut assembly, "a", letters(1, 1));
        assert!(assembly.add(&"a".into(), chunk(1, 2, 3, 10, b"i")).is_err(), "too short at the end");
    }

    #[test]
    fn a_peer_over_its_bound_loses_its_oldest() {
        let mut assembly = Assembly::new(LIMITS);
        add(&mut assembly, "b", letters(1, 0));
        for id in 1..=3 {
            add(&mut assembly, "a", letters(id, 0));
        }
        assert_eq!(add(&mut assembly, "a", letters(1, 1)), Progress::Gap);
        assert_eq!(add(&mut assembly, "a", letters(2, 1)), Progress::Partial);
        assert_eq!(add(&mut assembly, "b", letters(1, 1)), Progress::Partial);
    }

    #[test]
    fn over_the_bound_of_all_the_peer_with_most_loses_its_oldest() {
        let mut assembly = Assembly::new(LIMITS);
        for (from, id) in [("b", 1), ("a", 1), ("a", 2), ("c", 1)] {
            add(&mut assembly, from, letters(id, 0));
        }
        assert_eq!(assembly.len(), 3);
        assert_eq!(add(&mut assembly, "a", letters(1, 1)), Progress::Gap);
        assert_eq!(add(&mut assembly, "b", letters(1, 1)), Progress::Partial);
    }

    #[test]
    fn over_the_bytes_of_all_the_peer_with_most_loses_its_oldest() {
        let mut assembly = Assembly::new(LIMITS);
        add(&mut assembly, "b", letters(1, 0));
        add(&mut assembly, "a", fifty(1));
        add(&mut assembly, "a", fifty(2));
        assert_eq!(assembly.bytes_held(), 104);
        add(&mut assembly, "b", chunk(1, 1, 3, 10, b"efgh"));
        add(&mut assembly, "b", fifty(2));
        assert_eq!(assembly.len(), 3, "a's first made room");
        assert_eq!(add(&mut assembly, "a", chunk(1, 1, 2, 60, &[0; 10])), Progress::Gap);
        assert_whole(add(&mut assembly, "b", letters(1, 2)));
    }

    #[test]
    fn announced_lengths_allocate_nothing() {
        let mut assembly = Assembly::new(LIMITS);
        add(&mut assembly, "a", chunk(1, 0, 2, 100, b"x"));
        assert_eq!(assembly.bytes_held(), 1);
    }

    #[test]
    fn after_closing_nothing_is_kept() {
        let mut assembly = Assembly::new(LIMITS);
        add(&mut assembly, "a", letters(1, 0));
        assembly.close();
        assert_eq!(add(&mut assembly, "a", letters(1, 0)), Progress::Gap);
        assert_eq!((assembly.len(), assembly.bytes_held()), (0, 0));
    }
}
