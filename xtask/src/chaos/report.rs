//! What a run tells in the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::faults::Tally;
use super::options::Options;
use super::plan::Kind;
use super::proxy::Counts;
use super::record::{Call, Claim, Heard, ReadKind, Record, seconds};

/// What else was seen.
pub(super) struct Seen {
    /// Terms in which somebody led.
    pub(super) terms: usize,
    /// The last place at which the nodes compared their states.
    pub(super) agreed: u64,
    pub(super) links: Counts,
    pub(super) elapsed: Duration,
}

/// The table of faults, and the counts of what was seen.
pub(super) fn table(options: &Options, tally: &Tally, record: &Record, seen: &Seen) -> String {
    let mut text = String::from("fault      planned   done  what it did\n");
    for kind in &options.faults {
        let (planned, done) = (tally.planned(*kind), tally.done(*kind));
        writeln!(text, "{:<10} {planned:>7} {done:>6}  {}", kind.word(), tally.effects(*kind)).expect("it is memory");
    }
    let mut verdicts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut tries: BTreeMap<&str, u64> = BTreeMap::new();
    for call in &record.calls {
        *verdicts.entry(call.verdict().map_or("unknown in the end", |answer| answer.claim.word())).or_default() += 1;
        for answer in &call.answers {
            *tries.entry(answer.claim.word()).or_default() += 1;
        }
    }
    let answers = record.calls.iter().map(|call| call.answers.len()).sum();
    line(&mut text, "performs", record.calls.len(), &verdicts);
    line(&mut text, "answers", answers, &tries);
    let mut reads: BTreeMap<&str, u64> = BTreeMap::new();
    for read in &record.reads {
        let word = match read.kind {
            ReadKind::Committed => "committed",
            ReadKind::Linearizable => "linearizable",
            ReadKind::Provisional => "provisional",
        };
        *reads.entry(word).or_default() += 1;
    }
    line(&mut text, "reads", record.reads.len(), &reads);
    let mut events: BTreeMap<&str, u64> = BTreeMap::new();
    for heard in record.listeners.iter().flatten() {
        let word = match heard {
            Heard::Began { .. } => "connections",
            Heard::Change { .. } => "changes",
            Heard::Reset { .. } => "resets",
            Heard::Left => "gone",
            Heard::Odd(_) => "odd",
        };
        *events.entry(word).or_default() += 1;
    }
    line(&mut text, "subscribers", record.listeners.len(), &events);
    let Seen { terms, agreed, links, elapsed } = seen;
    let snapshots = &record.snapshots;
    let (actions, mega, elapsed) = (record.log.whole_to(), links.passed_bytes >> 20, seconds(*elapsed));
    let snapshots = if snapshots.is_empty() { "none".to_owned() } else { snapshots.join(", ") };
    let more = format!(
        "{actions} actions, compared at {agreed}; {terms} terms; snapshots at {snapshots}; {mega} MiB between nodes; {elapsed}"
    );
    writeln!(text, "{more}").expect("it is memory");
    text
}

/// Every call in a line, with all that was said of it: for who looks into a run that failed.
pub(super) fn calls(record: &Record) -> String {
    let mut text = String::from("call  method  begun  told before  answers\n");
    for call in &record.calls {
        let Call { tag, method, begun, told_before, answers, .. } = call;
        write!(text, "{tag}  {method:?}  {}  {told_before} ", seconds(*begun)).expect("it is memory");
        for answer in answers {
            write!(text, " {}: {};", answer.node, answer.claim).expect("it is memory");
        }
        text.push('\n');
    }
    text
}

fn line(text: &mut String, what: &str, count: usize, parts: &BTreeMap<&str, u64>) {
    let parts: Vec<String> = parts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    writeln!(text, "{count:>6} {what}: {}", parts.join(", ")).expect("it is memory");
}

/// What was asked for and never happened.
pub(super) fn never_happened(options: &Options, tally: &Tally, record: &Record) -> Vec<String> {
    let never = |kind: &&Kind| tally.done(**kind) == 0;
    let mut missing: Vec<String> =
        options.faults.iter().filter(never).map(|kind| format!("the fault {} never happened", kind.word())).collect();
    let done = |call: &&Call| matches!(call.verdict().map(|it| &it.claim), Some(Claim::Done { .. }));
    if !record.calls.iter().any(|call| done(&call)) {
        missing.push("no perform was answered".to_owned());
    }
    if record.reads.is_empty() {
        missing.push("nothing was read".to_owned());
    }
    missing
}
