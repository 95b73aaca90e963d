//! A clock that jumps, and hours that are missing or come twice: names stay unique and in order by number, nothing is lost,
//! and there are no more files than the clock has reason for.
use crate::shim::Shim;
use crate::support::checker::{self, Expect};
use crate::support::client::{Client, History, Messages};
use crate::support::daemon::{Daemon, Setup};
use crate::support::drive::{drive, serve};
use crate::support::framing::{Format, Framing};
use crate::support::home::Home;
use crate::support::load::{Load, Shape};
use crate::support::{DEADLINE, came_true, daemon, skip, wait_until};
use chrono::{DateTime, Duration, NaiveDate, NaiveDateTime, Timelike, Utc};
use chrono_tz::Europe::Berlin;
use nix::sys::signal::Signal;
use std::time::Duration as Span;

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;

fn equipped(home: &Home, setup: Setup) -> Option<(Shim, Setup)> {
    let shim = Shim::new(home)?;
    let setup = shim.equip(setup, None);
    Some((shim, setup))
}

/// Sets the daemon's clock to this time.
fn set_to(shim: &Shim, time: DateTime<Utc>) {
    shim.set_clock((time - Utc::now()).num_seconds());
}

fn utc(year: i32, month: u32, day: u32) -> DateTime<Utc> {
    NaiveDate::from_ymd_opt(year, month, day).unwrap().and_hms_opt(0, 0, 0).unwrap().and_utc()
}

fn client(daemon: &Daemon) -> Client {
    Client::connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 20, 200)).unwrap()
}

fn one_client(daemon: &Daemon) -> History {
    serve(vec![client(daemon).quota(10).half_close()]).remove(0)
}

fn files(daemon: &Daemon) -> usize {
    checker::files(&daemon.store()).len()
}

/// By our reader, which knows that names sort by number, and by the daemon's.
fn check(daemon: &Daemon, histories: &[History], expect: Expect) {
    checker::check(&daemon.store(), Format::Text, histories, expect);
    let mut command = daemon::command(&["verify", "--directory"]);
    command.arg(daemon.store());
    let verified = daemon::run(daemon.home(), command);
    assert_eq!(verified.code, 0, "verify: {}{}", verified.stdout, verified.stderr);
}

/// Whether the newest name begins with this year.
fn newest_is_of(daemon: &Daemon, year: i32) -> bool {
    let newest = checker::files(&daemon.store()).pop().expect("a file").path;
    newest.file_name().unwrap().to_str().unwrap().contains(&format!("-{year}"))
}

#[test]
fn jumps_of_the_clock_under_load() {
    for echo in ["stored", "synced"] {
        let home = Home::new();
        let setup = Setup::default().set("server.echo", echo).set("rotate.interval", "1m");
        let Some((shim, setup)) = equipped(&home, setup) else { return };
        let mut daemon = setup.start_in(home);
        let load = Load::start(daemon.address, Shape::default());
        let years =
            [(-HOUR, None), (10 * YEAR, None), (0, Some(1970)), (0, Some(2040)), (0, Some(2107)), (0, Some(2000))];
        for (ahead, year) in years {
            let had = files(&daemon);
            match year {
                None => shim.set_clock(ahead),
                Some(year) => set_to(&shim, utc(year, 1, 2)),
            }
            // A new period, whichever way the clock went.
            wait_until(DEADLINE, "a file of the new period", || files(&daemon) > had);
            if let Some(year) = year {
                wait_until(DEADLINE, "a name of that year", || newest_is_of(&daemon, year));
            }
            load.progress(200);
        }
        shim.set_clock(0);
        load.progress(200);
        // A minute of the real clock may end meanwhile.
        let most = 1 + years.len() + 1 + 2;
        assert!(files(&daemon) <= most, "{} files, {} jumps", files(&daemon), years.len() + 1);
        let had = files(&daemon);
        daemon.signal(Signal::SIGUSR1);
        wait_until(DEADLINE, "a file by the signal", || files(&daemon) > had);
        let histories = load.finish();
        daemon.stop();
        check(&daemon, &histories, Expect::default());
    }
}

