//! The drop-ins that the package brings as examples: each is taken without a word, and serves.
use crate::service::{MAIN, STORE, Service, address};
use crate::support::client::History;
use std::fs;
use std::net::SocketAddr;

const EXAMPLES: &str = "/usr/share/doc/echostored/examples";
/// What they need that this systemd has not: 253, 254.
const LATER: &[&str] = &["notify-reload.conf", "restart-slower.conf"];

/// The unit that an example says it belongs to.
fn place(text: &str) -> &str {
    let said = text.lines().find_map(|line| line.strip_prefix("# To /etc/systemd/system/"));
    let unit = said.and_then(|place| place.split_once(".d/"));
    unit.unwrap_or_else(|| panic!("says not where it belongs:\n{text}")).0
}

/// Puts an example where it belongs.
fn take(service: &Service, name: &str) {
    let text = fs::read_to_string(service.path(&format!("{EXAMPLES}/{name}"))).unwrap();
    service.write(&format!("/etc/systemd/system/{}.d/{name}", place(&text)), &text);
    service.must("systemctl daemon-reload");
}

#[test]
fn systemd_takes_every_example() {
    let Some(service) = Service::install() else { return };
    let version: u32 =
        service.must("systemctl --version").split(' ').nth(1).and_then(|number| number.parse().ok()).unwrap();
    let names: Vec<String> = service.must(&format!("cd {EXAMPLES} && ls *.conf")).lines().map(str::to_owned).collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        let text = fs::read_to_string(service.path(&format!("{EXAMPLES}/{name}"))).unwrap();
        let unit = place(&text);
        take(&service, &name);
        let said = service.run(&format!("systemd-analyze verify --man=no {unit}"));
        let said = said.stdout + &said.stderr;
        let quiet = version >= 254 || !LATER.contains(&name.as_str());
        assert_eq!(said.is_empty(), quiet, "{name}: {said}");
        service.must(&format!("rm -r /etc/systemd/system/{unit}.d && systemctl daemon-reload"));
    }
}

#[test]
fn a_dynamic_user_serves() {
    let Some(service) = Service::install() else { return };
    let mut histories = vec![service.talk(50)];
    // As the example says: systemd moves the store, and leaves a symlink that the daemon refuses.
    take(&service, "dynamic-user.conf");
    service.configure(&[("store.directory", "/var/lib/private/echostored".into())]);
    service.systemctl("restart");
    histories.push(service.talk(50));
    let user = service.must(&format!("stat -L -c %U {STORE}/current"));
    assert_ne!(user.trim(), "echostored", "it does not run as a dynamic user");
    // And back again.
    service.systemctl("stop");
    service.configure(&[("store.directory", STORE.into())]);
    service.must(&format!("rm -r /etc/systemd/system/{MAIN}.d && rm -f /run/echostored && systemctl daemon-reload"));
    service.systemctl("start");
    histories.push(service.talk(50));
    assert_eq!(service.must(&format!("stat -c %U {STORE}/current")).trim(), "echostored");
    assert_eq!(service.settle(&histories).records, 150);
}

#[test]
fn limits_a_low_port_and_a_disk_of_its_own() {
    let Some(service) = Service::install() else { return };
    let main = service.talk(50);
    service.settle(&[main]);
    service.must("install -d -o echostored -g echostored -m 0750 /srv/echostored");
    ["resources.conf", "low-port.conf", "durable.conf"].iter().for_each(|name| take(&service, name));
    let low: SocketAddr = "127.0.0.1:601".parse().unwrap();
    service.configure(&[
        ("server.listen", vec![low.to_string(), address().to_string()].into()),
        ("server.echo", "synced".into()),
        ("store.directory", "/srv/echostored".into()),
    ]);
    service.systemctl("start");
    let histories: [History; 2] = [service.talk_to(low, 50), service.talk(50)];
    service.systemctl("stop");
    let expect = crate::support::checker::Expect::default();
    let place = service.path("/srv/echostored");
    crate::support::checker::check(&place, crate::support::framing::Format::Text, &histories, expect);
}

#[test]
fn other_addresses_for_the_isolated_service() {
    let Some(mut service) = Service::install() else { return };
    take(&service, "isolated-port.conf");
    service.isolate_at(SocketAddr::from(([127, 0, 0, 1], 601)));
    let histories =
        [service.talk_to("127.0.0.1:601".parse().unwrap(), 50), service.talk_to("[::1]:601".parse().unwrap(), 50)];
    service.settle(&histories);
}
