//! What happened, in order: hashed, and printed if wanted.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;

use tokio::time::Instant;

/// How many of the last lines are kept for a failure.
const TAIL: usize = 80;

pub(crate) struct Trace {
    begun: Instant,
    print: bool,
    told: Mutex<Told>,
}

struct Told {
    hash: u64,
    tail: VecDeque<String>,
}

impl Trace {
    pub(crate) fn new(print: bool) -> Self {
        let told = Told { hash: 0xcbf2_9ce4_8422_2325, tail: VecDeque::new() };
        Trace { begun: Instant::now(), print, told: Mutex::new(told) }
    }

    /// Simulated microseconds since the run began.
    pub(crate) fn now(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    pub(crate) fn say(&self, line: fmt::Arguments<'_>) {
        let line = format!("{:>12} {line}", self.now());
        let mut told = self.told.lock().expect("nobody panics while it is held");
        // FNV-1a, with the line's end in it.
        for byte in line.bytes().chain([b'\n']) {
            told.hash = (told.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if self.print {
            println!("{line}");
        }
        if told.tail.len() == TAIL {
            told.tail.pop_front();
        }
        told.tail.push_back(line);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.told.lock().expect("nobody panics while it is held").hash
    }

    pub(crate) fn tail(&self) -> String {
        let told = self.told.lock().expect("nobody panics while it is held");
        told.tail.iter().fold(String::new(), |text, line| text + line + "\n")
    }
}
