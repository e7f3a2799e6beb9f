//! The shortest schedule that still breaks a promise: fewer nodes, fewer faults, fewer asks (delta debugging: Zeller and
//! Hildebrandt, 2002).

use crate::schedule::{Kept, Numbers, Schedule};

/// How many runs are tried at most.
const TRIES_MAX: usize = 300;

/// Leaves out what is not needed, as long as `breaks` says that the rest breaks the same promise.
pub(crate) fn shrink(
    whole: &Schedule,
    breaks: impl Fn(&Schedule) -> bool,
    mut progress: impl FnMut(usize, &Schedule),
) -> Kept {
    let mut kept = Kept::default();
    let mut tries = 0;
    let mut still = |kept: &Kept| {
        let part = whole.keep(kept);
        tries += 1;
        let broken = tries <= TRIES_MAX && breaks(&part);
        if broken {
            progress(tries, &part);
        }
        broken
    };
    for nodes in 1..whole.settings.nodes {
        let fewer = Kept { nodes: Some(nodes), ..kept.clone() };
        if still(&fewer) {
            kept = fewer;
            break;
        }
    }
    // Without some of the asks, some faults are of no use any more.
    for _ in 0..2 {
        let faults: Vec<usize> = whole.keep(&kept).faults.iter().map(|fault| fault.number).collect();
        let faults =
            least(faults, |some| still(&Kept { faults: Some(Numbers::of(some.iter().copied())), ..kept.clone() }));
        kept.faults = Some(Numbers::of(faults));
        let asks: Vec<usize> = whole.keep(&kept).asks.iter().map(|ask| ask.number).collect();
        let asks = least(asks, |some| still(&Kept { asks: Some(Numbers::of(some.iter().copied())), ..kept.clone() }));
        kept.asks = Some(Numbers::of(asks));
    }
    kept
}

/// A part of `all` of which `enough` holds, and of nothing that has a piece less.
fn least(all: Vec<usize>, mut enough: impl FnMut(&[usize]) -> bool) -> Vec<usize> {
    if all.is_empty() || enough(&[]) {
        return Vec::new();
    }
    let mut some = all;
    let mut pieces = 2;
    while some.len() > 1 {
        let size = some.len().div_ceil(pieces);
        let without = (0..some.len()).step_by(size).find_map(|from| {
            let rest: Vec<usize> = some
                .iter()
                .enumerate()
                .filter(|(at, _)| *at < from || *at >= from + size)
                .map(|(_, one)| *one)
                .collect();
            enough(&rest).then_some(rest)
        });
        match without {
            Some(rest) => {
                some = rest;
                pieces = (pieces - 1).max(2);
            }
            None if size == 1 => break,
            None => pieces = (2 * pieces).min(some.len()),
        }
    }
    some
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_left() {
        let needed = [3, 40, 41];
        let least = least((0..100).collect(), |some| needed.iter().all(|one| some.contains(one)));
        assert_eq!(least, needed);
        assert!(super::least((0..9).collect(), |_| true).is_empty());
    }
}
