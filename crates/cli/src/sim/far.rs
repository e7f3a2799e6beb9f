//! How far a simulation is: a bar on a terminal, a line now and then elsewhere, and a last word when it is interrupted.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conflux_sim::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::output::tell;

/// How often a line tells how far it is, where there is no terminal.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How often the bar is drawn while nothing comes.
const DRAW_EVERY: Duration = Duration::from_millis(500);

#[derive(Clone)]
pub(super) struct Far(Arc<Shared>);

struct Shared {
    bar: ProgressBar,
    /// How far it is, in words.
    words: Mutex<String>,
    /// The command that runs a seed, before and behind its number.
    again: (String, String),
    ended: AtomicBool,
}

impl Far {
    /// Of one seed, all of which is printed as it happens.
    pub(super) fn of_one(seed: u64) -> Far {
        let words = format!("seed {seed} was not run to its end");
        let far = Far::new(ProgressBar::hidden(), words, (String::new(), String::new()));
        far.listen();
        far
    }

    pub(super) fn of_many(before: String, behind: String) -> Far {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:40} {pos} of {len} seeds  {elapsed}  {msg}");
        let bar = bar.with_style(style.expect("the template is well-formed"));
        let far = Far::new(bar, "no seed was run to its end".into(), (before, behind));
        far.listen();
        if std::io::stderr().is_terminal() {
            far.0.bar.enable_steady_tick(DRAW_EVERY);
        } else {
            far.tell_now_and_then();
        }
        far
    }

    fn new(bar: ProgressBar, words: String, again: (String, String)) -> Far {
        Far(Arc::new(Shared { bar, words: Mutex::new(words), again, ended: AtomicBool::new(false) }))
    }

    /// It is so far.
    pub(super) fn tell(&self, progress: &Progress) {
        let Shared { bar, again: (before, behind), .. } = &*self.0;
        match progress {
            Progress::Seeds { held, of } => {
                bar.set_length(*of);
                bar.set_position(*held);
                self.say(format!("{held} of {of} seeds hold"));
            }
            // Told at once: what makes it shorter may take longer than somebody waits.
            Progress::Broken { seed, wrong } => {
                self.say(format!("seed {seed} breaks {}, and is made shorter", wrong.promise));
                bar.suspend(|| {
                    tell!(
                        "seed {seed} breaks {wrong}\nmaking it shorter; as it is, it runs by:\n  {before} {seed}{behind}"
                    );
                });
            }
            Progress::Shrinking { seed, tries, nodes, faults, asks } => {
                let words = format!(
                    "seed {seed} made shorter: {nodes} nodes, {faults} faults, {asks} calls after {tries} tries"
                );
                bar.set_message(words.clone());
                self.say(words);
            }
        }
    }

    /// Nothing more is told.
    pub(super) fn end(&self) {
        self.0.ended.store(true, Ordering::Relaxed);
        self.0.bar.finish_and_clear();
    }

    fn say(&self, words: String) {
        *self.0.words.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    fn words(&self) -> String {
        self.0.words.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Relaxed)
    }

    fn tell_now_and_then(&self) {
        let far = self.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(TELL_EVERY);
                if far.has_ended() {
                    return;
                }
                tell!("{}", far.words());
            }
        });
    }

    /// Ctrl-C and the like end the program here: the threads that run seeds hear nothing.
    fn listen(&self) {
        let far = self.clone();
        let (listening, listens) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            let exit = runtime.block_on(async {
                let mut interrupt = Interrupt::listen();
                // Whoever began it may have gone on without.
                let _ = listening.send(());
                interrupt.happened().await;
                interrupt.exit().unwrap_or(Exit::Interrupted)
            });
            far.0.bar.finish_and_clear();
            tell!("interrupted: {}", far.words());
            std::process::exit(i32::from(exit as u8));
        });
        // Nothing is begun that would end without a word; without a runtime, the sender is gone.
        let _ = listens.recv();
    }
}
