//! Lines onto a cluster: the heart of `dev`.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use conflux::json::{JsonNode, JsonOutcome, JsonPerform};
use conflux::status::Role;
use conflux_core::{CallError, Index, NodeName};
use conflux_script::paths_that_differ;
use futures_core::future::BoxFuture;
use tokio::time::timeout;

use crate::answer::Answer;
use crate::cluster::Cluster;
use crate::command::Command;
use crate::exit::Refusal;
use crate::input::InputLine;
use crate::interrupt::Patience;
use crate::line::{Body, Line, LineError, Request};
use crate::output::{say, tell};
use crate::printer::Printer;
use crate::report::Report;
use crate::table::{LET_IN, Table};

/// How long an answer is waited for at a prompt before another line can be given.
const WAIT_QUIET: Duration = Duration::from_secs(1);

/// A cluster that is talked to, a line at a time.
pub(crate) struct Session {
    pub(crate) cluster: Cluster,
    pub(crate) printer: Printer,
    /// Where the last line performed: a node keeps the order of its own calls only.
    last: Option<NodeName>,
    /// Somebody is at a prompt. Commands show text, not JSON; and a line is not held up by an earlier one whose answer
    /// that somebody would not wait for any longer.
    prompt: Option<Patience>,
}

impl Session {
    pub(crate) fn new(cluster: Cluster, printer: Printer, prompt: Option<Patience>) -> Session {
        Session { cluster, printer, last: None, prompt }
    }

    /// Does what a line asks for. Performs are left in flight; everything else waits for them. Breaks when the line says
    /// that it is the last.
    pub(crate) async fn take(&mut self, input: InputLine) -> ControlFlow<()> {
        let line = input.text.and_then(|text| Line::parse(&text));
        let mut flow = ControlFlow::Continue(());
        let asks = matches!(&line, Ok(Some(Line { body: Body::Request(_), .. })));
        let done = match line {
            Ok(None) => Ok(()),
            Ok(Some(Line { at, body: Body::Request(request) })) => self.perform(at.as_deref(), request).await,
            Ok(Some(Line { at, body: Body::Command(command) })) => {
                if command == Command::Quit {
                    flow = ControlFlow::Break(());
                }
                self.command(at.as_deref(), command).await
            }
            Err(error) => Err(self.explained(error)),
        };
        let is_perform = asks && done.is_ok();
        if let Err(error) = done {
            // At a prompt nobody has counted the lines.
            let line = if self.prompt.is_some() { 0 } else { input.number };
            self.show(Answer::Bad { line, error: error.to_string() }).await;
        }
        if let Some(answered) = input.answered {
            self.wait_for_answer(is_perform).await;
            self.cluster.tell_findings();
            // The prompt may have been given up by an interrupt, and is not asked for another line after the last.
            if flow.is_continue() {
                let _ = answered.send(self.default_node());
            }
        }
        flow
    }

    /// Waits until what was asked for is answered, or nobody waits any more.
    async fn wait_for_answer(&self, is_perform: bool) {
        match &self.prompt {
            None => self.printer.drain().await,
            Some(patience) if is_perform => {
                let quiet = timeout(WAIT_QUIET, self.printer.drain());
                let answered = async { drop(quiet.await) };
                let patient = patience.wait(answered).await;
                // Nobody is kept at a line that may wait for a majority: what it waits for may be another line.
                if self.owes() {
                    let told = if patient { "no answer yet" } else { "not waited for any longer" };
                    tell!(
                        "{told}: it is shown when it comes. Other lines can be given meanwhile, as `:status` or `:heal`"
                    );
                }
            }
            // What was asked for was shown already.
            Some(_) => {}
        }
    }

    /// Whether earlier lines have no answer yet.
    fn owes(&self) -> bool {
        self.printer.asked() > self.printer.written().tally().answers
    }

    /// Shows an answer in its turn; at a prompt, before those that are not waited for any longer.
    async fn show(&self, answer: Answer) {
        if self.prompt.is_none() {
            return self.printer.answer(answer).await;
        }
        if !self.owes() {
            self.printer.answer(answer).await;
            return self.printer.drain().await;
        }
        let mut bytes = Vec::new();
        answer.write(&mut bytes);
        // Where nobody reads any more, the printer notices by itself.
        let _ = say!("{}", String::from_utf8_lossy(&bytes).trim_end());
    }

    /// Waits for the answers of earlier lines, except at a prompt.
    async fn after_earlier(&self) {
        if self.prompt.is_none() {
            self.printer.drain().await;
        }
    }

