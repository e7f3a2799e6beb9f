//! A test that is made of an incident, by `replay --test`, and run by `check`.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

use conflux::Incident;
use conflux::regression::{Regression, RegressionError, Scope, Wrong};
use conflux_core::Index;

use crate::arguments::ReplayOptions;
use crate::exit::{Exit, Refusal};
use crate::factory::Factory;
use crate::output::{say, tell};
use crate::replay::{self, Found};
use crate::shell::quoted_path;

/// Writes a test into a directory, which is made: the incident, and what it has to come to. `check` is the command that runs
/// it, but for its file.
pub(crate) fn write<F: Factory>(
    factory: &F,
    Found { path, incident }: &Found,
    options: &ReplayOptions,
    directory: &Path,
    check: &str,
) -> Result<Exit, Refusal> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let name = name.strip_suffix(".incident").unwrap_or(&name);
    let replayed = format!("{name}.incident");
    let (kept, test) = (directory.join(&replayed), directory.join(format!("{name}.replay.jsonl")));
    if test.symlink_metadata().is_ok() {
        return Err(Refusal::new(format!(
            "{}: already there, and never overwritten; delete it to have it written again, or choose another directory",
            test.display()
        )));
    }
    let is_kept = holds(&kept, incident)?;
    replay::describe(path, incident);
    let container = Arc::new(factory.make()?);
    let code = replay::code_of(&factory.name(), &*container, incident);
    let scope = Scope { to: options.to.map(Index), uncommitted: options.uncommitted, code };
    let regression = match Regression::of(incident, &replayed, container, scope) {
        Ok(regression) => regression,
        Err(error @ RegressionError::Diverged { .. }) => {
            tell!("no test was written: {error}");
            return Ok(Exit::Diverged);
        }
        Err(RegressionError::Outside { to, begin, end }) => {
            let hint = match options.uncommitted || to < begin {
                true => "",
                false => "; --uncommitted goes on to what was not known to be committed",
            };
            return Err(Refusal::new(format!("--to {to} is not in the incident: it goes from {begin} to {end}{hint}")));
        }
        Err(error) => return Err(Refusal::naming(path, &error)),
    };
    fs::create_dir_all(directory).map_err(|error| Refusal::of_file(directory, &error))?;
    if !is_kept {
        let pieces = incident.pieces();
        let written = create(&kept).and_then(|mut file| pieces.iter().try_for_each(|piece| file.write_all(piece)));
        written.map_err(|error| Refusal::of_file(&kept, &error))?;
    }
    let written = create(&test).and_then(|mut file| file.write_all(regression.text().as_bytes()));
    written.map_err(|error| Refusal::of_file(&test, &error))?;
    if !is_kept {
        say!("wrote {}", kept.display())?;
    }
    say!("wrote {}: {} after index {}", test.display(), actions(&regression), regression.begin())?;
    say!("now: {check} {}", quoted_path(&test))?;
    let Some(broken) = regression.broken() else { return Ok(Exit::Good) };
    let name = factory.name();
    tell!(
        "{broken}. No state is expected from there on: the test fails until {name} is corrected; then write it again"
    );
    Ok(Exit::BadLines)
}

/// A new file for its owner only, as incidents are: what is in both is what the users of the cluster entrusted to it.
fn create(path: &Path) -> std::io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Whether a file is this incident already. Another one is never overwritten.
fn holds(path: &Path, incident: &Incident) -> Result<bool, Refusal> {
    match fs::read(path) {
        Ok(bytes) => match Incident::decode(&bytes.into()).as_ref() == Ok(incident) {
            true => Ok(true),
            false => Err(Refusal::new(format!(
                "{}: already there, never overwritten, and not this incident; choose another directory, or rename the \
                 incident: the test is named after it",
                path.display()
            ))),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Refusal::of_file(path, &error)),
    }
}

/// Runs a test, and says how it went.
pub(crate) fn run<F: Factory>(factory: &F, path: &Path, test: &Regression) -> Result<bool, Refusal> {
    let Err(unmet) = test.run(&Arc::new(factory.make()?)) else {
        say!("{}: {}, all as expected", path.display(), actions(test))?;
        return Ok(true);
    };
    say!("{}:{unmet}", path.display())?;
    if let Wrong::State { .. } = unmet.what {
        let (incident, directory) = (path.with_file_name(test.replay()), path.parent().unwrap_or(path));
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        say!(
            "if that is meant: delete {}, and have it written again, by `replay {} ... --test {}`",
            path.display(),
            quoted_path(&incident),
            quoted_path(directory)
        )?;
    }
    Ok(false)
}

fn actions(test: &Regression) -> String {
    match test.len() {
        1 => "1 action".to_owned(),
        count => format!("{count} actions"),
    }
}
