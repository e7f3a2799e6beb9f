//! What the development check tells.

use std::fmt;

use conflux_core::difference::Difference;

/// Something that the development check found.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The script.
    pub file: String,
    /// Where to look, as `file:line`, if known: the method or the reducer that came to two results, or the invariant.
    pub at: Option<String>,
    /// What was run: the call, or the action and its place.
    pub what: String,
    /// What is wrong.
    pub finding: Finding,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// Run twice, it had two results: left in the node's heap, right in a second one, which had run other calls before. The
    /// first step of a path says what it is in: `state`, `action`, or `outcome`.
    Differs(Vec<Difference>),
    /// The invariant does not hold on the state that it led to; what the invariant says.
    Broken(String),
}

/// How many differences are shown.
const SHOWN_MAX: usize = 3;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { file, what, .. } = self;
        let place = self.at.as_ref().unwrap_or(file);
        let differences = match &self.finding {
            Finding::Broken(said) => return write!(f, "{what} broke the invariant ({place}): {said}"),
            Finding::Differs(differences) => differences,
        };
        write!(
            f,
            "{what} had another result in a second heap, from the same state, but after other calls ({place}): "
        )?;
        for (nth, difference) in differences.iter().take(SHOWN_MAX).enumerate() {
            let [running, second] = difference.shown();
            let separator = if nth > 0 { "; " } else { "" };
            write!(f, "{separator}{}: the running heap has {running}, the second heap has {second}", difference.path)?;
        }
        if differences.len() > SHOWN_MAX {
            write!(f, "; and {} more", differences.len() - SHOWN_MAX)?;
        }
        f.write_str(
            ". Is there state outside the state: a variable of the module, an object that is shared and changed?",
        )
    }
}
