//! The files of a disk, with bytes of the fuzzer's in them: an error or a disk, never a panic.
#![no_main]

use std::path::Path;
use std::time::Duration;

use conflux::FileDisk;
use conflux::disk::contract::Plain;
use conflux::disk::{Disk, SimulatedFiles};
use libfuzzer_sys::fuzz_target;

/// Files that were written by a node: see `golden.rs`.
const GOLDEN: &str = include_str!("../../crates/conflux/src/disk/tests/golden.txt");

fuzz_target!(|data: &[u8]| {
    let files = SimulatedFiles::new(0);
    let directory = Path::new("/data/a");
    let mut data = data;
    for line in GOLDEN.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, length, digits] = words[..] else { panic!("a line has three words") };
        let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
        let mut content: Vec<u8> = (0..digits.len()).step_by(2).map(digit).collect();
        content.resize(length.parse().expect("a length"), 0);
        // Three bytes of input change one of the file's.
        while let [low, high, value, rest @ ..] = data {
            data = rest;
            let at = usize::from(u16::from_le_bytes([*low, *high]));
            if at >= content.len() {
                break;
            }
            content[at] = *value;
        }
        files.set_content(&directory.join(name), content);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _inside = runtime.enter();
    let disk = FileDisk::simulated(files, directory, Duration::ZERO).moved(true);
    if let Ok((contents, journal)) = disk.open("a") {
        let _ = Plain::of(contents);
        drop(journal);
        disk.open("a").expect("it was opened before");
    }
});
