//! Each role in its own sandbox: what is in force, as the kernel says it and as `status` does, and what a role that has been
//! broken into cannot do.
//!
//! The kernel of a real system has all of it; where it has not, the tests say SKIPPED.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use support::client::{Client, Messages};
use support::control::{status, tell};
use support::daemon::{Daemon, Setup};
use support::drive::serve;
use support::framing::Framing;
use support::home::Home;
use support::{DEADLINE, processes, skip, wait_until};

/// The ABI of Landlock (landlock_create_ruleset(2), `LANDLOCK_CREATE_RULESET_VERSION`), and whether there are filters.
fn kernel() -> (i64, bool) {
    // SAFETY: asks for a number; no memory is passed.
    #[allow(unsafe_code)]
    let abi = unsafe { nix::libc::syscall(nix::libc::SYS_landlock_create_ruleset, 0, 0, 1) };
    (abi.max(0), fs::metadata("/proc/sys/kernel/seccomp/actions_avail").is_ok())
}

/// False, and says so, where the kernel cannot do what is tested.
fn has_all() -> bool {
    let all = kernel().0 >= 6 && kernel().1;
    if !all {
        skip(&format!("this kernel has Landlock {} and filters: {}", kernel().0, kernel().1));
    }
    all
}

/// Every process of the daemon by the part of its title that names it.
fn cast(daemon: &Daemon) -> Vec<(String, i32)> {
    let named = |pid: i32| Some((processes::title(pid)?.strip_prefix("echostored: ")?.to_owned(), pid));
    processes::family(daemon.supervisor()).into_iter().filter_map(named).collect()
}

fn serve_some(daemon: &Daemon, messages: usize) {
    let client = Client::connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 1, 300)).unwrap();
    serve(vec![client.quota(messages)]);
}

/// What the kernel says of a process: `NoNewPrivs`, `Seccomp`, and how many filters.
fn told(pid: i32) -> [String; 3] {
    ["NoNewPrivs", "Seccomp", "Seccomp_filters"].map(|field| processes::status(pid, field)[0].clone())
}

/// A daemon with all of its processes, the runner of the hook too.
fn full_house(setup: Setup) -> Daemon {
    let home = Home::new();
    let hook = home.write("hook", "#!/bin/sh\nexit 0\n");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let setup = setup.set("rotate.on-close", vec![hook.to_str().unwrap()]).set("metrics.listen", "127.0.0.1:0");
    let daemon = setup.start_in(home);
    wait_until(DEADLINE, "all processes", || {
        let told = status(&daemon);
        let ready = told["archiver"]["ready"] == true && told["exporter"]["ready"] == true;
        ready && cast(&daemon).iter().any(|(role, _)| role == "hook runner")
    });
    daemon
}

#[test]
fn every_role_has_its_filters() {
    if !has_all() {
        return;
    }
    let mut daemon = full_house(Setup::default().set("security.sandbox", "required"));
    serve_some(&daemon, 500);
    for (role, pid) in cast(&daemon) {
        // Two of the supervisor's, which all inherit, and one of the role's own; of each thread.
        let filters = if ["supervisor", "hook runner"].contains(&role.as_str()) { "2" } else { "3" };
        assert_eq!(told(pid), ["1", "2", filters], "{role}");
        for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let thread: i32 = task.unwrap().file_name().to_str().unwrap().parse().unwrap();
            assert_eq!(told(thread), ["1", "2", filters], "a thread of the {role}");
        }
    }
    let whole = serde_json::json!({"no_new_privs": true, "landlock": 6, "seccomp": true});
    let told = status(&daemon);
    assert_eq!(told["sandbox"], serde_json::json!({"no_new_privs": true, "landlock": 0, "seccomp": true}));
    let workers = told["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 2);
    let roles = workers.iter().chain([&told["writer"], &told["archiver"], &told["exporter"]]);
    roles.for_each(|role| assert_eq!(role["sandbox"], whole, "{role}"));
    let text = tell(&daemon, &["status"]).stdout;
    assert_eq!(text.matches("no new privileges, seccomp, landlock 6").count(), 5, "{text}");
    // Replaced ones have theirs.
    for role in ["writer", "archiver", "exporter", "worker"] {
        let old = daemon.roles(role)[0];
        processes::signal(old, Signal::SIGKILL);
        wait_until(DEADLINE, "its successor", || {
            let now = status(&daemon);
            let all = [&now["writer"], &now["archiver"], &now["exporter"], &now["workers"][0], &now["workers"][1]];
            !processes::runs(old) && all.iter().all(|role| role["ready"] == true && role["sandbox"] == whole)
        });
    }
    serve_some(&daemon, 500);
    daemon.remember();
    daemon.stop();
}

