//! Values as they stand on a command line.

use std::time::Duration;

/// The most nodes that one process runs: as many as found a cluster.
pub(crate) const NODES_MAX: usize = 64;

/// The most callers of a benchmark: as many calls as a node takes at once.
const CALLERS_MAX: usize = conflux_core::session::OUTCOMES_MAX / 2;

fn number_between(text: &str, what: &str, min: usize, max: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("{what} is a number from {min} to {max}")),
    }
}

pub(crate) fn node_name(text: &str) -> Result<String, String> {
    match conflux::channel::check_name(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub(crate) fn nodes(text: &str) -> Result<usize, String> {
    number_between(text, "the number of nodes", 1, NODES_MAX)
}

pub(crate) fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("a seed is a whole number from 0 to {}", u64::MAX))
}

/// A place in the history.
pub(crate) fn index(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "an index is a whole number, 0 or more".to_owned())
}

pub(crate) fn callers(text: &str) -> Result<usize, String> {
    number_between(text, "the number of callers", 1, CALLERS_MAX)
}

pub(crate) fn performs(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("the number of performs is a whole number from 1 to {}", u64::MAX)),
    }
}

pub(crate) fn threads(text: &str) -> Result<usize, String> {
    number_between(text, "the number of threads", 1, 1024)
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let plain = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    plain
        .or_else(|| duration(text).ok())
        .filter(|time| (Duration::from_millis(1)..=Duration::from_secs(86_400)).contains(time))
        .ok_or_else(|| {
            "it is a number of seconds from 0.001 to 86400, or a time with its unit, as in 500ms or 2m".to_owned()
        })
}

/// `300ms`, `1.5s`, `2m`, `1h`. A plain number is refused: it would be milliseconds to one and seconds to another.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: Option<u64> = match unit {
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        _ => None,
    };
    let nanos = scale.and_then(|scale| scaled(number, scale));
    nanos
        .map(Duration::from_nanos)
        .ok_or_else(|| "times are written with their unit, which is ms, s, m or h, as in 300ms, 1.5s or 2m".to_owned())
}

/// A decimal number so many times; exact, as binary fractions are not.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, fraction)| (whole, Some(fraction)));
    let whole = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    let Some(fraction) = fraction else { return Some(whole) };
    // More digits than there are nanoseconds in an hour change nothing.
    let digits = fraction.len();
    let part = u128::from(fraction.parse::<u64>().ok()?);
    let parts = 10u128.checked_pow(u32::try_from(digits).ok()?)?;
    whole.checked_add(u64::try_from(part * u128::from(scale) / parts).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        assert!(duration("5").is_err() && duration("0").is_err());
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("0.1h"), Ok(Duration::from_secs(360)));
        assert!(["1.s", ".5s", "1.2.3s", "1.-5s", "1e3s", "s"].iter().all(|text| duration(text).is_err()));
        assert_eq!(seconds("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("").is_err() && duration("-1s").is_err() && duration("99999999999999999999s").is_err());
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(["NaN", "-1", "inf", "0", "x"].iter().all(|text| seconds(text).is_err()));
    }
}
