//! How far a long input is.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shorter inputs are done before a bar could be read.
const LINES_BEFORE: u64 = 2_000;

/// A bar on standard error; nothing where it would be in the way.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    lines: u64,
    bytes: u64,
    bytes_total: Option<u64>,
}

impl Progress {
    /// A bar that shows itself once the input proves long. `bytes_total` is the input's length if known.
    pub(crate) fn new(bytes_total: Option<u64>) -> Progress {
        // Answers on the same terminal say themselves how far it is, and would tear the bar apart.
        let visible = std::io::stderr().is_terminal() && !std::io::stdout().is_terminal();
        let bar = visible.then(|| {
            let bar = ProgressBar::with_draw_target(bytes_total, ProgressDrawTarget::hidden());
            let template = match bytes_total {
                Some(_) => "{bar:40} {percent:>3} %  {msg} lines  {eta} left",
                None => "{spinner} {msg} lines  {elapsed}",
            };
            bar.with_style(ProgressStyle::with_template(template).expect("the template is well-formed"))
        });
        Progress { bar, lines: 0, bytes: 0, bytes_total }
    }

    /// One more line of so many bytes was taken.
    pub(crate) fn advance(&mut self, bytes: u64) {
        self.lines += 1;
        self.bytes += bytes;
        let Some(bar) = &self.bar else { return };
        if self.lines == LINES_BEFORE {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        // indicatif limits how often it draws, not how often it is told.
        if self.lines >= LINES_BEFORE && self.lines.is_multiple_of(64) {
            bar.set_message(self.lines.to_string());
            match self.bytes_total {
                Some(_) => bar.set_position(self.bytes),
                None => bar.tick(),
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
