//! How many lines may be in flight: as many as the container answers in good time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The most lines in flight: a batch holds no more calls.
pub(crate) const IN_FLIGHT_MAX: usize = 1024;

/// How many are in flight at first, before anything is known of the container.
const IN_FLIGHT_FIRST: usize = 8;

/// An answer that takes longer says that too many are in flight.
const SLOW: Duration = Duration::from_millis(500);

/// How much of its deadline a call may wait behind others.
const DEADLINE_SHARE: u32 = 8;

/// Where a line takes its place in flight.
#[derive(Clone)]
pub(crate) struct Entrance(Arc<Semaphore>);

/// A line's place in flight, and since when it has it.
#[derive(Debug)]
pub(crate) struct Place {
    permit: OwnedSemaphorePermit,
    since: Instant,
}

impl Entrance {
    /// Waits while too many lines are in flight.
    pub(crate) async fn enter(&self) -> Place {
        let permit = self.0.clone().acquire_owned().await.expect("the places are never closed");
        Place { permit, since: Instant::now() }
    }
}

/// Opens more places while answers come soon, and halves them when one comes late: a call must not pass its deadline
/// only because it waited behind others.
pub(crate) struct Pace {
    places: Arc<Semaphore>,
    slow: Duration,
    limit: usize,
    /// How many places are to be taken away once they are free.
    surplus: usize,
    /// How many answers are still to come that were in flight when the places were last halved: they are as late, and say
    /// nothing new.
    stale: usize,
}

impl Pace {
    /// For calls that are given up after `deadline`.
    pub(crate) fn new(deadline: Duration) -> Pace {
        Pace {
            places: Arc::new(Semaphore::new(IN_FLIGHT_FIRST)),
            slow: SLOW.min(deadline / DEADLINE_SHARE),
            limit: IN_FLIGHT_FIRST,
            surplus: 0,
            stale: 0,
        }
    }

    pub(crate) fn entrance(&self) -> Entrance {
        Entrance(self.places.clone())
    }

    /// A line was answered: its place is free again, or is given up.
    pub(crate) fn answered(&mut self, place: Place) {
        let took = place.since.elapsed();
        if self.stale > 0 {
            self.stale -= 1;
        } else if took > self.slow && self.limit > 1 {
            let kept = self.limit / 2;
            self.stale = self.limit - 1;
            self.surplus += self.limit - kept;
            self.limit = kept;
        } else if took < self.slow / 4 && self.limit < IN_FLIGHT_MAX {
            self.limit += 1;
            match self.surplus {
                0 => self.places.add_permits(1),
                _ => self.surplus -= 1,
            }
        }
        if self.surplus > 0 {
            self.surplus -= 1;
            place.permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every line that can enter, each so long after it entered; how many there were.
    async fn round(pace: &mut Pace, took: Duration) -> usize {
        let entrance = pace.entrance();
        let mut places = Vec::new();
        while entrance.0.available_permits() > 0 {
            places.push(entrance.enter().await);
        }
        tokio::time::advance(took).await;
        let count = places.len();
        places.into_iter().for_each(|place| pace.answered(place));
        count
    }

    #[tokio::test(start_paused = true)]
    async fn quick_answers_open_places_and_late_ones_close_them() {
        let mut pace = Pace::new(Duration::from_secs(10));
        assert_eq!(round(&mut pace, Duration::from_millis(1)).await, 8);
        assert_eq!(round(&mut pace, Duration::from_millis(1)).await, 16);
        for _ in 0..8 {
            round(&mut pace, Duration::from_millis(1)).await;
        }
        assert_eq!(round(&mut pace, Duration::from_millis(300)).await, 1024);
        assert_eq!(round(&mut pace, Duration::from_millis(600)).await, 1024);
        assert_eq!(round(&mut pace, Duration::from_millis(600)).await, 512);
        for _ in 0..20 {
            round(&mut pace, Duration::from_secs(2)).await;
        }
        assert_eq!(round(&mut pace, Duration::from_millis(1)).await, 1);
        assert_eq!(round(&mut pace, Duration::from_millis(1)).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_deadline_is_kept_to() {
        let mut pace = Pace::new(Duration::from_secs(1));
        assert_eq!(round(&mut pace, Duration::from_millis(200)).await, 8);
        assert_eq!(round(&mut pace, Duration::from_millis(200)).await, 4);
    }
}