/// Hundreds of jumps a second: files are not made as often.
#[test]
fn a_storm_of_jumps() {
    let home = Home::new();
    let setup = Setup::default().set("rotate.interval", "1m");
    let Some((shim, setup)) = equipped(&home, setup) else { return };
    let mut daemon = setup.start_in(home);
    let load = Load::start(daemon.address, Shape::default());
    let mut jumps = 0;
    // Looks every 2 ms: that is the storm.
    came_true(Span::from_secs(2), || {
        jumps += 1;
        shim.set_clock(if jumps % 2 == 0 { 0 } else { jumps * HOUR });
        false
    });
    shim.set_clock(0);
    load.progress(500);
    println!("{jumps} jumps, {} files", files(&daemon));
    assert!(jumps > 100, "{jumps} jumps are no storm");
    assert!(files(&daemon) < 20, "{} files of {jumps} jumps", files(&daemon));
    let histories = load.finish();
    daemon.stop();
    check(&daemon, &histories, Expect::default());
}

#[test]
fn a_restart_in_another_year() {
    let home = Home::new();
    let Some((shim, setup)) = equipped(&home, Setup::default()) else { return };
    let mut daemon = setup.start_in(home);
    let mut histories = vec![one_client(&daemon)];
    for (year, clean) in [(2036, true), (1970, true), (2040, false), (2001, false), (2107, true)] {
        if clean {
            daemon.stop()
        } else {
            daemon.kill_all()
        }
        set_to(&shim, utc(year, 7, 1));
        daemon.start_again();
        histories.push(one_client(&daemon));
        // Resumed files belong to a period that is over, or has not begun.
        daemon.signal(Signal::SIGUSR1);
        wait_until(DEADLINE, "a file of that year", || newest_is_of(&daemon, year));
        histories.push(one_client(&daemon));
    }
    daemon.stop();
    check(&daemon, &histories, Expect { empty_files: true, ..Expect::default() });
}

/// The periods that the local clock shows: of a day, or of six hours.
fn period(time: DateTime<Utc>, interval: &str) -> (NaiveDate, u32) {
    let local: NaiveDateTime = time.with_timezone(&Berlin).naive_local();
    (local.date(), if interval == "6h" { local.hour() / 6 } else { 0 })
}

/// Three days around a change of the clock, hour by hour, in Berlin: a new file at each border of local time, and no other.
fn over_a_change(from: DateTime<Utc>, interval: &str) {
    let home = Home::new();
    let setup = Setup::default().set("rotate.interval", interval).set("rotate.timezone", "local");
    let Some((shim, setup)) = equipped(&home, setup.environment("TZ", "Europe/Berlin")) else { return };
    let mut now = from + Duration::minutes(30);
    set_to(&shim, now);
    let mut daemon = setup.start_in(home);
    let mut clients = vec![client(&daemon).quota(0)];
    let mut say = || {
        clients[0].allow(1);
        drive(&mut clients, "an echo", |clients| clients[0].served());
    };
    say();
    let mut expected = 1;
    for _ in 0..72 {
        let later = now + Duration::hours(1);
        expected += usize::from(period(later, interval) != period(now, interval));
        now = later;
        set_to(&shim, now);
        // The writer looks at the clock; then there is something in the file again, which only then can be rotated.
        say();
        wait_until(DEADLINE, &format!("file {expected} at {now}"), || files(&daemon) >= expected);
        say();
        assert_eq!(files(&daemon), expected, "files at {now}");
    }
    let histories = clients.into_iter().map(Client::leave).collect::<Vec<_>>();
    daemon.stop();
    check(&daemon, &histories, Expect::default());
}

#[test]
fn hours_that_are_missing_or_come_twice() {
    if !std::path::Path::new("/usr/share/zoneinfo/Europe/Berlin").exists() {
        return skip("no time zones are installed (tzdata)");
    }
    for interval in ["1d", "6h"] {
        // The clock goes from 2 to 3 on the 28th of March 2027, from 3 to 2 on the 31st of October.
        over_a_change(utc(2027, 3, 26) + Duration::hours(22), interval);
        over_a_change(utc(2027, 10, 29) + Duration::hours(21), interval);
    }
}
