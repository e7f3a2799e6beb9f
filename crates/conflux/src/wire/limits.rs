//! How much a [`Wire`](super::Wire) sends, takes and holds.

/// How much a [`Wire`](super::Wire) sends, takes and holds. [`check`](Self::check) says whether it makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bodies longer than this are sent in pieces of this length. Nodes need not agree on it.
    pub chunk_bytes: usize,
    /// The longest body, both ways. A channel's inbox must have room for it, as all its chunks are sent at once.
    pub message_bytes_max: usize,
    /// The most half-received messages of one peer. One more drops its oldest.
    pub partials_per_peer_max: usize,
    /// The most half-received messages of all peers. One more drops the oldest of the peer that has most.
    pub partials_max: usize,
    /// The most bytes that half-received messages of all peers hold. More drops the oldest of the peer that holds most.
    pub partial_bytes_max: usize,
    /// The most requests that wait for an answer. One more fails with
    /// [`RequestError::Overloaded`](super::RequestError::Overloaded).
    pub requests_max: usize,
}

impl Default for Limits {
    /// Chunks of 256 KiB, messages of 256 MiB, 4 partials a peer and 256 in all, holding 512 MiB; 65 536 requests.
    fn default() -> Self {
        Limits {
            chunk_bytes: 256 * 1024,
            message_bytes_max: 256 * 1024 * 1024,
            partials_per_peer_max: 4,
            partials_max: 256,
            partial_bytes_max: 512 * 1024 * 1024,
            requests_max: 65_536,
        }
    }
}

impl Limits {
    /// Say whether these limits can work.
    pub fn check(&self) -> Result<(), LimitsError> {
        let bounds = [
            ("chunk_bytes", self.chunk_bytes, 1, u32::MAX as usize),
            // So that the number of chunks fits the frame.
            ("message_bytes_max", self.message_bytes_max, 1, self.chunk_bytes.saturating_mul(u32::MAX as usize)),
            ("partials_per_peer_max", self.partials_per_peer_max, 1, usize::MAX),
            ("partials_max", self.partials_max, 1, usize::MAX),
            // Otherwise the largest message could never be put together.
            ("partial_bytes_max", self.partial_bytes_max, self.message_bytes_max, usize::MAX),
            ("requests_max", self.requests_max, 1, usize::MAX),
        ];
        for (name, came, least, most) in bounds {
            if !(least..=most).contains(&came) {
                return Err(LimitsError { name, came, least, most });
            }
        }
        Ok(())
    }
}

/// A limit that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the wire limit {name} must be {least} to {most}, but {came} came")]
pub struct LimitsError {
    /// Which limit.
    pub name: &'static str,
    /// What it was set to.
    pub came: usize,
    /// The least that works.
    pub least: usize,
    /// The most that works.
    pub most: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_and_what_cannot_work_does_not() {
        let good = Limits::default();
        assert_eq!(good.check(), Ok(()));
        let bad = [
            Limits { chunk_bytes: 0, ..good },
            Limits { message_bytes_max: 0, ..good },
            Limits { partials_per_peer_max: 0, ..good },
            Limits { partials_max: 0, ..good },
            Limits { partial_bytes_max: good.message_bytes_max - 1, ..good },
            Limits { requests_max: 0, ..good },
        ];
        for bad in bad {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        let error = bad[0].check().unwrap_err().to_string();
        assert_eq!(error, "the wire limit chunk_bytes must be 1 to 4294967295, but 0 came");
    }
}
