//! A value on its way out or in, a piece at a time: however large it is, little of it is held.

use std::io::{self, Read, Write};

use crate::digest::Digest;
use crate::message_pack::Outline;
use crate::payload::PayloadError;

/// So many bytes are passed on at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Takes a value's bytes, passes them on, and takes its digest from them.
pub(crate) struct OutlinedWriter<'a> {
    output: &'a mut dyn Write,
    outline: Outline,
    buffer: Vec<u8>,
    /// What serde's error would not say.
    failed: Option<PayloadError>,
}

impl<'a> OutlinedWriter<'a> {
    pub(crate) fn new(output: &'a mut dyn Write) -> Self {
        OutlinedWriter { output, outline: Outline::default(), buffer: Vec::new(), failed: None }
    }

    /// Passes on what is left. `written` is what the one who wrote says of it.
    ///
    /// # Errors
    /// What went wrong first.
    pub(crate) fn end(mut self, written: Result<(), impl std::fmt::Display>) -> Result<Digest, PayloadError> {
        let passed = written.map_err(PayloadError::new).and_then(|()| self.pass_on().map_err(PayloadError::new));
        match (self.failed, passed) {
            (Some(failed), _) | (None, Err(failed)) => Err(failed),
            (None, Ok(())) => self.outline.end(),
        }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        let followed = self.outline.follow(&self.buffer);
        let passed = followed.and_then(|()| self.output.write_all(&self.buffer).map_err(PayloadError::new));
        self.buffer.clear();
        passed.map_err(|error| {
            self.failed.get_or_insert_with(|| error.clone());
            io::Error::other(error)
        })
    }
}

impl Write for OutlinedWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE_BYTES {
            self.pass_on()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives a value's bytes, and refuses what nests too deep before who reads it comes so far.
pub(crate) struct OutlinedReader<'a> {
    input: &'a mut dyn Read,
    outline: Outline,
    buffer: Vec<u8>,
    at: usize,
    failed: Option<PayloadError>,
}

impl<'a> OutlinedReader<'a> {
    pub(crate) fn new(input: &'a mut dyn Read) -> Self {
        OutlinedReader { input, outline: Outline::default(), buffer: Vec::new(), at: 0, failed: None }
    }

    /// Sees to it that the value was all there is. `value` is what came of reading it.
    ///
    /// # Errors
    /// What went wrong first.
    pub(crate) fn end<T>(mut self, value: Result<T, impl std::fmt::Display>) -> Result<T, PayloadError> {
        let ended = value.map_err(PayloadError::new).and_then(|value| {
            self.fill().map_err(PayloadError::new)?;
            match self.buffer.len() - self.at {
                0 => Ok(value),
                _ => Err(PayloadError("bytes are left over after the value".into())),
            }
        });
        let ended = ended.and_then(|value| self.outline.end().map(|_| value));
        self.failed.map_or(ended, Err)
    }

    /// Gets the next piece, where all of the last one was taken.
    fn fill(&mut self) -> io::Result<()> {
        if self.at < self.buffer.len() {
            return Ok(());
        }
        self.at = 0;
        self.buffer.clear();
        let read = (&mut *self.input).take(PIECE_BYTES as u64).read_to_end(&mut self.buffer);
        let followed = read.map_err(PayloadError::new).and_then(|_| self.outline.follow(&self.buffer));
        followed.map_err(|error| {
            self.failed.get_or_insert_with(|| error.clone());
            io::Error::other(error)
        })
    }
}

impl Read for OutlinedReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.fill()?;
        let taken = into.len().min(self.buffer.len() - self.at);
        into[..taken].copy_from_slice(&self.buffer[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payload;

    #[derive(serde::Serialize, serde::Deserialize)]
    enum Nested {
        Leaf,
        In(Box<Nested>),
    }

    /// More than a few pieces, with texts that lie across their ends.
    fn large() -> Vec<String> {
        (0..300).map(|n| "x".repeat(n * 7)).chain([String::new(), "y".repeat(3 * PIECE_BYTES)]).collect()
    }

    fn written(value: &impl Payload) -> Vec<u8> {
        let mut bytes = Vec::new();
        value.encode(&mut bytes).expect("it is written");
        bytes
    }

    #[test]
    fn what_is_written_and_read_in_pieces_is_the_same() {
        let (value, mut output) = (large(), Vec::new());
        let digest = value.write(&mut output).expect("it is written");
        assert!(output == written(&value) && Payload::digest(&value) == Ok(digest));
        assert_ne!(Payload::digest(&large()[1..].to_vec()), Ok(digest));
        assert!(Vec::<String>::read(&mut &*output).expect("it is read") == value);
        for wrong in [&output[..output.len() - 1], &output[..PIECE_BYTES], &[]] {
            Vec::<String>::read(&mut &*wrong).expect_err("it is cut");
        }
        output.push(0);
        let error = Vec::<String>::read(&mut &*output).expect_err("something follows").to_string();
        assert!(error.contains("more than one value") || error.contains("left over"), "{error}");
    }

    #[test]
    fn a_medium_that_fails_is_said_to() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk is full"))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        impl Read for Full {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk is gone"))
            }
        }
        for value in [large(), Vec::new()] {
            assert_eq!(value.write(&mut Full).expect_err("it cannot be").to_string(), "the disk is full");
        }
        assert_eq!(Vec::<String>::read(&mut Full).expect_err("it cannot be").to_string(), "the disk is gone");
        let bytes = written(&large());
        assert_eq!(
            Vec::<String>::read(&mut bytes[..PIECE_BYTES].chain(Full)).expect_err("it cannot be").to_string(),
            "the disk is gone"
        );
    }

    #[test]
    fn what_nests_too_deep_is_refused_before_it_is_gone_into() {
        let hostile = [0x81, 0xa2, b'I', b'n'].repeat(1_000_000);
        let error = Nested::read(&mut &*hostile).err().expect("it is too deep").to_string();
        assert!(error.contains("nests deeper"), "{error}");
        let deep = (0..300).fold(Nested::Leaf, |inner, _| Nested::In(Box::new(inner)));
        let error = deep.write(&mut io::sink()).expect_err("it is too deep").to_string();
        assert!(error.contains("nests deeper"), "{error}");
    }
}
