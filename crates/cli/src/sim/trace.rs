//! The file of `--trace`: nothing that is there is touched before there is a trace to put in its place.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::exit::Refusal;

pub(super) struct TraceFile {
    /// As it was named.
    named: PathBuf,
    /// Where it lies, behind links.
    path: PathBuf,
    /// It is a pipe or a device, which is written to as it is.
    is_special: bool,
}

impl TraceFile {
    /// Finds out whether it can be written, before hours are spent on what is to be in it. `inputs` are files that it must
    /// not be.
    pub(super) fn at(named: &Path, inputs: [Option<&Path>; 2]) -> Result<TraceFile, Refusal> {
        let found = fs::metadata(named);
        if let Ok(found) = &found {
            if found.is_dir() {
                return Err(refusal(named, &ErrorKind::IsADirectory.into()));
            }
            OpenOptions::new().write(true).open(named).map_err(|error| refusal(named, &error))?;
        }
        let path = fs::canonicalize(named).unwrap_or_else(|_| named.to_owned());
        let is_input = |input: &Path| fs::canonicalize(input).is_ok_and(|input| input == path);
        if let Some(input) = inputs.into_iter().flatten().find(|input| is_input(input)) {
            return Err(Refusal::new(format!(
                "--trace {}: it would replace {}, which the simulation reads; name another file",
                named.display(),
                input.display()
            )));
        }
        let trace = TraceFile { named: named.to_owned(), path, is_special: found.is_ok_and(|found| !found.is_file()) };
        if !trace.is_special {
            trace.part()?;
        }
        Ok(trace)
    }

    /// Writes all of it, under another name first: what lies there is always whole.
    pub(super) fn write(self, view: &str) -> Result<(), Refusal> {
        if self.is_special {
            let written = File::create(&self.path).and_then(|mut file| file.write_all(view.as_bytes()));
            return written.map_err(|error| refusal(&self.named, &error));
        }
        let mut part = self.part()?;
        part.write_all(view.as_bytes()).map_err(|error| refusal(&self.named, &error))?;
        #[cfg(unix)]
        {
            // As any file that a program writes: it is for its owner only while it is not whole.
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&self.path).map_or(0o644, |found| found.permissions().mode());
            let _ = part.as_file().set_permissions(fs::Permissions::from_mode(mode));
        }
        part.persist(&self.path).map_err(|error| refusal(&self.named, &error.error))?;
        Ok(())
    }

    /// A file beside it, which goes when it is not kept.
    fn part(&self) -> Result<tempfile::NamedTempFile, Refusal> {
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let part = tempfile::Builder::new().prefix(".conflux-").suffix(".part").tempfile_in(directory);
        // Its own text has the other name in it.
        part.map_err(|error| refusal(&self.named, &error.kind().into()))
    }
}

fn refusal(named: &Path, error: &std::io::Error) -> Refusal {
    Refusal::new(format!("--trace {}: the trace cannot be written there: {error}", named.display()))
}
