//! What a script may use up.

use std::time::Duration;

/// Limits and checks of a script. They bind on the leader only, before anything is proposed: near a limit nodes differ,
/// so applying has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long one call may take, its reducer included. 500 ms. A batch takes a quarter more at most: what it did not
    /// get to comes with the next one.
    pub method_time: Duration,
    /// How long the file may take to load. 5 s.
    pub load_time: Duration,
    /// How many bytes a call may add to the heap, and the file when it loads. 256 MiB.
    pub memory_bytes: usize,
    /// How much stack the JavaScript may use, in bytes; applying gets twice as much. 512 KiB, which leaves room on a
    /// thread of 2 MiB, the size of threads in Rust and tokio.
    pub stack_bytes: usize,
    /// How long the JSON of one action may be, in UTF-16 units. 1 Mi.
    pub action_length_max: usize,
    /// Whether batches are run again in a fresh heap: the development check. The first calls are all checked, then what
    /// fits into a fourth of the time. A call that comes out otherwise fails; where actions are applied, a difference is
    /// only [reported](crate::ScriptContainer::reports).
    pub check: bool,
    /// Whether a call's time is counted in the engine's steps, of which some thousands are taken for 20 µs, and not by the
    /// clock: for simulations, in which what comes of a call must not hang on how fast the machine is. Off. After 20 s by
    /// the clock a call is stopped all the same.
    pub count_steps: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            method_time: Duration::from_millis(500),
            load_time: Duration::from_secs(5),
            memory_bytes: 256 << 20,
            stack_bytes: 512 << 10,
            action_length_max: 1 << 20,
            check: false,
            count_steps: false,
        }
    }
}
