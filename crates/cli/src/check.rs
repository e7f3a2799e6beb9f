//! `conflux check`: what would make nodes differ, found on one machine.

mod trial;

use std::io::{BufRead, BufReader};
use std::path::Path;

use conflux_core::Container;

use crate::exit::{Exit, Refusal};
use crate::factory::Factory;
use crate::input::Lines;
use crate::line::{Body, Line};

use self::trial::{Answered, Trial};

/// How many differences are told: what follows the first ones is mostly their echo.
const DIFFERENCES_MAX: usize = 10;

/// Loads a container, lists its methods, and makes every call of the lines again on a restored state.
pub(crate) fn run<F: Factory>(factory: &F, lines: Option<&Path>) -> Result<Exit, Refusal> {
    let container = factory.make()?;
    let methods = container.methods();
    let listed = if methods.is_empty() { "none".to_owned() } else { methods.join(", ") };
    println!("{}: methods: {listed}", factory.name());
    let Some(path) = lines else { return Ok(Exit::Good) };
    let source: Box<dyn BufRead> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(BufReader::new(std::fs::File::open(path).map_err(|error| Refusal::of_file(path, &error))?))
    };
    let mut counts = Counts::default();
    let mut trial = Trial::new(factory, container)?;
    for input in Lines::new(source) {
        let line = input.text.and_then(|text| Line::parse(&text));
        let request = match line {
            Ok(Some(Line { body: Body::Request(request), .. })) => request,
            // Commands are about clusters.
            Ok(None | Some(Line { body: Body::Command(_), .. })) => continue,
            Err(error) => {
                counts.bad(input.number, &error);
                continue;
            }
        };
        let text = request.to_string();
        match trial.call(input.number, text, &request.method, request.arguments)? {
            Ok(Answered::Action) => counts.actions += 1,
            Ok(Answered::Nothing) => counts.nothing += 1,
            Ok(Answered::Rejected) => counts.rejections += 1,
            Ok(Answered::Failed(failure)) => {
                println!("line {}: {}: failed: {failure}", input.number, request.method);
                counts.failed += 1;
            }
            Err(error) => counts.bad(input.number, &error),
        }
        counts.tell(&mut trial);
    }
    trial.finish()?;
    counts.tell(&mut trial);
    println!("{counts}");
    Ok(if counts.bad + counts.failed + counts.differences == 0 { Exit::Good } else { Exit::BadLines })
}

#[derive(Default)]
struct Counts {
    actions: usize,
    nothing: usize,
    rejections: usize,
    failed: usize,
    bad: usize,
    differences: usize,
}

impl Counts {
    fn bad(&mut self, line: u64, error: &dyn std::fmt::Display) {
        println!("line {line}: {error}");
        self.bad += 1;
    }

    fn tell<F: Factory>(&mut self, trial: &mut Trial<'_, F>) {
        for difference in trial.take_differences() {
            self.differences += 1;
            if self.differences <= DIFFERENCES_MAX {
                println!("{difference}");
            }
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { actions, nothing, rejections, failed, bad, differences } = self;
        write!(
            f,
            "{actions} actions, {nothing} with nothing to do, {rejections} rejections, {failed} failed, {bad} bad lines; "
        )?;
        match differences {
            0 => f.write_str("no difference when made again on a restored state"),
            1 => f.write_str("1 difference"),
            differences => write!(f, "{differences} differences"),
        }
    }
}
