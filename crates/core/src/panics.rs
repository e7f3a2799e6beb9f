//! Panics of containers: caught, and told as failures.
//!
//! Only a panic hook learns where a panic happened, and a hook is the whole program's. So nothing is installed here: a
//! program that wants places in its failures calls [`note`] from a hook of its own.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

use crate::container::Failure;

thread_local! {
    /// A container's code runs on this thread, and its panic would be caught.
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    /// Where the last such panic happened, unless it was told.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// For a panic hook: keeps the place of a panic that a container's failure will tell. False for all other panics, which
/// the hook must show.
pub fn note(info: &PanicHookInfo<'_>) -> bool {
    if !CATCHING.get() {
        return false;
    }
    let place = info.location().map(|location| format!("{}:{}", location.file(), location.line()));
    PLACE.replace(place);
    true
}

/// Runs a container's code; a panic is its failure, and tells the place where a hook [notes](note) it.
///
/// # Errors
/// When it panics.
pub fn caught<T>(what: &str, run: impl FnOnce() -> T) -> Result<T, Failure> {
    let before = CATCHING.replace(true);
    let ended = catch_unwind(AssertUnwindSafe(run));
    CATCHING.set(before);
    ended.map_err(|panic| Failure { at: PLACE.take(), ..Failure::of_panic(what, &*panic) })
}