/// The lines of what each role tried, by role.
fn tries(daemon: &Daemon) -> BTreeMap<String, Value> {
    let log = daemon.log();
    let lines = log.lines().filter_map(|line| line.split_once("breakout ")).map(|(_, said)| said);
    let values = lines.map(|said| serde_json::from_str::<Value>(said).unwrap());
    values.map(|value| (value["role"].as_str().unwrap().to_owned(), value)).collect()
}

/// A role tries all that a program does which has taken it over: everything fails that is not its work.
#[test]
fn a_role_that_was_broken_into_cannot_get_out() {
    if !has_all() {
        return;
    }
    let home = Home::new();
    home.write("outside", "secret");
    let setup = Setup::default().set("metrics.listen", "127.0.0.1:0");
    let setup = setup.environment("ECHOSTORED_BREAKOUT", home.path().to_str().unwrap());
    let mut daemon = setup.start_in(home);
    wait_until(DEADLINE, "all have tried", || tries(&daemon).len() == 5);
    let tries = tries(&daemon);
    // What a file system's rules refuse is EACCES, what a filter does is EPERM; "not there" sends glibc another way.
    let expected = |role: &str, what: &str| -> &'static [&'static str] {
        let has_files = ["writer", "archiver"].contains(&role);
        match what {
            "create in the store" if has_files => &["done"],
            "read /etc/passwd"
            | "read outside"
            | "create outside"
            | "leave by .."
            | "open /proc/self/fd/2"
            | "open /proc/self/mem"
                if has_files =>
            {
                &["EACCES"]
            }
            "clone3" => &["EPERM", "ENOSYS"],
            _ => &["EPERM"],
        }
    };
    for role in ["worker", "writer", "archiver", "exporter"] {
        let said = tries[role].as_object().unwrap();
        assert!(said.len() > 30, "{said:?}");
        for (what, how) in said.iter().filter(|(what, _)| *what != "role") {
            assert!(expected(role, what).contains(&how.as_str().unwrap()), "{role}: {what}: {how}");
        }
    }
    // The supervisor may, so the tries can succeed; but what nobody may, it may not either.
    let supervisor = &tries["supervisor"];
    let done = [
        "read /etc/passwd",
        "read outside",
        "create outside",
        "create in the store",
        "leave by ..",
        "socket TCP",
        "socket Unix",
        "fork",
        "exec",
        "memfd",
        "memory to run",
        "kill all",
        "pidfd",
        "duplicate",
    ];
    done.iter().for_each(|what| assert_eq!(supervisor[what], "done", "{what}"));
    let refused = ["ptrace", "read another's memory", "new user namespace", "io_uring", "bpf", "mount", "chroot"];
    refused.iter().for_each(|what| assert_eq!(supervisor[what], "EPERM", "{what}"));
    assert_eq!(supervisor["clone3"], "ENOSYS");
    assert!(!daemon.home().join("escaped-worker").exists() && !daemon.home().join("escaped-writer").exists());
    serve_some(&daemon, 200);
    daemon.remember();
    daemon.stop();
}

