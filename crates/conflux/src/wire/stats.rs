//! What a [`Wire`](super::Wire) counts.

use std::sync::atomic::{AtomicU64, Ordering};

use super::FrameError;

/// What was refused, lost or left over since the [`Wire`](super::Wire) was made, and what it holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Frames refused as [`FrameError::TooShort`].
    pub refused_too_short: u64,
    /// Frames refused as [`FrameError::Magic`].
    pub refused_magic: u64,
    /// Frames refused as [`FrameError::Version`].
    pub refused_version: u64,
    /// Frames refused as [`FrameError::Length`].
    pub refused_length: u64,
    /// Frames refused as [`FrameError::Checksum`].
    pub refused_checksum: u64,
    /// Frames refused as [`FrameError::Flags`].
    pub refused_flags: u64,
    /// Frames refused as [`FrameError::Oversize`].
    pub refused_oversize: u64,
    /// Frames refused as [`FrameError::Chunk`].
    pub refused_chunk: u64,
    /// Frames refused as [`FrameError::Mismatch`].
    pub refused_mismatch: u64,
    /// Chunks dropped because an earlier one of the message was lost.
    pub gaps: u64,
    /// Messages dropped half received: a chunk was lost or did not fit, or newer messages needed the room.
    pub partials_abandoned: u64,
    /// Answers, or chunks of one, that no request waits for.
    pub unexpected_answers: u64,
    /// Messages not sent because they are over the limit.
    pub unsent_too_large: u64,
    /// Messages half received now.
    pub partials: usize,
    /// What they hold, in bytes.
    pub partial_bytes: usize,
    /// Requests that wait for their answer now.
    pub requests_pending: usize,
}

impl Stats {
    /// How many frames were refused, for whatever reason.
    pub fn refused(&self) -> u64 {
        self.refused_too_short
            + self.refused_magic
            + self.refused_version
            + self.refused_length
            + self.refused_checksum
            + self.refused_flags
            + self.refused_oversize
            + self.refused_chunk
            + self.refused_mismatch
    }
}

/// The counters behind [`Stats`]. Each stands alone, so none needs an order with the others.
#[derive(Default)]
pub(super) struct Counters {
    too_short: AtomicU64,
    magic: AtomicU64,
    version: AtomicU64,
    length: AtomicU64,
    checksum: AtomicU64,
    flags: AtomicU64,
    oversize: AtomicU64,
    chunk: AtomicU64,
    mismatch: AtomicU64,
    gaps: AtomicU64,
    unexpected_answers: AtomicU64,
    unsent_too_large: AtomicU64,
}

impl Counters {
    pub(super) fn refused(&self, error: &FrameError) {
        add_one(match error {
            FrameError::TooShort { .. } => &self.too_short,
            FrameError::Magic { .. } => &self.magic,
            FrameError::Version { .. } => &self.version,
            FrameError::Length { .. } => &self.length,
            FrameError::Checksum { .. } => &self.checksum,
            FrameError::Flags { .. } => &self.flags,
            FrameError::Oversize { .. } => &self.oversize,
            FrameError::Chunk { .. } => &self.chunk,
            FrameError::Mismatch { .. } => &self.mismatch,
        });
    }

    pub(super) fn gap(&self) {
        add_one(&self.gaps);
    }

    pub(super) fn unexpected_answer(&self) {
        add_one(&self.unexpected_answers);
    }

    pub(super) fn unsent_too_large(&self) {
        add_one(&self.unsent_too_large);
    }

    pub(super) fn read(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            refused_too_short: read(&self.too_short),
            refused_magic: read(&self.magic),
            refused_version: read(&self.version),
            refused_length: read(&self.length),
            refused_checksum: read(&self.checksum),
            refused_flags: read(&self.flags),
            refused_oversize: read(&self.oversize),
            refused_chunk: read(&self.chunk),
            refused_mismatch: read(&self.mismatch),
            gaps: read(&self.gaps),
            unexpected_answers: read(&self.unexpected_answers),
            unsent_too_large: read(&self.unsent_too_large),
            ..Stats::default()
        }
    }
}

fn add_one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
