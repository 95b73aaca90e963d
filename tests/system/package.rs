//! Install, upgrade, remove, purge.
use crate::service::{CONFIG, STORE, Service};
use crate::support::processes;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// The user and group of the service, and the mode, of a file in the machine.
fn owner_and_mode(service: &Service, path: &str) -> String {
    service.must(&format!("stat -c '%U:%G %a' {path}")).trim().to_owned()
}

#[test]
fn an_installed_package_serves() {
    let Some(service) = Service::install() else { return };
    assert_eq!(service.must("systemctl is-enabled echostored").trim(), "enabled");
    let heard = service.must("printf 'hello from nc\\n' | nc -N 127.0.0.1 7007");
    assert_eq!(heard, "hello from nc\n");
    let current = format!("{STORE}/current");
    let record = service.must(&format!("cat {current}"));
    assert!(record.ends_with("-1 hello from nc\n"), "the record is {record:?}");
    assert_eq!(owner_and_mode(&service, &current), "echostored:echostored 640");
    assert_eq!(owner_and_mode(&service, STORE), "echostored:echostored 750");
    assert!(owner_and_mode(&service, CONFIG).starts_with("root:"), "the service can write its configuration");
    let uid = service.must("id -u echostored");
    for pid in processes::family(service.supervisor()) {
        assert_eq!(processes::status(pid, "Uid"), vec![uid.trim(); 4], "user of {:?}", processes::title(pid));
    }
    let shown = service.must("systemctl status echostored");
    for role in ["supervisor", "worker 1", "writer", "archiver"] {
        assert!(shown.contains(&format!("echostored: {role}")), "no {role} in:\n{shown}");
    }
    assert_eq!(service.must("systemctl --failed --no-legend"), "");
}

/// The same package with a higher version.
fn repack(service: &Service) {
    service.must(
        "cd /root && dpkg-deb -R echostored.deb later \
         && sed -i 's/^Version: .*/Version: 99.0/' later/DEBIAN/control && dpkg-deb -b later later.deb",
    );
}

#[test]
fn an_upgrade_keeps_configuration_and_records_and_a_purge_keeps_the_records() {
    let Some(service) = Service::install() else { return };
    let before = service.talk(100);
    service.configure(&[("server.echo", "synced".into())]);
    let changed = fs::read(service.path(CONFIG)).unwrap();
    let first = service.supervisor();
    repack(&service);
    let said = service.must("dpkg -i /root/later.deb 2>&1 </dev/null");
    println!("{said}");
    assert_eq!(service.must("dpkg-query -W -f '${Version}' echostored"), "99.0");
    service.await_active();
    assert_ne!(service.supervisor(), first, "an upgrade must replace the running program");
    assert_eq!(fs::read(service.path(CONFIG)).unwrap(), changed, "the upgrade has changed the configuration");
    let histories = [before, service.talk(100)];
    service.settle(&histories);
    service.systemctl("start");

    let inode = |file: &str| fs::metadata(service.store().join(file)).unwrap().ino();
    let current = inode("current");
    println!("{}", service.must("dpkg -r echostored 2>&1"));
    assert_eq!(service.run("systemctl is-active echostored").stdout.trim(), "inactive");
    assert_eq!(service.run("command -v echostored").code, 127, "the program is still there");
    assert!(service.path(CONFIG).exists(), "remove must leave the configuration");
    assert_eq!(inode("current"), current);

    let said = service.must("dpkg -P echostored 2>&1");
    println!("{said}");
    assert!(said.contains(STORE), "purge does not say that the records are kept in {STORE}");
    assert!(!service.path(CONFIG).exists(), "purge must remove the configuration");
    assert_eq!(inode("current"), current);
    let left =
        service.must("find /etc /lib /usr /run -path '*echostored*' ! -path /etc/echostored-base ! -path '*/dpkg/*'");
    assert_eq!(left, "", "purge leaves files behind");
    assert_eq!(service.must("systemctl --failed --no-legend"), "");

    // Installed again, it goes on with the store that was left.
    println!("{}", service.must("dpkg -i /root/echostored.deb 2>&1"));
    service.await_active();
    let histories = [histories.as_slice(), &[service.talk(100)]].concat();
    assert_eq!(service.settle(&histories).records, 300);
}
