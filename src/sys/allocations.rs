//! Counts the allocations of each process of a daemon under test, compiled in only with the feature `count-allocations`.
//!
//! `ECHOSTORED_ALLOCATIONS=FILE` names a file of [`WORDS`] words (64 bits, native order), all zero, which the processes
//! share: word 0 counts the places taken; a non-zero word 1 is how many allocations from now on are told on standard
//! error, with their backtraces; from word 2 on each process, as it is forked, takes two words, its pid and its count.
//! Without the variable nothing is counted. Never in a release build.

/// Places for so many processes.
pub const PLACES: usize = 62;
/// The length of the file, in words.
pub const WORDS: usize = 2 + 2 * PLACES;

/// Begins to count in this process, if a test asked for it.
#[inline]
pub fn begin() {
    #[cfg(feature = "count-allocations")]
    counting::begin();
}

/// Gives a freshly forked process a count of its own.
#[inline]
pub(super) fn begin_in_child() {
    #[cfg(feature = "count-allocations")]
    counting::take_place();
}

#[cfg(feature = "count-allocations")]
mod counting {
    use super::{PLACES, WORDS};
    use crate::sys::AsFd;
    use crate::sys::memory::SharedWords;
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::backtrace::Backtrace;
    use std::cell::Cell;
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;

    #[global_allocator]
    static COUNTED: Counted = Counted;

    /// Outlives every fork: see [`SharedWords::keep`].
    static BOARD: OnceLock<SharedWords> = OnceLock::new();
    /// The word of this process's count; 0: nothing is counted.
    static OWN: AtomicUsize = AtomicUsize::new(0);

    thread_local! {
        /// This thread is telling of an allocation: those that it makes for that are its own.
        static TELLING: Cell<bool> = const { Cell::new(false) };
    }

    pub fn begin() {
        let Some(path) = std::env::var_os("ECHOSTORED_ALLOCATIONS") else { return };
        let file = std::fs::File::options().read(true).write(true).open(path);
        if let Ok(board) = file.and_then(|file| SharedWords::keep(file.as_fd(), WORDS)) {
            let _ = BOARD.set(board);
            take_place();
        }
    }

    pub fn take_place() {
        let Some(board) = BOARD.get() else { return };
        let place = usize::try_from(board.words()[0].fetch_add(1, Relaxed)).unwrap_or(PLACES);
        let own = if place < PLACES { 2 + 2 * place + 1 } else { 0 };
        if let Some(pid) = own.checked_sub(1) {
            board.words()[pid].store(u64::from(std::process::id()), Relaxed);
        }
        OWN.store(own, Relaxed);
    }

    fn count() {
        let (own, board) = (OWN.load(Relaxed), BOARD.get());
        let Some(board) = board.filter(|_| own > 0) else { return };
        if TELLING.get() {
            return;
        }
        board.words()[own].fetch_add(1, Relaxed);
        if board.words()[1].load(Relaxed) > 0 {
            TELLING.set(true);
            board.words()[1].fetch_sub(1, Relaxed);
            let told = format!("allocation in process {}:\n{}\n", std::process::id(), Backtrace::force_capture());
            // In one write, whatever other processes tell.
            let _ = std::io::stderr().write_all(told.as_bytes());
            TELLING.set(false);
        }
    }

    struct Counted;

    // SAFETY: every call goes to `System` as it came; counting touches nothing of it, and what counting itself allocates
    // is not counted, so that it does not call itself.
    unsafe impl GlobalAlloc for Counted {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count();
            // SAFETY: the caller's promise is `System`'s condition.
            unsafe { System.alloc(layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            count();
            // SAFETY: as above.
            unsafe { System.alloc_zeroed(layout) }
        }

        unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            count();
            // SAFETY: as above.
            unsafe { System.realloc(block, layout, size) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: as above.
            unsafe { System.dealloc(block, layout) }
        }
    }
}
