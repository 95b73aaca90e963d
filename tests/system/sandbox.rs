//! The sandbox of the units: what systemd says of it, and what can really be done from inside.
use crate::service::{ISOLATED, MAIN, Service};
use crate::support::{DEADLINE, processes, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Tries each deed, in perl, which the smallest Debian has: `NAME done` or `NAME errno` a line.
const PROBE: &str = include_str!("probe.pl");
const PLACE: &str = "/usr/local/lib/probe.pl";

#[test]
fn exposure_is_as_low_as_promised() {
    let Some(service) = Service::install() else { return };
    for (unit, most) in [(MAIN, 1.1), (ISOLATED, 0.2), ("echostored@one.service", 1.1)] {
        let report = service.must(&format!("systemd-analyze security --no-pager {unit}"));
        let last = report.lines().last().unwrap_or_default();
        let score = last.split_once(".service: ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
        let score = score.unwrap_or_else(|| panic!("no score in {last:?}"));
        println!("{unit}: {score}");
        assert!(score <= most, "{unit} has {score}, more than {most}:\n{report}");
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let Some(service) = Service::install() else { return };
    let units = format!("{MAIN} {ISOLATED} echostored-isolated.socket echostored@one.service");
    let ended = service.run(&format!("systemd-analyze verify --man=no {units}"));
    assert_eq!((ended.stdout + &ended.stderr).as_str(), "");
    // Ordering cycles and ignored keys are told when they are loaded, too.
    let journal = service.must("journalctl --no-pager -o cat _PID=1 | grep -i -E 'cycle|unknown|ignoring' || true");
    assert_eq!(journal, "");
}

/// What the probe has printed.
fn deeds(printed: &str) -> BTreeMap<String, String> {
    let deed = |line: &str| line.split_once(' ').map(|(name, result)| (name.to_owned(), result.to_owned()));
    printed.lines().map(|line| deed(line).unwrap_or_else(|| panic!("the probe says {line:?}"))).collect()
}

/// The probe in the unit's own sandbox, in the place of the daemon.
fn probe_in(service: &mut Service, unit: &str) -> BTreeMap<String, String> {
    service.unit = unit.to_owned();
    service.drop_in(
        "probe",
        &format!(
            "[Service]\nType=oneshot\nExecStart=\nExecStart=/usr/bin/perl {PLACE}\nRestart=no\nWatchdogSec=0\n\
             ExecPaths=/usr/bin/perl\nStandardOutput=truncate:/run/probe\nStandardError=inherit\n"
        ),
    );
    let ended = service.run(&format!("systemctl start {unit}"));
    let printed = service.must("cat /run/probe");
    assert_eq!(ended.code, 0, "{}\n{printed}", ended.stderr);
    deeds(&printed)
}

/// What nobody in there may do, and does as the same user without the sandbox.
const REFUSED: &[&str] = &[
    "home",
    "write-etc",
    "write-usr",
    "console",
    "ptrace",
    "user-namespace",
    "writable-and-executable",
    "set-user-id",
    "sees-others",
    "netlink",
    "shell",
];
/// What is refused to everybody without privilege; from in here as well.
const REFUSED_ANYWAY: &[&str] = &["mount", "set-clock", "chroot"];
/// What the roles need, and will need to restrict themselves.
const DONE: &[&str] = &["write-store", "unix", "memfd", "tee", "close-range", "landlock", "seccomp", "prlimit"];

#[test]
fn the_sandbox_holds_from_inside() {
    let Some(mut service) = Service::install() else { return };
    service.systemctl("stop");
    service.write(PLACE, PROBE);
    service.must("mkdir -m 777 /home/someone /etc/open /usr/open && echo secret >/home/someone/file");
    let naked = deeds(&service.must(&format!(
        "systemd-run --quiet --wait --pipe -p User=echostored -p StateDirectory=echostored perl {PLACE}"
    )));
    println!("naked: {naked:?}");
    let inside = [MAIN, ISOLATED, "echostored@one.service"].map(|unit| (unit, probe_in(&mut service, unit)));
    for (unit, deeds) in &inside {
        println!("{unit}: {deeds:?}");
        for name in REFUSED {
            // The isolated unit alone runs nothing but the daemon.
            let runs = *name == "shell" && *unit != ISOLATED;
            assert_eq!(deeds[*name] == "done", runs, "{unit}: {name}: {}", deeds[*name]);
            assert_eq!(naked[*name], "done", "{name} cannot be done without the sandbox either: it shows nothing");
        }
        REFUSED_ANYWAY.iter().for_each(|name| assert_ne!(deeds[*name], "done", "{unit}: {name}"));
        DONE.iter().for_each(|name| assert_eq!(deeds[*name], "done", "{unit}: {name}"));
        for name in ["inet", "inet6"] {
            assert_eq!(deeds[name] == "done", *unit != ISOLATED, "{unit}: {name}: {}", deeds[name]);
        }
    }
}

/// On top of the unit's sandbox each role has its own: as `status` says it, and as the kernel does.
#[test]
fn every_role_shuts_itself_in_inside_the_units() {
    let Some(mut service) = Service::install() else { return };
    // Otherwise what is missing would only be told.
    service.configure(&[("security.sandbox", "required".into())]);
    service.systemctl("restart");
    shut_in(&service);
    service.isolate();
    shut_in(&service);
}

fn shut_in(service: &Service) {
    service.talk(100);
    let status = || serde_json::from_str::<Value>(&service.must("echostored status --json")).unwrap();
    wait_until(DEADLINE, "the archiver", || status()["archiver"]["ready"] == true);
    let told = status();
    println!("{}: {}", service.unit, service.must("echostored status"));
    let whole = json!({"no_new_privs": true, "landlock": 6, "seccomp": true});
    let workers = told["workers"].as_array().unwrap();
    assert!(!workers.is_empty());
    for role in workers.iter().chain([&told["writer"], &told["archiver"]]) {
        assert_eq!(role["sandbox"], whole, "{}: {role}", service.unit);
    }
    assert_eq!((&told["sandbox"]["no_new_privs"], &told["sandbox"]["seccomp"]), (&json!(true), &json!(true)));
    let field = |pid: i32, name: &str| processes::status(pid, name)[0].parse::<u32>().unwrap();
    let supervisor = field(service.supervisor(), "Seccomp_filters");
    for pid in processes::family(service.supervisor()) {
        let title = processes::title(pid);
        assert_eq!((field(pid, "Seccomp"), field(pid, "NoNewPrivs")), (2, 1), "{title:?}");
        // The unit's and the supervisor's, which all inherit, and one of the role's own.
        let own = u32::from(pid != service.supervisor());
        assert_eq!(field(pid, "Seccomp_filters"), supervisor + own, "{title:?}");
    }
}
