//! Several instances of the template at once, each with its own directory, address and control socket; never two on one directory.
use crate::service::{STORE, Service};
use crate::support::checker::{self, Expect};
use crate::support::client::History;
use crate::support::framing::Format;
use std::net::SocketAddr;

fn unit(name: &str) -> String {
    format!("echostored@{name}.service")
}

fn address_of(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The configuration of an instance, as the unit wants it.
fn configure(service: &Service, name: &str, port: u16, directory: &str) {
    service.configure_as(
        &format!("/etc/echostored/{name}.toml"),
        &[
            ("server.listen", vec![address_of(port).to_string()].into()),
            ("store.directory", directory.into()),
            ("control.socket", format!("/run/echostored-{name}/control.sock").into()),
        ],
    );
}

fn directory(name: &str) -> String {
    format!("{STORE}-{name}")
}

fn files(service: &Service, name: &str) -> usize {
    checker::files(&service.path(&directory(name))).len()
}

#[test]
fn two_at_once_and_never_two_on_one_directory() {
    let Some(service) = Service::install() else { return };
    let ports = [("one", 7101), ("two", 7102)];
    for (name, port) in ports {
        configure(&service, name, port, &directory(name));
        service.must(&format!("systemctl enable --now {}", unit(name)));
    }
    let mut histories: Vec<Vec<History>> =
        ports.iter().map(|(_, port)| vec![service.talk_to(address_of(*port), 50)]).collect();

    // Each is spoken to by its own socket.
    for (name, _) in ports {
        let status = service.must(&format!("echostored status --json --config /etc/echostored/{name}.toml"));
        assert!(status.trim_start().starts_with('{'), "{status}");
    }
    service.must("echostored rotate --config /etc/echostored/one.toml");
    crate::support::wait_until(crate::support::DEADLINE, "a rotation", || files(&service, "one") == 2);
    assert_eq!(files(&service, "two"), 1, "the other was rotated, too");
    service.must(&format!("systemctl reload {}", unit("two")));

    refuses_a_taken_directory(&service);

    // One stops, the others do not notice.
    service.must(&format!("systemctl stop {}", unit("one")));
    histories[1].push(service.talk_to(address_of(7102), 50));
    let main = service.talk(50);
    service.must(&format!("systemctl stop {}", unit("two")));
    for ((name, _), histories) in ports.iter().zip(&histories) {
        checker::check(&service.path(&directory(name)), Format::Text, histories, Expect::default());
    }
    service.settle(&[main]);
}

/// A third one on the directory of the first.
fn refuses_a_taken_directory(service: &Service) {
    let taken = directory("one");
    configure(service, "three", 7103, &taken);
    let three = unit("three");
    let start = format!("systemctl start {three}");
    // As it stands the sandbox does not even let it write there.
    assert_ne!(service.run(&start).code, 0, "two daemons in one directory");
    service.must(&format!("systemctl stop {three}"));
    let said = service.journal(&three);
    assert!(said.contains(&taken), "the journal does not name {taken}:\n{said}");
    assert!(said.contains("ReadWritePaths="), "no remedy in the journal:\n{said}");

    service
        .write(&format!("/etc/systemd/system/{three}.d/paths.conf"), &format!("[Service]\nReadWritePaths={taken}\n"));
    service.must("systemctl daemon-reload");
    assert_ne!(service.run(&start).code, 0, "two daemons in one directory");
    service.must(&format!("systemctl stop {three}"));
    let owner = service.show(&unit("one"), "MainPID");
    let said = service.journal(&three);
    let clear = said.lines().any(|line| line.contains(&taken) && line.contains(&owner));
    assert!(clear, "no line names both {taken} and its owner, process {owner}:\n{said}");
    assert!(said.contains("status=75"), "the exit code is not 75:\n{said}");
}
