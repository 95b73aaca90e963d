//! `packaging/install`: a service from a checkout, without a package, and its removal.
use crate::machine::Machine;
use crate::service::{CONFIG, STORE, Service};
use std::path::Path;
use std::process::Command;

/// A machine with a checkout in it, and the program of the package.
fn checkout() -> Option<Service> {
    let service = Service::install()?;
    service.must("cp /usr/bin/echostored /root/echostored && apt-get purge -y -q echostored && rm -r /var/lib/echostored && userdel echostored");
    service.must("mkdir /root/checkout");
    for part in ["packaging", "config", "docs", "README.md", "LICENSE", "CHANGELOG.md", "Cargo.toml"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(part);
        let copied = Command::new("cp").arg("-r").arg(from).arg(service.path("/root/checkout")).status().unwrap();
        assert!(copied.success(), "cannot copy {part}");
    }
    Some(service)
}

/// Everything in the machine that is not of the system itself, or of this run.
fn traces(machine: &Machine) -> String {
    machine.must(
        "find / -xdev -path '*echostored*' ! -path '/root/*' ! -path '/proc/*' ! -path '/sys/*' ! -path '/var/cache/*' \
         ! -path /etc/echostored-base ! -path '/var/log/*' ! -path '/run/log/*' ! -path '/var/lib/dpkg/*' | sort",
    )
}

#[test]
fn installs_upgrades_and_uninstalls() {
    let Some(service) = checkout() else { return };
    let before = traces(&service);
    println!("{}", service.must("cd / && /root/checkout/packaging/install --binary /root/echostored 2>&1"));
    service.await_active();
    assert_eq!(service.must("systemctl is-enabled echostored").trim(), "enabled");
    let mut histories = vec![service.talk(50)];
    let owner = service.must(&format!("stat -c '%U:%G %a' {STORE}/current"));
    assert_eq!(owner.trim(), "echostored:echostored 640");

    // Again: the configuration and the records stay, what runs is replaced.
    service.configure(&[("server.echo", "synced".into())]);
    let changed = service.must(&format!("cat {CONFIG}"));
    let first = service.supervisor();
    println!("{}", service.must("/root/checkout/packaging/install --binary /root/echostored 2>&1"));
    service.await_active();
    assert_ne!(service.supervisor(), first, "the running program was not replaced");
    assert_eq!(service.must(&format!("cat {CONFIG}")), changed, "the configuration was changed");
    histories.push(service.talk(50));
    assert_eq!(service.settle(&histories).records, 100);

    let said = service.must("/root/checkout/packaging/install --uninstall 2>&1");
    println!("{said}");
    assert!(said.contains(STORE), "it does not say that {STORE} stays");
    assert_ne!(service.run("systemctl is-active echostored").code, 0);
    let kept = |line: &&str| line.starts_with(STORE) || line.starts_with("/etc/echostored");
    let after = traces(&service);
    let left: Vec<&str> = after.lines().filter(|line| !kept(line) && !before.lines().any(|old| old == *line)).collect();
    assert_eq!(left, Vec::<&str>::new(), "left behind");
    assert!(service.path(CONFIG).exists() && service.store().join("current").exists(), "what must stay is gone");
    assert_eq!(service.must("systemctl --failed --no-legend"), "");
}
