//! How far a long work is.

use std::collections::VecDeque;
use std::fmt;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// What is shorter is done before a bar could be read...
const COUNT_BEFORE: u64 = 2_000;

/// ...unless it takes so long.
const TIME_BEFORE: Duration = Duration::from_secs(2);

/// How much is counted between two looks at the bar, unless that takes longer than from one drawing to the next.
const COUNT_EVERY: u64 = 64;

/// What is left is told by the rate of so long. A container may get slower as its state grows, and a partition be healed.
const RECENT: Duration = Duration::from_secs(5);

/// How often the rate is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// How often the bar is drawn while no line is taken.
const DRAW_EVERY: Duration = Duration::from_millis(500);

/// How far it was of late.
#[derive(Default)]
struct Recent(VecDeque<(Instant, u64)>);

impl Recent {
    /// It is so far now.
    fn add(&mut self, now: Instant, bytes: u64) {
        if self.0.back().is_some_and(|(last, _)| now.saturating_duration_since(*last) < SAMPLE_EVERY) {
            return;
        }
        self.0.push_back((now, bytes));
        // The oldest that is kept is just beyond: what lies behind it is the whole of the time.
        while self.0.get(1).is_some_and(|(second, _)| now.saturating_duration_since(*second) >= RECENT) {
            self.0.pop_front();
        }
    }

    /// How long the rest takes at that rate; `None` while nothing moves.
    fn left(&self, now: Instant, bytes: u64, total: u64) -> Option<Duration> {
        let (since, then) = self.0.front()?;
        let (took, done) = (now.saturating_duration_since(*since), bytes.saturating_sub(*then));
        let rest = total.saturating_sub(bytes);
        (done > 0).then(|| took.mul_f64(rest as f64 / done as f64).min(Duration::from_secs(359_999)))
    }
}

/// A bar on standard error; nothing where it would be in the way.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    shown: bool,
    count: u64,
    bytes: u64,
    bytes_total: Option<u64>,
    begun: Instant,
    /// When the bar was told last.
    told: Instant,
    recent: Arc<Mutex<Recent>>,
}

/// What is written to standard output meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Answers,
    Nothing,
}

impl Progress {
    /// A bar that shows itself once the work proves long. `bytes_total` is how much it is, if known; `unit` is what is
    /// counted.
    pub(crate) fn new(bytes_total: Option<u64>, unit: &str, beside: Beside) -> Progress {
        // Answers on the same terminal say themselves how far it is, and would tear the bar apart.
        let torn = beside == Beside::Answers && std::io::stdout().is_terminal();
        let visible = std::io::stderr().is_terminal() && !torn;
        let recent = Arc::new(Mutex::new(Recent::default()));
        let shown = recent.clone();
        let bar = visible.then(|| {
            let bar = ProgressBar::with_draw_target(bytes_total, ProgressDrawTarget::hidden());
            let template = match bytes_total {
                Some(_) => format!("{{bar:40}} {{percent:>3}} %  {{msg}} {unit}  {{left}} left"),
                None => format!("{{spinner}} {{msg}} {unit}  {{elapsed}}"),
            };
            let style = ProgressStyle::with_template(&template).expect("the template is well-formed");
            bar.with_style(style.with_key("left", move |state: &ProgressState, text: &mut dyn fmt::Write| {
                let recent = shown.lock().unwrap_or_else(PoisonError::into_inner);
                let left = recent.left(Instant::now(), state.pos(), state.len().unwrap_or_default());
                // Whoever draws cannot be told.
                let _ = match left {
                    Some(left) => write!(text, "{}", HumanDuration(left)),
                    None => text.write_char('?'),
                };
            }))
        });
        let now = Instant::now();
        Progress { bar, shown: false, count: 0, bytes: 0, bytes_total, begun: now, told: now, recent }
    }

    /// So many more were taken, of so many bytes together.
    pub(crate) fn advance(&mut self, count: u64, bytes: u64) {
        let before = self.count;
        self.count += count;
        self.bytes += bytes;
        let Some(bar) = &self.bar else { return };
        let now = Instant::now();
        if !self.shown && (self.count >= COUNT_BEFORE || now.saturating_duration_since(self.begun) >= TIME_BEFORE) {
            self.shown = true;
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.enable_steady_tick(DRAW_EVERY);
        }
        // indicatif limits how often it draws, not how often it is told.
        let is_due =
            before / COUNT_EVERY != self.count / COUNT_EVERY || now.saturating_duration_since(self.told) >= DRAW_EVERY;
        if self.shown && is_due {
            self.told = now;
            self.recent.lock().unwrap_or_else(PoisonError::into_inner).add(now, self.bytes);
            bar.set_message(self.count.to_string());
            // A bar without a length is drawn by itself.
            if self.bytes_total.is_some() {
                bar.set_position(self.bytes);
            }
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_the_recent_rate() {
        let begun = Instant::now();
        let at = |seconds: f64| begun + Duration::from_secs_f64(seconds);
        let mut recent = Recent::default();
        assert_eq!(recent.left(at(0.0), 0, 1_000), None);
        // Ten a second for a minute, and then one a second.
        (0..=600u32).for_each(|n| recent.add(at(f64::from(n) / 10.0), n.into()));
        let seconds = |left: Option<Duration>| left.expect("it moves").as_secs_f64();
        assert!((39.0..=41.0).contains(&seconds(recent.left(at(60.0), 600, 1_000))));
        (1..=10u32).for_each(|n| recent.add(at(60.0 + f64::from(n)), 600 + u64::from(n)));
        assert!((380.0..=400.0).contains(&seconds(recent.left(at(70.0), 610, 1_000))));
        // Where nothing moves it gets longer, and no sample comes.
        assert!(seconds(recent.left(at(90.0), 610, 1_000)) > 1_000.0);
        assert!(recent.0.len() < 60, "only what is recent is kept");
    }
}
