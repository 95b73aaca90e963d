//! What a daemon under test is configured with.
use super::daemon::Daemon;
use super::home::Home;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use toml::{Table, Value};

/// 12000 to 31999: `net.ipv4.ip_local_port_range` begins at 32768.
const FIRST_PORT: u16 = 12_000;
const PORTS: u32 = 20_000;

/// A configuration: what tests need, then what this test wants.
#[derive(Clone)]
pub struct Setup {
    table: Table,
    pub(super) environment: Vec<(String, String)>,
    /// Variables that hold its process id.
    pub(super) own_pid: Vec<String>,
    /// The test has chosen the address, so another will not do.
    pub(super) fixed_address: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { table: Table::new(), environment: Vec::new(), own_pid: Vec::new(), fixed_address: false }
            .set("server.workers", 2)
    }
}

impl Setup {
    /// Sets `section.key`.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        let (section, key) = key.split_once('.').expect("section.key");
        let section = self.table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        section.as_table_mut().unwrap().insert(key.to_owned(), value.into());
        self
    }

    /// The first address of `server.listen`.
    pub(super) fn address(&self) -> SocketAddr {
        let listen = self.table["server"]["listen"].as_array().expect("set by listen()");
        listen[0].as_str().unwrap().parse().unwrap()
    }

    /// Listens there, and nowhere else.
    pub fn listen(mut self, addresses: &[SocketAddr]) -> Self {
        self.fixed_address = true;
        self.set("server.listen", addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>())
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a variable to the daemon's own process id, as a service manager does.
    pub fn own_pid(mut self, name: &str) -> Self {
        self.own_pid.push(name.to_owned());
        self
    }

    /// Forgets the variables: the fault that they ask for is over.
    pub fn without_environment(mut self) -> Self {
        self.environment.clear();
        self.own_pid.clear();
        self
    }

    /// The configuration file's text, with the paths of `home` where the test sets none.
    pub fn text(&self, home: &Home) -> String {
        let mut all = self.clone();
        let paths = [
            ("store", "directory", "store"),
            ("daemon", "pid-file", "run/echostored.pid"),
            ("control", "socket", "run/control.sock"),
        ];
        for (section, key, path) in paths {
            let section =
                all.table.entry(section).or_insert_with(|| Value::Table(Table::new())).as_table_mut().unwrap();
            section.entry(key).or_insert_with(|| Value::String(home.join(path).to_string_lossy().into_owned()));
        }
        toml::to_string(&all.table).unwrap()
    }

    /// Starts the daemon in a fresh directory and waits until it says that it is ready.
    pub fn start(self) -> Daemon {
        self.start_in(Home::new())
    }

    /// The same in a directory that has been prepared.
    pub fn start_in(self, home: Home) -> Daemon {
        let mut daemon = Daemon::new(home, self);
        for _ in 0..5 {
            match daemon.launch() {
                Ok(()) => return daemon,
                // Somebody else took the port between our looking and the daemon's binding.
                Err(69) if !daemon.setup.fixed_address => daemon.choose_address(),
                Err(code) => panic!("the daemon ended with {code} before it was ready:\n{}", daemon.log()),
            }
        }
        panic!("five free ports were all taken");
    }
}

/// An address that was free a moment ago. Below the ports that the kernel gives to outgoing connections: while a daemon
/// is dead, no client may be given its port, and so connect to itself.
pub fn free_address() -> SocketAddr {
    static LAST: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() * 131 % PORTS).expect("below PORTS");
    loop {
        let next = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(own) % u16::try_from(PORTS).expect("a port");
        let address = SocketAddr::from(([127, 0, 0, 1], FIRST_PORT + next));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
