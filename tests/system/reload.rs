//! `systemctl reload`: tells what is wrong, changes nothing then, and what is right holds once it returns.
use crate::service::{CONFIG, Service, address};
use crate::support::client::{Client, Messages};
use crate::support::drive::drive;
use crate::support::framing::Framing;
use std::fs;

#[test]
fn a_reload_with_a_good_and_a_bad_configuration() {
    let Some(service) = Service::install() else { return };
    // A connection that lives through all of it.
    let client = Client::connect(address(), Framing::Line, Messages::generated(Framing::Line, 16, 200)).unwrap();
    let mut clients = vec![client.quota(0)];
    let mut echoed = |more: usize| {
        clients[0].allow(more);
        drive(&mut clients, "echoes", |clients| clients[0].served());
        assert!(!clients[0].ended(), "the connection was closed");
    };
    echoed(10);
    let supervisor = service.supervisor();
    let workers = || {
        let mut workers = service.roles("worker");
        workers.sort_unstable();
        workers
    };
    let before = workers();

    let good = fs::read_to_string(service.path(CONFIG)).unwrap();
    let line = 1 + good.lines().position(|line| line.starts_with("workers =")).expect("every key is there");
    let bad = good.replacen("\nworkers = ", "\nworkers = \"many\" # ", 1);
    service.write(CONFIG, &bad);
    let ended = service.run("systemctl reload echostored");
    assert_ne!(ended.code, 0, "a reload of a bad file must fail");
    let place = format!("{CONFIG}:{line}:11");
    let journal = service.journal("echostored");
    assert!(journal.contains(&place), "no {place} in the journal:\n{journal}");
    assert_eq!((service.supervisor(), workers()), (supervisor, before.clone()), "a refused reload changes nothing");
    assert!(service.is_active(), "a refused reload must leave the service active");
    echoed(10);

    // A change that the daemon alone can refuse: the file is well formed.
    service.write(CONFIG, &good.replacen("\nprefix = \"messages\"", "\nprefix = \"other\"", 1));
    let ended = service.run("systemctl reload echostored");
    assert_ne!(ended.code, 0, "a reload that changes store.prefix must fail");
    assert!(service.journal("echostored").contains("store.prefix"), "the journal does not tell the key");
    assert_eq!((service.supervisor(), workers()), (supervisor, before.clone()));
    echoed(10);

    service.write(CONFIG, &good.replacen("\nworkers = ", "\nworkers = 3 # ", 1));
    service.systemctl("reload");
    let new: Vec<i32> = workers().into_iter().filter(|pid| !before.contains(pid)).collect();
    assert_eq!((service.supervisor(), new.len()), (supervisor, 3), "the new workers are there once reload returns");
    echoed(10);
    let other = service.talk(50);
    let histories = [clients.remove(0).leave(), other];
    service.settle(&histories);
}
