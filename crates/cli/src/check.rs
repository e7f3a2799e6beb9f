//! `conflux check`: what would make nodes differ, found on one machine.

mod trial;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use conflux::regression::Regression;
use conflux_core::{CallError, Container};

use crate::exit::{Exit, Refusal};
use crate::factory::Factory;
use crate::input::Lines;
use crate::line::{Body, Line, LineError};
use crate::output::{say, tell};
use crate::regression;

use self::trial::{Answered, Trial};

/// How many differences are told: what follows the first ones is mostly their echo.
const DIFFERENCES_MAX: usize = 10;

/// Loads a container, lists its methods, and makes every call of the lines again on a restored state.
pub(crate) fn run<F: Factory>(factory: &F, files: &[PathBuf]) -> Result<Exit, Refusal> {
    // What was not looked for may be there: it is not good because nobody reads on.
    look(factory, files).map_err(Refusal::unread)
}

fn look<F: Factory>(factory: &F, files: &[PathBuf]) -> Result<Exit, Refusal> {
    let container = factory.make()?;
    let methods = container.methods();
    let listed = if methods.is_empty() { "none".to_owned() } else { methods.join(", ") };
    // A file that cannot be read is told before anything is said.
    let sources = files.iter().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;
    say!("{}: methods: {listed}", factory.name())?;
    let mut is_good = true;
    if !sources.iter().any(|source| matches!(source, Source::Lines(_))) {
        let mut counts = Counts::default();
        counts.tell(&mut Trial::new(factory, container)?)?;
        is_good &= counts.broken == 0;
    }
    for (path, source) in files.iter().zip(sources) {
        is_good &= match source {
            Source::Lines(lines) => perform(factory, path, lines, &methods)?,
            Source::Test(test) => regression::run(factory, path, &test)?,
        };
    }
    if files.is_empty() {
        tell!(
            "nothing was called: give it a file of lines, METHOD [JSON ARGUMENT]... each, or a test of `replay --test`"
        );
    }
    Ok(if is_good { Exit::Good } else { Exit::BadLines })
}

/// Performs lines, and says whether all of them were good.
fn perform<F: Factory>(factory: &F, path: &Path, lines: Box<dyn BufRead>, methods: &[String]) -> Result<bool, Refusal> {
    let mut counts = Counts::default();
    let mut trial = Trial::new(factory, factory.make()?)?;
    counts.tell(&mut trial)?;
    for input in Lines::new(lines) {
        let line = input.text.and_then(|text| Line::parse(&text));
        let request = match line {
            Ok(Some(Line { body: Body::Request(request), .. })) => request,
            Ok(None) => continue,
            // Commands are about clusters.
            Ok(Some(Line { body: Body::Command(_), .. })) => {
                counts.commands += 1;
                continue;
            }
            Err(LineError::Unreadable { reason }) => {
                return Err(Refusal::new(format!("{}: it cannot be read further: {reason}", path.display())));
            }
            Err(error) => {
                match error
                    .method()
                    .filter(|method| !methods.is_empty() && !methods.iter().any(|known| known == method))
                {
                    Some(method) => {
                        counts.bad(input.number, &CallError::unknown_method(method, methods.to_vec()))?;
                    }
                    None => counts.bad(input.number, &error)?,
                }
                continue;
            }
        };
        let text = request.to_string();
        match trial.call(input.number, text, &request.method, request.arguments)? {
            Ok(Answered::Action) => counts.actions += 1,
            Ok(Answered::Nothing) => counts.nothing += 1,
            Ok(Answered::Rejected) => counts.rejections += 1,
            Ok(Answered::Failed(failure)) => {
                say!("line {}: {}: failed: {failure}", input.number, request.method)?;
                counts.failed += 1;
            }
            Err(error) => counts.bad(input.number, &error)?,
        }
        counts.tell(&mut trial)?;
    }
    trial.finish()?;
    counts.tell(&mut trial)?;
    say!("{counts}")?;
    Ok(counts.bad + counts.failed + counts.differences + counts.broken == 0)
}

#[derive(Default)]
struct Counts {
    actions: usize,
    nothing: usize,
    rejections: usize,
    failed: usize,
    bad: usize,
    /// Lines passed over because they are commands.
    commands: usize,
    differences: usize,
    /// How often the invariant began not to hold, or said something else.
    broken: usize,
}

/// What is checked.
enum Source {
    Lines(Box<dyn BufRead>),
    Test(Box<Regression>),
}

/// What is in a file, or the lines of standard input.
fn open(path: &Path) -> Result<Source, Refusal> {
    if path.as_os_str() == "-" {
        return Ok(Source::Lines(Box::new(std::io::stdin().lock())));
    }
    let of_file = |error| Refusal::of_file(path, &error);
    let file = std::fs::File::open(path).map_err(of_file)?;
    if file.metadata().map_err(of_file)?.is_dir() {
        return Err(Refusal::of_file(path, &std::io::ErrorKind::IsADirectory.into()));
    }
    let mut lines = BufReader::new(file);
    // No name of a method begins like that, and each line of a test does.
    if lines.fill_buf().map_err(of_file)?.starts_with(b"{") {
        return Ok(Source::Test(Box::new(Regression::read(path).map_err(Refusal::new)?)));
    }
    Ok(Source::Lines(Box::new(lines)))
}

impl Counts {
    fn bad(&mut self, line: u64, error: &dyn std::fmt::Display) -> Result<(), Refusal> {
        self.bad += 1;
        say!("line {line}: {error}")
    }

    fn tell<F: Factory>(&mut self, trial: &mut Trial<'_, F>) -> Result<(), Refusal> {
        for difference in trial.take_differences() {
            let count = if difference.is_broken() { &mut self.broken } else { &mut self.differences };
            *count += 1;
            if *count <= DIFFERENCES_MAX {
                say!("{difference}")?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { actions, nothing, rejections, failed, bad, commands, differences, broken } = self;
        write!(
            f,
            "{actions} actions, {nothing} with nothing to do, {rejections} rejections, {failed} failed, {bad} bad lines"
        )?;
        match commands {
            0 => {}
            1 => f.write_str(", 1 command passed over")?,
            commands => write!(f, ", {commands} commands passed over")?,
        }
        f.write_str("; ")?;
        match differences {
            0 => f.write_str("no difference when made again on a restored state")?,
            1 => f.write_str("1 difference")?,
            differences => write!(f, "{differences} differences")?,
        }
        match broken {
            0 => Ok(()),
            1 => f.write_str("; the invariant was broken once"),
            broken => write!(f, "; the invariant was broken {broken} times"),
        }
    }
}
