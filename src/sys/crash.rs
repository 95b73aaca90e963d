//! Crash points: named places where a test kills the process, compiled in only with the feature `crash-points`.
//!
//! `ECHOSTORED_CRASH=NAME[@K]` dies by `SIGKILL` at the K-th passage of NAME (default 1); `ECHOSTORED_CRASH_ONCE=FILE`
//! makes that happen once in a whole process tree: FILE is created just before dying, and while it exists no point kills.
//! `ECHOSTORED_CRASH_WHILE=FILE` makes it happen in every process, again and again, as long as FILE exists.

/// Whether crash points are compiled in.
pub const COMPILED_IN: bool = cfg!(feature = "crash-points");

/// Dies here if a test asked for it.
#[inline]
pub fn point(name: &str) {
    #[cfg(feature = "crash-points")]
    if armed::strikes(name) {
        die();
    }
    #[cfg(not(feature = "crash-points"))]
    let _ = name;
}

/// Whether the k-th passage of `name` is now; the caller then does half of its work and calls [`die`].
#[inline]
pub fn strikes(name: &str) -> bool {
    #[cfg(feature = "crash-points")]
    return armed::strikes(name);
    #[cfg(not(feature = "crash-points"))]
    {
        let _ = name;
        false
    }
}

/// Where a test wants the file made that tells of a death: the sandbox of a build with crash points leaves that open.
pub fn place() -> Option<String> {
    #[cfg(feature = "crash-points")]
    return std::env::var("ECHOSTORED_CRASH_ONCE").ok()?.rsplit_once('/').map(|(place, _)| place.to_owned());
    #[cfg(not(feature = "crash-points"))]
    None
}

/// Kills this process as `kill -9` does: no destructor, no flush, no exit handler.
pub fn die() -> ! {
    let _ = nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::Signal::SIGKILL);
    std::process::abort()
}

#[cfg(feature = "crash-points")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Plan {
        name: String,
        passages_left: AtomicU64,
        once: Option<String>,
        only_while: Option<String>,
    }

    fn plan() -> Option<&'static Plan> {
        static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
        PLAN.get_or_init(|| {
            let text = std::env::var("ECHOSTORED_CRASH").ok()?;
            let (name, count) = text.split_once('@').unwrap_or((&text, "1"));
            let passages_left = AtomicU64::new(count.parse().ok()?);
            let (once, only_while) = (std::env::var("ECHOSTORED_CRASH_ONCE"), std::env::var("ECHOSTORED_CRASH_WHILE"));
            Some(Plan { name: name.to_owned(), passages_left, once: once.ok(), only_while: only_while.ok() })
        })
        .as_ref()
    }

    pub fn strikes(name: &str) -> bool {
        let Some(plan) = plan().filter(|plan| plan.name == name) else {
            return false;
        };
        if plan.passages_left.fetch_sub(1, Ordering::Relaxed) != 1 {
            return false;
        }
        match (&plan.once, &plan.only_while) {
            (None, None) => true,
            (None, Some(path)) => std::path::Path::new(path).exists(),
            (Some(path), _) => std::fs::OpenOptions::new().write(true).create_new(true).open(path).is_ok(),
        }
    }
}