#[test]
fn switched_off_nothing_is_in_force() {
    let mut daemon = Setup::default().set("security.sandbox", "off").start();
    for (role, pid) in cast(&daemon) {
        let mine = told(std::process::id().cast_signed());
        assert_eq!(told(pid), mine, "{role}");
    }
    let told = status(&daemon);
    assert_eq!(
        (&told["sandbox"]["seccomp"], &told["writer"]["sandbox"]["landlock"]),
        (&Value::from(false), &Value::from(0))
    );
    daemon.reconfigure(|setup| setup.set("security.sandbox", "auto"));
    let ended = tell(&daemon, &["reload"]);
    assert_eq!(ended.code, 78, "{ended:?}");
    assert!(ended.stderr.contains("security.sandbox: a change from \"off\" to \"auto\" needs a restart"), "{ended:?}");
    serve_some(&daemon, 100);
    daemon.stop();
}

/// The hook has no sandbox but the supervisor's: it opens sockets, files elsewhere, starts children; it cannot mount.
#[test]
fn the_hook_keeps_its_freedom() {
    if !has_all() {
        return;
    }
    let home = Home::new();
    let here = home.make_dir("here");
    let script = format!(
        "#!/bin/sh\nexec >>{0}/said 2>&1\ngrep -E 'NoNewPrivs|Seccomp' /proc/self/status\nhead -c1 /etc/passwd >{0}/read && echo reads\n\
         (echo child) | cat\nunshare -U true && echo got out\necho end\n",
        here.display()
    );
    let hook = home.write("hook", &script);
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let setup = Setup::default().set("rotate.on-close", vec![hook.to_str().unwrap()]);
    let mut daemon = setup.start_in(home);
    serve_some(&daemon, 10);
    assert_eq!(tell(&daemon, &["rotate"]).code, 0);
    let said = || fs::read_to_string(here.join("said")).unwrap_or_default();
    wait_until(DEADLINE, "the hook", || said().contains("end\n"));
    let said = said();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.contains(&"NoNewPrivs:\t1") && lines.contains(&"Seccomp_filters:\t2"), "{said}");
    assert!(lines.contains(&"reads") && lines.contains(&"child") && !lines.contains(&"got out"), "{said}");
    daemon.stop();
}

/// In a thread for which, and for all that it starts, the kernel does not have these calls.
fn where_there_is_no(calls: &'static [i64], test: impl FnOnce() + Send + 'static) {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
    let ended = std::thread::spawn(move || {
        let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
        let missing = SeccompAction::Errno(nix::libc::ENOSYS.cast_unsigned());
        let architecture = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, missing, architecture).unwrap();
        apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
        test();
    });
    ended.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

const LANDLOCK: &[i64] = &[nix::libc::SYS_landlock_create_ruleset];
const SECCOMP: &[i64] = &[nix::libc::SYS_seccomp];

/// It says once what is missing, and goes on with what there is.
#[test]
fn an_older_kernel_is_told_and_served() {
    if !has_all() {
        return;
    }
    for (calls, missing, landlock, seccomp) in [(LANDLOCK, "Landlock", 0, true), (SECCOMP, "seccomp filters", 6, false)]
    {
        where_there_is_no(calls, move || {
            let mut daemon = full_house(Setup::default());
            serve_some(&daemon, 200);
            let log = daemon.log();
            let words = format!("this kernel has no {missing}: the processes run without");
            assert_eq!((log.matches(&words).count(), log.matches(" warning ").count()), (1, 1), "{log}");
            let told = status(&daemon);
            let expected = serde_json::json!({"no_new_privs": true, "landlock": landlock, "seccomp": seccomp});
            for role in
                [&told["writer"], &told["archiver"], &told["exporter"], &told["workers"][0], &told["workers"][1]]
            {
                assert_eq!(role["sandbox"], expected, "without {missing}");
            }
            daemon.remember();
            daemon.stop();
        });
    }
}

#[test]
fn what_is_required_and_missing_is_no_start() {
    for (calls, missing) in [(LANDLOCK, "Landlock"), (SECCOMP, "seccomp filters")] {
        where_there_is_no(calls, move || {
            let mut daemon = Daemon::new(Home::new(), Setup::default().set("security.sandbox", "required"));
            assert_eq!(daemon.launch(), Err(78));
            let words =
                format!("this kernel has no {missing}, and security.sandbox is \"required\"; \"auto\" does without");
            assert!(daemon.log().contains(&words), "{}", daemon.log());
        });
    }
}