    /// What is wrong with a line: first of all its method, if there is no such one.
    fn explained(&self, error: LineError) -> Refusal {
        let methods = self.cluster.living().next().map(|node| node.methods()).unwrap_or_default();
        match error.method() {
            Some(method) if !methods.is_empty() && !methods.iter().any(|known| known == method) => {
                Refusal::new(CallError::unknown_method(method, methods))
            }
            _ => Refusal::new(error),
        }
    }

    /// The node that lines without `@` go to.
    pub(crate) fn default_node(&self) -> String {
        self.cluster.choose(None).map_or_else(|_| "-".to_owned(), |node| node.id().to_owned())
    }

    async fn perform(&mut self, at: Option<&str>, request: Request) -> Result<(), Refusal> {
        let node = self.cluster.choose(at)?.clone();
        if self.last.as_deref().is_some_and(|last| last != node.id()) {
            self.after_earlier().await;
        }
        self.last = Some(node.id().into());
        let place = self.printer.enter().await;
        let Request { method, arguments } = request;
        let outcome = node.perform(&method, arguments, JsonPerform::default()).map_err(Refusal::new)?;
        let is_wiped = self.cluster.seats().iter().any(|seat| &*seat.name == node.id() && seat.wiped);
        let outcome = if is_wiped { Box::pin(told_by_us(node, outcome)) } else { outcome };
        self.printer.perform(place, method, outcome).await;
        Ok(())
    }

    async fn command(&mut self, at: Option<&str>, command: Command) -> Result<(), Refusal> {
        self.after_earlier().await;
        self.cluster.tell_findings();
        if let Command::Outcome { request_id } = command {
            let outcome = self.cluster.choose(at)?.outcome(&request_id).await;
            self.show(Answer::Asked { request_id, outcome }).await;
            return Ok(());
        }
        let report = self.report(at, command).await?;
        let text = if self.prompt.is_some() { report.to_string() } else { report.to_json().to_string() };
        self.show(Answer::Shown(text)).await;
        Ok(())
    }

    async fn report(&mut self, at: Option<&str>, command: Command) -> Result<Report, Refusal> {
        Ok(match command {
            Command::State => {
                let (index, state) = self.cluster.choose(at)?.state();
                Report::State { index, state }
            }
            Command::Provisional => Report::Provisional { state: self.cluster.choose(at)?.provisional_state().1 },
            Command::Status => Report::Status(Table::of(&self.cluster)),
            Command::Kill { node } => {
                self.cluster.kill(&node).await?;
                Report::Killed { node }
            }
            Command::Restart { node, wiped } => {
                let was_up = self.cluster.restart(&node, wiped).await?;
                Report::Restarted { node, wiped, was_up }
            }
            Command::Partition { groups } => Report::Partitioned { groups: self.cluster.partition(groups)? },
            Command::Heal => {
                self.cluster.heal();
                Report::Healed
            }
            Command::Log { count } => Report::Log(self.cluster.choose(at)?.log(count)),
            Command::At { index } => {
                let state = state_at(&**self.cluster.choose(at)?, index)?;
                Report::State { index, state }
            }
            Command::Diff { from, to } => {
                let node = self.cluster.choose(at)?;
                let differences = paths_that_differ(&state_at(&**node, from)?, &state_at(&**node, to)?);
                Report::Difference { from, to, differences }
            }
            Command::Help => Report::Help,
            Command::Quit => Report::Quit,
            Command::Outcome { .. } => unreachable!("it is answered as a perform is"),
        })
    }
}

/// The outcome of a perform at a node whose disk was emptied. It knows of no cluster, and would say that it waits to found
/// one; we know better, as in the table.
async fn told_by_us(node: Arc<dyn JsonNode>, outcome: BoxFuture<'static, JsonOutcome>) -> JsonOutcome {
    match outcome.await {
        JsonOutcome::NeverProposed(reason)
            if reason.starts_with("the deadline passed") && node.status().role == Role::Waiting =>
        {
            JsonOutcome::NeverProposed(format!("the deadline passed while node {} waited {LET_IN}", node.id()))
        }
        outcome => outcome,
    }
}

fn state_at(node: &dyn JsonNode, index: Index) -> Result<serde_json::Value, Refusal> {
    node.state_at(index).ok_or_else(|| {
        let (id, latest) = (node.id(), node.status().index);
        Refusal::new(if index > latest {
            format!("index {index} has not been reached; node {id} is at {latest}")
        } else {
            format!("node {id} does not hold the state at index {index} any more; `:log` shows what it holds")
        })
    })
}
