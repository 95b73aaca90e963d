//! The operator's view: a member of the service's group, with `tail -F` on the live file.
use crate::machine::Running;
use crate::service::{CONFIG, MAIN, STORE, Service, address};
use crate::support::checker;
use crate::support::load::{Load, OnBreak, Shape};
use crate::support::{DEADLINE, came_true, wait_until};
use std::fs;
use std::os::unix::fs::MetadataExt;

const ROUNDS: usize = 6;

/// All bytes of the store, in order.
fn stored(service: &Service) -> Vec<u8> {
    checker::files(&service.store()).iter().flat_map(|file| fs::read(&file.path).unwrap()).collect()
}

/// The operator has seen what was stored when this was called. The next rotation only after that: tail leaves out a file that was
/// `current` for less than its turn.
fn catches_up(service: &Service, tail: &Running, after: &str) {
    let due: u64 = checker::files(&service.store()).iter().map(|file| file.size).sum();
    let seen = came_true(DEADLINE, || tail.printed().len() as u64 >= due);
    assert!(seen, "{after}: tail printed {} of {due} bytes", tail.printed().len());
}

fn rotate(service: &Service, by: &str) {
    let inode = || fs::metadata(service.store().join("current")).unwrap().ino();
    let before = inode();
    service.must(by);
    wait_until(DEADLINE, "a rotation", || inode() != before);
}

#[test]
fn a_member_of_the_group_sees_every_record_once() {
    let Some(service) = Service::install() else { return };
    service.must("useradd --groups echostored olga && useradd stranger");
    let refused = service.run(&format!("runuser -u stranger -- cat {STORE}/current"));
    assert!(refused.code != 0 && refused.stderr.contains("Permission denied"), "a stranger reads: {refused:?}");
    let mut tail = service.spawn(&format!("exec runuser -u olga -- tail -F -n +1 {STORE}/current"));
    let shape = Shape { connections: 4, window: 4, rest: std::time::Duration::from_millis(2), ..Shape::default() };
    let load = Load::start(address(), Shape { on_break: OnBreak::Reconnect, ..shape });
    catches_up(&service, &tail, "start");
    for round in 0..ROUNDS {
        rotate(&service, &format!("systemctl kill --signal=USR1 --kill-who=main {MAIN}"));
        load.progress(20);
        catches_up(&service, &tail, "USR1");
        rotate(&service, "echostored rotate");
        load.progress(20);
        catches_up(&service, &tail, "echostored rotate");
        // One that the writer works by, so that it is replaced too.
        service.configure_as(CONFIG, &[("rotate.max-size", format!("{}MiB", 32 + round).into())]);
        service.systemctl("reload");
        load.progress(20);
        catches_up(&service, &tail, "reload");
        service.systemctl("restart");
        load.progress(20);
        catches_up(&service, &tail, "restart");
    }
    let histories = load.finish();
    let report = service.settle(&histories);
    assert!(report.files.len() > 2 * ROUNDS, "{} files after {} rotations", report.files.len(), 2 * ROUNDS);
    let all = stored(&service);
    wait_until(DEADLINE, "a tail that has printed all", || tail.printed().len() >= all.len());
    assert!(tail.runs(), "tail has ended");
    assert!(tail.printed() == all, "tail printed other bytes than the store holds");
    println!("{} records in {} files, each printed once", report.records, report.files.len());
}
