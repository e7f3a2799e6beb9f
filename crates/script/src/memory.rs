//! The memory of a heap: counted, bounded, and what went beyond the bound remembered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use rquickjs::allocator::{Allocator, RustAllocator};

/// The account of a heap's memory.
///
/// The engine has a limit of its own, but what it refuses ends as an exception, which a script can catch. Here the fact
/// stays, until the next code starts.
#[derive(Debug)]
pub(crate) struct Memory {
    used: AtomicUsize,
    /// Where the code is to be stopped.
    bound: AtomicUsize,
    /// So much more is given, so that it can be stopped with an error that has a line; then all is refused.
    slack: AtomicUsize,
    was_hit: AtomicBool,
}

impl Default for Memory {
    fn default() -> Self {
        Memory {
            used: AtomicUsize::new(0),
            bound: AtomicUsize::new(usize::MAX),
            slack: AtomicUsize::new(0),
            was_hit: AtomicBool::new(false),
        }
    }
}

impl Memory {
    /// From now on so many bytes may be taken.
    pub(crate) fn allow(&self, bytes: usize) {
        self.bound.store(self.used().saturating_add(bytes), Relaxed);
        self.slack.store(bytes / 8, Relaxed);
        self.was_hit.store(false, Relaxed);
    }

    /// From now on as many bytes may be taken as there are.
    pub(crate) fn allow_all(&self) {
        self.allow(usize::MAX);
    }

    /// How many bytes are in use.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Whether more was wanted than was allowed.
    pub(crate) fn was_hit(&self) -> bool {
        self.was_hit.load(Relaxed)
    }

    fn grants(&self, bytes: usize) -> bool {
        let wanted = self.used().saturating_add(bytes);
        let bound = self.bound.load(Relaxed);
        if wanted <= bound {
            return true;
        }
        self.was_hit.store(true, Relaxed);
        wanted <= bound.saturating_add(self.slack.load(Relaxed))
    }

    fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Relaxed);
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
    }
}

/// No allocation is larger: sizes beyond are arithmetic gone wrong.
const BYTES_MAX: usize = isize::MAX as usize / 2;

/// The allocator of a heap: Rust's, with an account.
pub(crate) struct Counting(pub(crate) Arc<Memory>);

impl Counting {
    /// Allocates if it is granted; `allocate` gives null where there is no more.
    fn allocate(&self, bytes: usize, allocate: impl FnOnce() -> *mut u8) -> *mut u8 {
        if bytes > BYTES_MAX || !self.0.grants(bytes) {
            self.0.was_hit.store(true, Relaxed);
            return std::ptr::null_mut();
        }
        let at = allocate();
        if at.is_null() {
            self.0.was_hit.store(true, Relaxed);
        } else {
            self.0.take(usable(at));
        }
        at
    }
}

#[expect(unsafe_code, reason = "it is asked only about what the allocator gave")]
fn usable(at: *mut u8) -> usize {
    // SAFETY: all memory of a heap comes from `RustAllocator`, through `Counting`.
    unsafe { RustAllocator::usable_size(at) }
}

// There is no safe way to see what an engine's allocator refuses; all the work is done by rquickjs's own.
#[expect(unsafe_code, reason = "an allocator is unsafe; this one only counts")]
// SAFETY: every pointer that is given out or taken back is `RustAllocator`'s, which keeps the contract.
unsafe impl Allocator for Counting {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        self.allocate(size, || RustAllocator.alloc(size))
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        let bytes = count.saturating_mul(size);
        self.allocate(bytes, || RustAllocator.calloc(count, size))
    }

    unsafe fn dealloc(&mut self, at: *mut u8) {
        self.0.give_back(usable(at));
        // SAFETY: the caller's promise.
        unsafe { RustAllocator.dealloc(at) }
    }

    unsafe fn realloc(&mut self, at: *mut u8, size: usize) -> *mut u8 {
        if at.is_null() {
            return self.alloc(size);
        }
        let before = usable(at);
        if size > BYTES_MAX || !self.0.grants(size.saturating_sub(before)) {
            self.0.was_hit.store(true, Relaxed);
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        let moved = unsafe { RustAllocator.realloc(at, size) };
        if moved.is_null() {
            self.0.was_hit.store(true, Relaxed);
        } else {
            self.0.give_back(before);
            self.0.take(usable(moved));
        }
        moved
    }

    unsafe fn usable_size(at: *mut u8) -> usize {
        usable(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_remembered_until_the_next_allowance() {
        let memory = Arc::<Memory>::default();
        let mut allocator = Counting(memory.clone());
        assert!(!allocator.alloc(100).is_null());
        memory.allow(1000);
        assert!(!allocator.alloc(900).is_null());
        assert!(!memory.was_hit());
        assert!(!allocator.alloc(150).is_null(), "a little more is given");
        assert!(memory.was_hit());
        assert!(allocator.alloc(150).is_null());
        assert!(allocator.calloc(usize::MAX, 2).is_null());
        memory.allow_all();
        assert!(!memory.was_hit());
        assert!(!allocator.calloc(10, 100).is_null());
        assert_eq!(memory.used(), 104 + 904 + 152 + 1000);
    }
}
