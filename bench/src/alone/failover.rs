//! Leaders that are killed.

use std::time::{Duration, Instant};

use super::member::Member;
use super::{Measure, Table};
use crate::figures::time;

/// The library's own default, which the members have.
const ELECTION_TIMEOUT_MAX: Duration = Duration::from_millis(500);

/// How long a leader may take to be known.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn measure(measure: &Measure) -> Result<String, String> {
    let kills = measure.kills;
    let mut table = Table::new(
        "Failover",
        &format!(
            "Three processes, tcp on loopback, data on a synced disk. The leader's process is killed (SIGKILL), and another node is asked at that moment to \
             perform: until that is answered, after its commit. {kills} times; who was killed comes back with its data and \
             catches up before the next."
        ),
        &["", "time", "of the largest election timeout, 500 ms"],
    );
    let place = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut members = Vec::new();
    for name in ["a", "b", "c"] {
        members.push(Member::start(name, &place.path().join(name))?);
    }
    for nth in 0..members.len() {
        introduce(&mut members, nth)?;
    }
    expect(&mut members[0], "perform", "performed")?;
    let (mut waits, mut returns) = (Vec::new(), Vec::new());
    for _ in 0..kills {
        let leader = leader(&mut members)?;
        let other = (leader + 1) % members.len();
        let name = members[leader].name;
        let killed = members.remove(leader);
        let other = other - usize::from(other > leader);
        let begun = Instant::now();
        drop(killed);
        expect(&mut members[other], "perform", "performed")?;
        waits.push(begun.elapsed().as_secs_f64() * 1e6);
        let begun = Instant::now();
        members.insert(leader, Member::start(name, &place.path().join(name))?);
        introduce(&mut members, leader)?;
        expect(&mut members[leader], "has caught up", "has caught up")?;
        returns.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    waits.sort_by(f64::total_cmp);
    returns.sort_by(f64::total_cmp);
    let largest = ELECTION_TIMEOUT_MAX.as_secs_f64() * 1e6;
    let at = |of: &[f64], share: usize| of.get((of.len() * share / 100).min(of.len() - 1)).copied().unwrap_or(f64::NAN);
    for (what, share) in [("least", 0), ("median", 50), ("nine of ten", 90), ("longest", 100)] {
        let wait = at(&waits, share);
        table.row(&[what.to_owned(), time(wait), format!("{:.2}", wait / largest)]);
    }
    table.row(&["started again until it had caught up, median".to_owned(), time(at(&returns, 50)), String::new()]);
    Ok(table.0)
}

/// Tells a member where the others are, and them where it is.
fn introduce(members: &mut [Member], nth: usize) -> Result<(), String> {
    let addresses: Vec<String> = members.iter().map(|member| format!("{}={}", member.name, member.address)).collect();
    for other in 0..members.len() {
        if other != nth {
            expect(&mut members[other], &format!("dial {}", addresses[nth]), "dialed")?;
            expect(&mut members[nth], &format!("dial {}", addresses[other]), "dialed")?;
        }
    }
    Ok(())
}

fn expect(member: &mut Member, line: &str, expected: &str) -> Result<(), String> {
    let answer = member.ask(line)?;
    if answer == expected { Ok(()) } else { Err(format!("node {}: {line}: {answer}", member.name)) }
}

/// Which one leads, as all of them see it.
fn leader(members: &mut [Member]) -> Result<usize, String> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let mut named = Vec::new();
        for member in members.iter_mut() {
            named.push(member.ask("leads?")?);
        }
        if let Some(nth) = members.iter().position(|member| named.iter().all(|name| name == member.name)) {
            return Ok(nth);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(format!("no leader is known after {} s", PATIENCE.as_secs()))
}
