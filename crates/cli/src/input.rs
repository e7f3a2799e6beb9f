//! Lines on their way in.

use std::io::{BufRead, BufReader, Read};

use tokio::sync::{mpsc, oneshot};

use crate::line::{LINE_BYTES_MAX, LineError};

/// How much of a line that is too long is read to find its end.
const SKIPPED_BYTES_MAX: u64 = 16 * LINE_BYTES_MAX as u64;

/// How many lines are read ahead.
const READ_AHEAD: usize = 256;

/// A line as it came.
#[derive(Debug)]
pub(crate) struct InputLine {
    /// From 1.
    pub(crate) number: u64,
    pub(crate) text: Result<String, LineError>,
    /// How much of the input it took.
    pub(crate) bytes: u64,
    /// Somebody waits until the line is answered, and wants to know where the next one goes.
    pub(crate) answered: Option<oneshot::Sender<String>>,
}

/// Reads standard input in a thread of its own: a read that blocks must not keep the program from ending.
pub(crate) fn read_stdin() -> mpsc::Receiver<InputLine> {
    let (lines, receiver) = mpsc::channel(READ_AHEAD);
    std::thread::spawn(move || {
        for line in Lines::new(BufReader::with_capacity(64 << 10, std::io::stdin().lock())) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The length of standard input, if it is a file.
pub(crate) fn stdin_bytes() -> Option<u64> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        let stdin = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
        let metadata = std::fs::File::from(stdin).metadata().ok()?;
        metadata.is_file().then_some(metadata.len())
    }
    #[cfg(not(unix))]
    None
}

/// The lines of a source, bounded in length; what is no text is an error in its place.
pub(crate) struct Lines<R> {
    source: R,
    number: u64,
    ended: bool,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(source: R) -> Self {
        Lines { source, number: 0, ended: false }
    }

    fn read(&mut self) -> std::io::Result<Option<(Result<String, LineError>, u64)>> {
        let mut bytes = Vec::new();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let mut taken = self.source.by_ref().take(limit).read_until(b'\n', &mut bytes)? as u64;
        if taken == 0 {
            return Ok(None);
        }
        if taken == limit && bytes.last() != Some(&b'\n') {
            let skipped = self.source.by_ref().take(SKIPPED_BYTES_MAX).skip_until(b'\n')? as u64;
            taken += skipped;
            if skipped == SKIPPED_BYTES_MAX {
                // Whatever this is, it is no list of lines.
                self.ended = true;
                return Ok(Some((Err(LineError::Endless), taken)));
            }
            return Ok(Some((Err(LineError::TooLong), taken)));
        }
        // Editors of some systems mark a file as UTF-8 by a byte order mark.
        if self.number == 1 && bytes.starts_with("\u{feff}".as_bytes()) {
            bytes.drain(..3);
        }
        let text = String::from_utf8(bytes)
            .map_err(|error| LineError::Encoding { column: error.utf8_error().valid_up_to() + 1 });
        Ok(Some((text, taken)))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = InputLine;

    fn next(&mut self) -> Option<InputLine> {
        if self.ended {
            return None;
        }
        self.number += 1;
        let (text, bytes) = match self.read() {
            Ok(None) => return None,
            Ok(Some(line)) => line,
            Err(error) => {
                self.ended = true;
                (Err(LineError::Unreadable { reason: error.to_string() }), 0)
            }
        };
        Some(InputLine { number: self.number, text, bytes, answered: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(bytes: &[u8]) -> Vec<Result<String, LineError>> {
        let lines: Vec<InputLine> = Lines::new(bytes).collect();
        assert_eq!(lines.iter().map(|line| line.bytes).sum::<u64>(), bytes.len() as u64);
        assert!(lines.iter().map(|line| line.number).eq(1..=lines.len() as u64));
        lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn bad_lines_do_not_end_the_input() {
        assert_eq!(
            texts(b"\xef\xbb\xbfa\nx\xff\nb"),
            [Ok("a\n".into()), Err(LineError::Encoding { column: 2 }), Ok("b".into())]
        );
        let mut long = vec![b'x'; LINE_BYTES_MAX + 10];
        long.extend_from_slice(b"\nb\n");
        assert_eq!(texts(&long), [Err(LineError::TooLong), Ok("b\n".into())]);
        assert_eq!(texts(b""), []);
    }

    #[test]
    fn a_line_without_end_is_the_last() {
        let lines: Vec<InputLine> = Lines::new(BufReader::new(std::io::repeat(0))).collect();
        assert!(matches!(lines.as_slice(), [InputLine { text: Err(LineError::Endless), .. }]));
    }

    #[test]
    fn a_source_that_breaks_is_the_last_line() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("gone"))
            }
        }
        let lines: Vec<InputLine> = Lines::new(BufReader::new(Broken)).collect();
        assert!(matches!(lines.as_slice(), [InputLine { text: Err(LineError::Unreadable { .. }), .. }]));
    }
}
