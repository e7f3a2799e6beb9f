//! How much memory processes have.

use std::path::Path;

/// The resident memory of this process and of `others`, by their process ids, in bytes, where the system tells.
pub(crate) fn resident_bytes(others: &[u32]) -> Option<u64> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let of = |path: &Path| of_status(&std::fs::read_to_string(path).ok()?);
    let own = of(Path::new("/proc/self/status"))?;
    others.iter().try_fold(own, |sum, id| Some(sum + of(Path::new(&format!("/proc/{id}/status")))?))
}

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
    #[cfg(target_os = "linux")]
    fn this_process_has_some_and_others_are_added() {
        let own = resident_bytes(&[]).expect("Linux tells");
        assert!(own > 100_000);
        assert!(resident_bytes(&[std::process::id()]) > Some(own + 100_000));
    }
}
