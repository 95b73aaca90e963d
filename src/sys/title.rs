//! The process title: what `ps` and `systemctl status` show of a role.
use nix::libc;
use std::io;
use std::sync::OnceLock;

/// The memory that `/proc/PID/cmdline` shows: the arguments and, behind them, the environment.
#[derive(Clone, Copy, Debug)]
struct Area {
    start: usize,
    length: usize,
}

static AREA: OnceLock<Option<Area>> = OnceLock::new();

/// Makes room for titles; to be called once, at the start of `main`, after the arguments were read.
///
/// The kernel shows the argument area, and goes on into the environment area behind it once the last argument's NUL
/// is overwritten (proc(5), `get_cmdline` in the kernel). So the environment's strings are first copied to the heap.
pub fn reserve() {
    AREA.get_or_init(|| {
        let area = locate().ok()?;
        for (name, value) in std::env::vars_os() {
            // SAFETY: called at the start of `main`, before any thread: nobody else reads the environment. setenv(3)
            // stores a copy of the string, so nothing points into the old area any more.
            unsafe { std::env::set_var(name, value) };
        }
        Some(area)
    });
}

/// Sets the title of this process, and the first 15 bytes of it as its thread's name; cut to the room there is.
pub fn set(title: &str) {
    if let Some(Some(area)) = AREA.get() {
        let room = area.length.saturating_sub(1);
        let shown = &title.as_bytes()[..title.len().min(room)];
        // SAFETY: the area belongs to this process for life (the kernel put arguments and environment there), is
        // writable stack memory, and nothing reads it any more: the environment was copied away by `reserve`, the
        // arguments were read before. `shown` is shorter than the area, and the rest is zeroed.
        unsafe {
            let start = area.start as *mut u8;
            std::ptr::copy_nonoverlapping(shown.as_ptr(), start, shown.len());
            std::ptr::write_bytes(start.add(shown.len()), 0, area.length - shown.len());
        }
    }
    if let Ok(name) = std::ffi::CString::new(title.replace("echostored: ", "echo ")) {
        // SAFETY: prctl copies at most 16 bytes of the NUL-terminated string.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    }
}

/// Fields 48 to 51 of `/proc/self/stat` (proc(5)): arg_start, arg_end, env_start, env_end.
fn locate() -> io::Result<Area> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    // The command name, in parentheses, may hold anything: count fields behind the last one, which begins at field 3.
    let fields: Vec<&str> = stat.rsplit_once(')').ok_or_else(invalid)?.1.split_ascii_whitespace().collect();
    let field = |number: usize| -> io::Result<usize> {
        fields.get(number - 3).and_then(|text| text.parse().ok()).filter(|&value| value > 0).ok_or_else(invalid)
    };
    let (arg_start, arg_end, env_start, env_end) = (field(48)?, field(49)?, field(50)?, field(51)?);
    let end = if env_start == arg_end { env_end } else { arg_end };
    let length = end.checked_sub(arg_start).filter(|&length| length > 0).ok_or_else(invalid)?;
    Ok(Area { start: arg_start, length })
}
