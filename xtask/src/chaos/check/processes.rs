//! Processes end when they are told to, and at no other time.

use super::super::record::Record;
use super::{Broken, Log};

const ENDS: &str = "nothing ends by itself";

pub(super) fn check(record: &Record, _: Log<'_>) -> Vec<Broken> {
    let ended = record.endings.iter().map(|ending| {
        let what = format!("the end of {}", ending.life);
        Broken::new(
            ENDS,
            what,
            "only what was done to it",
            format!("{}; it wrote: {}", ending.status, ending.last_line),
        )
    });
    let panicked = record.panics.iter().map(|line| Broken::new(ENDS, "a panic", "none", line));
    ended.chain(panicked).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::record::{Ending, Life};
    use super::super::sample::*;

    #[test]
    fn an_end_that_nobody_caused_is_found() {
        let mut doctored = record();
        let life = Life { node: "c".into(), number: 4 };
        let (status, last_line) = ("exit status: 1".into(), "c: stops: it diverged".into());
        doctored.endings.push(Ending { life, status, last_line });
        assert_broken(&doctored, "by itself", &["c (process 4)", "exit status: 1", "it diverged"]);
        doctored.panics.push("a.log: panicked at src/x.rs".into());
        assert_broken(&doctored, "by itself", &["a panic", "src/x.rs"]);
    }
}
