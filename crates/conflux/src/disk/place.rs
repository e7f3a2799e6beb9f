//! The file `disk`: whose directory this is, in which format, and where it was made.
//!
//! A line of JSON, and a line with its checksum.

use std::path::Path;

use conflux_core::Digest;
use serde_json::{Value, json};

use super::DiskError;
use super::files::{Files, Open};
use super::segments::{TEMPORARY, read_whole};

pub(super) const NAME: &str = "disk";
const VERSION: u32 = 1;
const BYTES_MAX: u64 = 64 * 1024;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Drawn when the directory was made; every other file in it has it, too.
    pub(super) disk: u128,
    pub(super) node: String,
    /// A digest of the machine's id: the id itself is not to be told.
    pub(super) machine: Option<u128>,
    pub(super) inode: Option<u64>,
}

impl Place {
    /// That of a directory, here and now.
    pub(super) fn of(files: &dyn Files, directory: &Path, node: &str, disk: u128) -> Result<Place, DiskError> {
        let inode = files.inode(directory).map_err(|error| DiskError::io("look at", directory, &error))?;
        let machine = files.machine().map(|id| Digest::of_bytes(format!("conflux {id}").as_bytes()).0);
        Ok(Place { disk, node: node.to_owned(), machine, inode })
    }

    /// Where the one is not the other's place; what is not known on either side is not held against it.
    pub(super) fn differs(&self, here: &Place) -> Option<&'static str> {
        let differ = |a: Option<u128>, b: Option<u128>| a.zip(b).is_some_and(|(a, b)| a != b);
        if differ(self.machine, here.machine) {
            Some("on another machine")
        } else if differ(self.inode.map(u128::from), here.inode.map(u128::from)) {
            Some("as another directory")
        } else {
            None
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let line = json!({
            "format": VERSION,
            "disk": format!("{:032x}", self.disk),
            "node": self.node,
            "machine": self.machine.map(|machine| format!("{machine:032x}")),
            "inode": self.inode,
        });
        let line = line.to_string();
        format!("{line}\n{:08x}\n", crc32fast::hash(line.as_bytes())).into_bytes()
    }

    pub(super) fn decode(file: &Path, bytes: &[u8]) -> Result<Place, DiskError> {
        let damaged = |what: &str| DiskError::damaged(file, 0, None, what);
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is no text"))?;
        let (line, checksum) = text.split_once('\n').ok_or_else(|| damaged("it has no second line"))?;
        if format!("{:08x}\n", crc32fast::hash(line.as_bytes())) != checksum {
            return Err(damaged("it does not have its checksum"));
        }
        let value: Value = serde_json::from_str(line).map_err(|_| damaged("its first line is no JSON"))?;
        match value["format"].as_u64() {
            Some(format) if format == u64::from(VERSION) => {}
            Some(format) => {
                let came = u32::try_from(format).unwrap_or(u32::MAX);
                return Err(DiskError::Version { file: file.to_owned(), came, allowed: VERSION });
            }
            None => return Err(damaged("it does not say its format")),
        }
        let number = |name: &str| match &value[name] {
            Value::Null => Ok(None),
            Value::String(text) => u128::from_str_radix(text, 16).map(Some).map_err(|_| damaged("an id is no number")),
            _ => Err(damaged("an id is no number")),
        };
        Ok(Place {
            disk: number("disk")?.ok_or_else(|| damaged("it does not say the disk's id"))?,
            node: value["node"].as_str().ok_or_else(|| damaged("it does not say the node's id"))?.to_owned(),
            machine: number("machine")?,
            inode: value["inode"].as_u64(),
        })
    }

    /// Reads that of a directory.
    pub(super) fn read(files: &dyn Files, directory: &Path) -> Result<Place, DiskError> {
        let file = directory.join(NAME);
        Place::decode(&file, &read_whole(files, &file, BYTES_MAX)?)
    }

    /// Writes it, in place of an earlier one.
    pub(super) fn write(&self, files: &dyn Files, directory: &Path) -> Result<(), DiskError> {
        let file = directory.join(NAME);
        let temporary = directory.join(NAME.to_owned() + TEMPORARY);
        let handle =
            files.open(&temporary, Open::Create).map_err(|error| DiskError::io("create", &temporary, &error))?;
        handle.write_at(0, &self.encode()).map_err(|error| DiskError::io("write to", &temporary, &error))?;
        handle.sync().map_err(|error| DiskError::io("sync", &temporary, &error))?;
        files.rename(&temporary, &file).map_err(|error| DiskError::io("rename", &temporary, &error))?;
        files.sync_directory(directory).map_err(|error| DiskError::io("sync", directory, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_held_against_a_directory() {
        let made = Place { disk: 1, node: "a".into(), machine: Some(2), inode: Some(3) };
        assert_eq!(made.differs(&made), None);
        assert_eq!(made.differs(&Place { machine: None, inode: None, ..made.clone() }), None);
        assert_eq!(made.differs(&Place { machine: Some(9), ..made.clone() }), Some("on another machine"));
        assert_eq!(made.differs(&Place { inode: Some(9), ..made.clone() }), Some("as another directory"));
    }

    #[test]
    fn every_byte_counts() {
        let place = Place { disk: 7, node: "a\n\"b".into(), machine: Some(u128::MAX), inode: None };
        let bytes = place.encode();
        let file = Path::new("disk");
        assert_eq!(Place::decode(file, &bytes), Ok(place));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(Place::decode(file, &flipped).is_err(), "bit {bit} of byte {at}");
            }
            assert!(Place::decode(file, &bytes[..at]).is_err(), "cut at {at}");
        }
        let later = br#"{"format":2}"#;
        let later = [&later[..], format!("\n{:08x}\n", crc32fast::hash(later)).as_bytes()].concat();
        assert!(matches!(Place::decode(file, &later), Err(DiskError::Version { came: 2, allowed: 1, .. })));
    }
}
