//! The log on standard error: what scripts say to their console, and what conflux warns of.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::output::tell;

/// Where scripts' `console` goes.
const CONSOLE: &str = "conflux_script::console";

/// What the development check finds is told by itself, once and not by every node.
const CHECK: &str = "conflux_script::check";

/// Notices of a node that are in its status, too.
const NOTICES: [&str; 2] = ["conflux::founding", "conflux::quorum"];

/// Somebody tells the status as it changes.
static STATUS_IS_TOLD: AtomicBool = AtomicBool::new(false);

/// What is logged belongs to simulated nodes.
static IS_SIMULATED: AtomicBool = AtomicBool::new(false);

/// From now on nothing is shown here: what simulated nodes log is a part of their run's trace.
pub(crate) fn is_simulated() {
    IS_SIMULATED.store(true, Ordering::Relaxed);
}

/// From now on what is in the status is not shown once more.
pub(crate) fn status_is_told() {
    STATUS_IS_TOLD.store(true, Ordering::Relaxed);
}

/// Shows the log, unless this process has a log of its own.
pub(crate) fn to_stderr() {
    let _ = tracing::subscriber::set_global_default(Stderr);
}

/// As little of a subscriber as is needed: no spans, one line an event.
struct Stderr;

impl Subscriber for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        match metadata.target() {
            _ if metadata.is_span() => false,
            CONSOLE => true,
            CHECK => false,
            target => target.starts_with("conflux") && *metadata.level() <= Level::WARN,
        }
    }

    fn event(&self, event: &Event<'_>) {
        // Not in `enabled`, which is asked once for each place.
        if STATUS_IS_TOLD.load(Ordering::Relaxed) && NOTICES.contains(&event.metadata().target()) {
            return;
        }
        let mut line = LogLine::default();
        event.record(&mut line);
        match IS_SIMULATED.load(Ordering::Relaxed) {
            true => conflux_sim::log(&line.to_string()),
            false => tell!("{line}"),
        }
    }

    // No span is enabled, so none is ever entered or recorded.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// An event on one line: `at: message, field=value`.
#[derive(Default)]
struct LogLine {
    at: Option<String>,
    message: String,
    fields: String,
}

impl Visit for LogLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "at" => self.at = Some(value.to_owned()),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "at" => {
                self.at = Some(format!("{value:?}"));
                Ok(())
            }
            name => write!(self.fields, ", {name}={value:?}"),
        };
        written.expect("writing to memory cannot fail");
    }
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = self.at.as_ref().filter(|at| !at.is_empty()) {
            write!(f, "{at}: ")?;
        }
        write!(f, "{}{}", self.message, self.fields)
    }
}
