//! The status line. Pure.

/// What it is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Workers serving.
    pub workers: usize,
    /// Workers of older generations that still have connections.
    pub leaving: usize,
    /// Open connections.
    pub connections: u64,
    /// Messages stored in the last second.
    pub rate: u64,
    /// Used space of the store's file system in percent, if it is known.
    pub disk: Option<u64>,
    /// The store's directory is gone and cannot be made again.
    pub homeless: bool,
    /// The store takes nothing for want of room.
    pub full: bool,
    /// A role is missing and waits to be replaced.
    pub degraded: bool,
}

/// `4 workers · 812 connections · 96k msg/s · disk 71 %`.
pub fn line(figures: Figures) -> String {
    let Figures { workers, leaving, connections, rate, disk, homeless, full, degraded } = figures;
    let plural = |count: u64, what: &str| if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") };
    let mut line = plural(workers as u64, "worker");
    if leaving > 0 {
        line += &format!(" (and {leaving} leaving)");
    }
    line += &format!(" · {} · {} msg/s", plural(connections, "connection"), short(rate));
    if let Some(percent) = disk {
        line += &format!(" · disk {percent} %");
    }
    if full {
        line.insert_str(0, "disk full: ");
    }
    match (homeless, degraded) {
        (true, _) => format!("no store, see the log: {line}"),
        (false, true) => format!("degraded: {line}"),
        (false, false) => line,
    }
}

/// Three digits at most, and a letter.
fn short(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..10_000 => format!("{}.{}k", number / 1_000, number / 100 % 10),
        10_000..1_000_000 => format!("{}k", number / 1_000),
        _ => format!("{}.{}M", number / 1_000_000, number / 100_000 % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_likes_to_read_it() {
        let figures = Figures { workers: 4, connections: 812, rate: 96_400, ..Figures::default() };
        assert_eq!(line(figures), "4 workers · 812 connections · 96k msg/s");
        let figures = Figures { disk: Some(71), ..figures };
        assert_eq!(line(figures), "4 workers · 812 connections · 96k msg/s · disk 71 %");
        let figures =
            Figures { workers: 1, leaving: 2, connections: 1, rate: 2_510_000, degraded: true, ..Figures::default() };
        assert_eq!(line(figures), "degraded: 1 worker (and 2 leaving) · 1 connection · 2.5M msg/s");
        assert!(line(Figures { homeless: true, ..figures }).starts_with("no store, see the log: 1 worker"));
        let figures = Figures { workers: 2, full: true, ..Figures::default() };
        assert_eq!(line(figures), "disk full: 2 workers · 0 connections · 0 msg/s");
        assert_eq!([0, 999, 1_000, 9_999, 10_000].map(short), ["0", "999", "1.0k", "9.9k", "10k"]);
    }
}
