//! What processes use of the machine.

use std::time::Duration;

/// This process and others.
#[derive(Clone)]
pub(crate) struct Processes(Vec<u32>);

impl Processes {
    pub(crate) fn own() -> Processes {
        Processes(vec![std::process::id()])
    }

    /// With others, by their ids.
    #[cfg(feature = "etcd")]
    pub(crate) fn and(others: impl IntoIterator<Item = u32>) -> Processes {
        let mut all = Processes::own();
        all.0.extend(others);
        all
    }

    /// How long they have run on a core so far, where the system tells.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        self.0.iter().try_fold(Duration::ZERO, |sum, id| Some(sum + cpu_of(&read(*id, "stat")?)?))
    }

    /// Their resident memory in bytes, where the system tells.
    pub(crate) fn memory(&self) -> Option<u64> {
        self.0.iter().try_fold(0, |sum, id| Some(sum + memory_of(&read(*id, "status")?)?))
    }
}

fn read(id: u32, file: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{id}/{file}")).ok()
}

fn cpu_of(stat: &str) -> Option<Duration> {
    // The name, which comes second, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    // The kernel shows a hundred ticks a second on every platform that has this file.
    Some(Duration::from_millis(ticks * 10))
}

fn memory_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
