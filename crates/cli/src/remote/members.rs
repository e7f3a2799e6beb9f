//! `conflux member`: who votes.

use conflux_http::MemberReport;
use conflux_http::client::MemberChange;

use super::arguments::{MemberCommand, Named};
use super::table::aligned;
use super::{End, print};
use crate::exit::{Exit, Refusal};

/// Runs one of its commands. The inner error is of the nodes, the outer one of the command line.
pub(super) fn run(command: MemberCommand) -> Result<Result<Exit, End>, Refusal> {
    let (change, Named { name, at }) = match command {
        MemberCommand::List { json, at } => {
            let shown = at.client()?.members().map_err(End::Client);
            return Ok(shown.and_then(|members| show(&members, json)));
        }
        MemberCommand::Add(named) => (MemberChange::Add, named),
        MemberCommand::Promote(named) => (MemberChange::Promote, named),
        MemberCommand::Demote(named) => (MemberChange::Demote, named),
        MemberCommand::Remove(named) => (MemberChange::Remove, named),
    };
    let changed = at.client()?.change_member(change, &name).map_err(End::Client);
    Ok(changed.and_then(|members| match members {
        Some(members) => show(&members, false),
        None => {
            print(&format!("{name}: it is written down, and not done yet"))?;
            Ok(Exit::Unknown)
        }
    }))
}

fn show(members: &[MemberReport], json: bool) -> Result<Exit, End> {
    if json {
        print(&serde_json::to_value(members).expect("it is made of texts and numbers"))?;
        return Ok(Exit::Good);
    }
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let mut table =
        vec![["id", "incarnation", "votes", "seat", "leads", "caught up", "silent"].map(str::to_owned).to_vec()];
    for member in members {
        table.push(vec![
            member.name.clone(),
            member.incarnation.clone().unwrap_or_else(|| "not there yet".into()),
            yes(member.votes),
            yes(member.seated),
            yes(member.leads),
            member.caught_up.map_or_else(|| "-".into(), yes),
            member.silent_ms.map_or_else(|| "-".into(), |silent| format!("{silent} ms")),
        ]);
    }
    print(&aligned(&table))?;
    Ok(Exit::Good)
}
