//! What processes use of the machine.

use std::time::Duration;

/// The resident memory of this process and of `others`, by their process ids, in bytes, where the system tells.
pub(crate) fn resident_bytes(others: &[u32]) -> Option<u64> {
    sum(others, "status", of_status)
}

/// How long this process and `others`, by their process ids, have run on a core so far, where the system tells.
pub(crate) fn busy(others: &[u32]) -> Option<Duration> {
    sum(others, "stat", of_stat)
}

/// What a file of the kernel's says of each, all together.
fn sum<T: std::iter::Sum>(others: &[u32], file: &str, of: impl Fn(&str) -> Option<T>) -> Option<T> {
    let read = |process: String| of(&std::fs::read_to_string(format!("/proc/{process}/{file}")).ok()?);
    let all = std::iter::once("self".to_owned()).chain(others.iter().map(u32::to_string));
    // Only Linux has these files as they are read here.
    if cfg!(target_os = "linux") { all.map(read).sum() } else { None }
}

fn of_stat(stat: &str) -> Option<Duration> {
    // The name of the program, which comes second, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis(user.checked_add(system)?.checked_mul(MILLIS_A_TICK)?))
}

/// The kernel shows a hundred ticks a second, however often it ticks.
const MILLIS_A_TICK: u64 = 10;

fn of_status(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found() {
        assert_eq!(of_status("Name:\tx\nVmRSS:\t    2048 kB\nRssAnon: 1 kB\n"), Some(2 << 20));
        assert_eq!(of_status("Name:\tx\n"), None);
    }

    #[test]
    fn the_times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(of_stat(stat), Some(Duration::from_secs(2)));
        assert_eq!(of_stat("7 (a) S 1"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_some_and_others_are_added() {
        let own = resident_bytes(&[]).expect("Linux tells");
        assert!(own > 100_000);
        assert!(resident_bytes(&[std::process::id()]) > Some(own + 100_000));
        assert!(busy(&[std::process::id()]) >= busy(&[]));
    }
}
