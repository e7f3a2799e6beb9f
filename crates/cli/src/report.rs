//! What commands show: JSON for programs, text for people.

use std::fmt;
use std::io::IsTerminal;

use conflux::json::JsonChange;
use conflux_core::Index;
use conflux_script::Difference;
use serde_json::{Value, json};

use crate::command::COMMANDS;
use crate::line::shortened;
use crate::table::Table;

/// How much of a value that changed is shown.
const SHOWN_CHARS: usize = 200;

/// What a command gave.
#[derive(Clone, Debug)]
pub(crate) enum Report {
    State { index: Index, state: Value },
    Provisional { state: Value },
    Status(Table),
    Killed { node: String },
    Restarted { node: String, wiped: bool, was_up: bool },
    Partitioned { groups: Vec<Vec<String>> },
    Healed,
    Log(Vec<JsonChange>),
    Difference { from: Index, to: Index, differences: Vec<Difference> },
    Help,
    Quit,
}

impl Report {
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Report::State { index, state } => json!({"state": state, "index": index}),
            Report::Provisional { state } => json!({"provisional": state}),
            Report::Status(table) => json!({"status": table.to_json()}),
            Report::Killed { node } => json!({"killed": node}),
            Report::Restarted { node, wiped, was_up } => {
                let mut value = json!({"restarted": node, "wiped": wiped});
                if *was_up {
                    value["was_up"] = true.into();
                }
                value
            }
            Report::Partitioned { groups } => json!({"partition": groups}),
            Report::Healed => json!({"healed": true}),
            Report::Log(changes) => json!({"log": changes.iter().map(change_value).collect::<Vec<_>>()}),
            Report::Difference { from, to, differences } => {
                let paths: Vec<String> = differences.iter().map(path).collect();
                json!({"from": from, "to": to, "changed": paths})
            }
            Report::Quit => json!({"quit": true}),
            Report::Help => {
                let commands: Vec<Value> =
                    COMMANDS.iter().map(|(usage, does)| json!({"command": usage, "does": does})).collect();
                json!({"commands": commands})
            }
        }
    }
}

/// The place of a difference, as JavaScript would write it.
fn path(difference: &Difference) -> String {
    format!("state{}", difference.path)
}

/// A committed action, as every command shows it.
pub(crate) fn change_value(change: &JsonChange) -> Value {
    let JsonChange { index, action, origin, time_ms } = change;
    json!({"index": index, "action": action, "origin": origin, "time_ms": time_ms})
}

/// A state and its place, as `state` shows it: on one line for programs, on several for people.
pub(crate) fn state_text(index: Index, state: &Value) -> String {
    let shown = json!({"index": index, "state": state});
    if std::io::stdout().is_terminal() { format!("{shown:#}") } else { shown.to_string() }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::State { index, state } => write!(f, "{state:#}\nat index {index}"),
            Report::Provisional { state } => write!(f, "{state:#}\nprovisional"),
            Report::Status(table) => table.fmt(f),
            Report::Killed { node } => write!(f, "{node} is down; its disk stays. `:restart {node}` opens it again"),
            Report::Restarted { node, wiped, was_up } => {
                let again = if *was_up { "was up: it was closed, and opened again" } else { "is up again" };
                match wiped {
                    false => write!(f, "{node} {again} on its disk"),
                    true => write!(
                        f,
                        "{node} {again} with an empty disk. It joins as a new node and catches up; its vote it has once \
                         `:status` calls it follower or leader"
                    ),
                }
            }
            Report::Partitioned { groups } => {
                let groups: Vec<String> = groups.iter().map(|group| group.join(" ")).collect();
                write!(f, "parted: {}. `:heal` lets them hear each other again", groups.join(" | "))
            }
            Report::Healed => f.write_str("all nodes hear each other"),
            Report::Log(changes) if changes.is_empty() => f.write_str("no action is held"),
            Report::Log(changes) => {
                let width = changes.last().map_or(0, |change| change.index.to_string().len());
                lines(
                    f,
                    changes.iter().map(|JsonChange { index, action, origin, .. }| {
                        format!("{:>width$}  {origin}  {action}", index.0)
                    }),
                )
            }
            Report::Difference { from, to, differences } if differences.is_empty() => {
                write!(f, "nothing differs between index {from} and {to}")
            }
            Report::Difference { differences, .. } => lines(
                f,
                differences.iter().map(|difference| {
                    let show = |value: &Option<Value>| {
                        value
                            .as_ref()
                            .map_or_else(|| "nothing".to_owned(), |value| shortened(&value.to_string(), SHOWN_CHARS))
                    };
                    format!("{}: {} -> {}", path(difference), show(&difference.left), show(&difference.right))
                }),
            ),
            Report::Quit => f.write_str("the end"),
            Report::Help => {
                let performs = [
                    ("METHOD [JSON]...", "performs a method, as in: append \"foo\""),
                    ("@b METHOD ...", "performs it at node b; commands take @b as well"),
                ];
                let width = performs.iter().chain(&COMMANDS).map(|(usage, _)| usage.len()).max().unwrap_or(0);
                lines(f, performs.iter().chain(&COMMANDS).map(|(usage, does)| format!("{usage:width$}  {does}")))
            }
        }
    }
}

/// Lines without an end after the last.
fn lines(f: &mut fmt::Formatter<'_>, lines: impl Iterator<Item = String>) -> fmt::Result {
    f.write_str(&lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_one_line() {
        let state = Report::State { index: Index(2), state: json!(["a\nb", {"x": 1}]) };
        assert_eq!(state.to_json().to_string(), r#"{"state":["a\nb",{"x":1}],"index":2}"#);
        let change = JsonChange { index: Index(1), action: json!({"type": "A"}), origin: "b".into(), time_ms: 5 };
        assert_eq!(
            Report::Log(vec![change]).to_json().to_string(),
            r#"{"log":[{"index":1,"action":{"type":"A"},"origin":"b","time_ms":5}]}"#
        );
        let difference = Difference { path: "[1]".into(), left: None, right: Some(json!("b")) };
        let difference = Report::Difference { from: Index(1), to: Index(3), differences: vec![difference] };
        assert_eq!(difference.to_string(), "state[1]: nothing -> \"b\"");
        assert_eq!(difference.to_json().to_string(), r#"{"from":1,"to":3,"changed":["state[1]"]}"#);
    }

    #[test]
    fn people_get_text() {
        let state = Report::State { index: Index(2), state: json!(["a"]) };
        assert_eq!(state.to_string(), "[\n  \"a\"\n]\nat index 2");
        let help = Report::Help.to_string();
        assert!(help.contains("\n:kill b               close a node; its disk stays\n"), "{help}");
    }
}
