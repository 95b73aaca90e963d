//! The installed service: its package, configuration, processes and store.
use crate::base;
use crate::machine::Machine;
use crate::support::checker::{self, Expect, Report};
use crate::support::client::{Client, History, Messages};
use crate::support::drive::serve;
use crate::support::framing::{Format, Framing};
use crate::support::{DEADLINE, processes, skip, wait_until};
use std::fs;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use toml::{Table, Value};

pub const CONFIG: &str = "/etc/echostored/echostored.toml";
pub const STORE: &str = "/var/lib/echostored";
/// The unit that the package enables.
pub const MAIN: &str = "echostored.service";
/// The one that is given its sockets.
pub const ISOLATED: &str = "echostored-isolated.service";

/// Where the packaged configuration listens.
pub fn address() -> SocketAddr {
    "127.0.0.1:7007".parse().unwrap()
}

/// A machine with the package installed.
pub struct Service {
    machine: Machine,
    /// The unit that the test is about.
    pub unit: String,
}

impl Deref for Service {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl Service {
    /// A fresh machine with the package installed, and so the service running.
    pub fn install() -> Option<Self> {
        let package = match base::package() {
            Ok(package) => package,
            Err(why) => {
                skip(&why);
                return None;
            }
        };
        let machine = Machine::boot()?;
        fs::copy(&package, machine.path("/root/echostored.deb")).unwrap();
        println!("{}", machine.must("dpkg -i /root/echostored.deb 2>&1"));
        let service = Self { machine, unit: MAIN.to_owned() };
        service.await_active();
        Some(service)
    }

    /// Goes over to the socket-activated pair, as an operator does.
    pub fn isolate(&mut self) {
        self.isolate_at(address());
    }

    /// The same where the socket unit listens elsewhere.
    pub fn isolate_at(&mut self, address: SocketAddr) {
        self.must("systemctl disable --now echostored.service");
        self.must("systemctl enable --now echostored-isolated.socket");
        assert!(!self.is_active(), "both services run");
        self.unit = ISOLATED.to_owned();
        // The first connection starts it.
        self.talk_to(address, 1);
        self.await_active();
        self.systemctl("stop");
        // So that the tests' own histories are all that is stored.
        self.must(&format!("find {STORE} -mindepth 1 -delete"));
        self.systemctl("start");
    }

    /// Adds to the unit's file.
    pub fn drop_in(&self, name: &str, text: &str) {
        self.write(&format!("/etc/systemd/system/{}.d/{name}.conf", self.unit), text);
        self.must("systemctl daemon-reload");
    }

    /// Runs `systemctl VERB` on the unit; it must succeed.
    pub fn systemctl(&self, verb: &str) -> String {
        self.must(&format!("systemctl {verb} {}", self.unit))
    }

    /// Changes the packaged configuration.
    pub fn configure(&self, changes: &[(&str, Value)]) {
        self.configure_as(CONFIG, changes);
    }

    /// The same at another place.
    pub fn configure_as(&self, place: &str, changes: &[(&str, Value)]) {
        let from = if self.path(place).exists() { place } else { CONFIG };
        let mut all: Table = fs::read_to_string(self.path(from)).unwrap().parse().unwrap();
        for (key, value) in changes {
            let (section, key) = key.split_once('.').expect("section.key");
            let section = all[section].as_table_mut().unwrap();
            assert!(section.insert(key.to_owned(), value.clone()).is_some(), "the packaged file has every key: {key}");
        }
        self.write(place, &toml::to_string(&all).unwrap());
    }

    pub fn is_active(&self) -> bool {
        self.show(&self.unit, "ActiveState") == "active"
    }

    pub fn await_active(&self) {
        wait_until(DEADLINE, "an active service", || self.is_active());
    }

    /// The supervisor, as the host numbers it.
    pub fn supervisor(&self) -> i32 {
        let inside: i32 = self.show(&self.unit, "MainPID").parse().unwrap();
        self.host_pid(inside).unwrap_or_else(|| panic!("main process {inside} of {} does not run", self.unit))
    }

    /// The processes whose title begins `echostored: ROLE`.
    pub fn roles(&self, role: &str) -> Vec<i32> {
        let wanted = format!("echostored: {role}");
        let has = |pid: &i32| processes::title(*pid).is_some_and(|title| title.starts_with(&wanted));
        processes::family(self.supervisor()).into_iter().filter(has).collect()
    }

    /// The store of the unit, from outside.
    pub fn store(&self) -> PathBuf {
        self.path(STORE)
    }

    /// Sends `count` messages over one connection, and hears them all.
    pub fn talk(&self, count: usize) -> History {
        self.talk_to(address(), count)
    }

    pub fn talk_to(&self, address: SocketAddr, count: usize) -> History {
        let messages = Messages::generated(Framing::Line, 16, 200);
        let client = Client::connect(address, Framing::Line, messages).unwrap();
        serve(vec![client.quota(count).half_close()]).remove(0)
    }

    /// Stops the unit and holds its store against what the clients know.
    pub fn settle(&self, histories: &[History]) -> Report {
        self.systemctl("stop");
        let said = self.run(&format!("echostored verify --directory {STORE}"));
        assert_eq!(said.code, 0, "verify: {}{}", said.stdout, said.stderr);
        let expect = Expect { empty_files: true, ..Expect::default() };
        checker::check(&self.store(), Format::Text, histories, expect)
    }
}
