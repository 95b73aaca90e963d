//! `docs/runbook.md`: six questions, one command each, which answers.
use crate::support::daemon::{Setup, as_user, run};
use crate::support::home;
use echostored::log::catalogue::CHAPTERS;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Each question with its command.
fn questions(page: &str) -> Vec<(&str, &str)> {
    let sections = page.split("\n## ").skip(1);
    let asked = sections.map(|section| {
        let commands: Vec<&str> = section.split("```").skip(1).step_by(2).collect();
        let [command] = commands[..] else { panic!("not one command: {section}") };
        (section.lines().next().unwrap(), command.strip_prefix("sh\n").unwrap().trim_end())
    });
    asked.collect()
}

#[test]
fn six_questions_have_one_command_each() {
    let page = read("docs/runbook.md");
    let asked = questions(&page);
    let names: Vec<&str> = asked.iter().map(|(question, _)| *question).collect();
    let six = ["Is it serving?", "Is it behind?", "Why?", "Since when?", "Who?", "What was lost?"];
    assert_eq!(names, six);
    assert!(asked.iter().all(|(_, command)| command.lines().count() == 1));
    assert!(read("README.md").contains("docs/runbook.md"), "nobody would find it");
}

#[test]
fn every_event_that_it_names_is_there() {
    let page = read("docs/runbook.md");
    let events: BTreeSet<&str> = CHAPTERS.iter().flat_map(|(_, events)| *events).map(|event| event.name).collect();
    let matches = page.split("ECHOSTORED_EVENT=").skip(1);
    let mut named: Vec<&str> = matches.map(|rest| rest.split([' ', '`', '\n']).next().unwrap()).collect();
    // The first two columns of the table of causes.
    let (_, causes) = page.split_once("| it began with |").unwrap();
    for row in causes.split("\n\n").next().unwrap().lines().skip(2) {
        let cells: Vec<&str> = row.split('|').collect();
        named.extend(cells[1..3].iter().flat_map(|cell| cell.split('`').skip(1).step_by(2)));
    }
    assert!(named.len() > 20, "{named:?}");
    named.iter().for_each(|name| assert!(events.contains(name), "there is no event {name}"));
}

/// What the daemon itself answers, it answers here; the journal is not there.
#[test]
fn the_commands_answer() {
    let mut daemon = Setup::default().start();
    let page = read("docs/runbook.md");
    for (question, line) in questions(&page) {
        let Some(rest) = line.strip_prefix("echostored status") else {
            assert!(line.starts_with("journalctl "), "{line}");
            continue;
        };
        let (binary, config) = (home::binary().display(), daemon.config_path());
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{binary} status --config {}{rest}", config.display()));
        as_user(&mut command);
        let ended = run(daemon.home(), command);
        assert!(ended.code == 0 && ended.stderr.is_empty() && !ended.stdout.trim().is_empty(), "{question} {ended:?}");
        let says = match question {
            "Is it serving?" => "health        ok\n",
            "Is it behind?" => "waiting       the oldest message for ",
            "Since when?" => "no trouble since the start\n",
            _ => "peer ",
        };
        assert!(ended.stdout.contains(says), "{question} {ended:?}");
    }
    daemon.stop();
}
