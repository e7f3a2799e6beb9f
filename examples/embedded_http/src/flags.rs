//! The container: which feature is on, and for how many customers.

use std::collections::BTreeMap;

use conflux::{Container, Context, Reject};
use serde::{Deserialize, Serialize};

/// The longest name of a flag, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// What can be asked for.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    /// The feature of this name is on for so many customers of a hundred.
    Set(String, u8),
    /// There is no such feature any more.
    Remove(String),
}

/// What happens.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Set { flag: String, percent: u8 },
    Removed { flag: String },
}

/// Feature flags by name: for how many customers of a hundred each is on.
pub(crate) struct Flags;

impl Container for Flags {
    type State = BTreeMap<String, u8>;
    type Method = Method;
    type Action = Action;
    type Rejection = Reject;

    fn initial(&self) -> Self::State {
        BTreeMap::new()
    }

    fn decide(&self, flags: &Self::State, method: Method, _: &Context<'_>) -> Result<Option<Action>, Reject> {
        match method {
            Method::Set(flag, _) if flag.is_empty() || flag.len() > NAME_BYTES_MAX => {
                Err(format!("a flag has a name of 1 to {NAME_BYTES_MAX} bytes, not {}", flag.len()).into())
            }
            Method::Set(_, percent) if percent > 100 => Err(format!("{percent} of a hundred cannot be").into()),
            Method::Set(flag, percent) if flags.get(&flag) == Some(&percent) => Ok(None),
            Method::Set(flag, percent) => Ok(Some(Action::Set { flag, percent })),
            Method::Remove(flag) if !flags.contains_key(&flag) => Ok(None),
            Method::Remove(flag) => Ok(Some(Action::Removed { flag })),
        }
    }

    fn reduce(&self, flags: &mut Self::State, action: &Action, _: &Context<'_>) {
        match action {
            Action::Set { flag, percent } => drop(flags.insert(flag.clone(), *percent)),
            Action::Removed { flag } => drop(flags.remove(flag)),
        }
    }
}

/// Whether a feature is on for a customer: the same on every instance, and for a customer who had it, still so when it is
/// on for more.
pub(crate) fn is_on(flags: &BTreeMap<String, u8>, flag: &str, customer: &str) -> bool {
    let percent = flags.get(flag).copied().unwrap_or(0);
    // FNV-1a: what the standard library hashes with may be another function in its next version.
    let hash = customer
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash % 100 < u64::from(percent)
}
