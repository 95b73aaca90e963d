//! A Prometheus of the test's own: its own data, its own port, ended with the test.
use crate::shipped_text;
use crate::support::daemon::{as_user, free_address};
use crate::support::home::{Home, give_away};
use crate::support::{DEADLINE, came_true, skip, wait_until};
use serde_json::Value;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A program of the package; `None`, and SKIPPED, where it is missing.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.exists());
    if found.is_none() {
        skip(&format!("there is no {name}; it is in Debian's package prometheus"));
    }
    found
}

/// What ships, with the exporter's address and a scrape each second, in a directory of its own.
pub fn shipped_for(target: SocketAddr) -> Home {
    let home = Home::new();
    let config = shipped_text("prometheus.yml");
    let config = config.replace("127.0.0.1:9464", &target.to_string()).replace(": 15s", ": 1s").replace(": 5s", ": 1s");
    assert!(config.contains(&target.to_string()) && config.matches(": 1s").count() == 3, "{config}");
    home.write("prometheus.yml", &config);
    for name in ["echostored.rules.yml", "echostored.rules.test.yml"] {
        home.write(name, &shipped_text(name));
    }
    home
}

pub struct Prometheus {
    address: SocketAddr,
    child: Child,
    home: Home,
}

impl Prometheus {
    /// One that scrapes `target`, once it is ready. `None`, and SKIPPED, where there is none.
    pub fn start(target: SocketAddr) -> Option<Self> {
        let program = program("prometheus")?;
        let home = shipped_for(target);
        home.make_dir("data");
        // Somebody else may take the port before it does.
        for _ in 0..5 {
            let address = free_address();
            let log = File::create(home.join("prometheus.log")).unwrap();
            give_away(&home.join("prometheus.log"));
            let mut command = Command::new(&program);
            command.arg("--config.file=prometheus.yml").arg("--storage.tsdb.path=data");
            command.arg(format!("--web.listen-address={address}")).current_dir(home.path());
            as_user(&mut command);
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
            let mut child = command.spawn().unwrap();
            let mut ended = false;
            wait_until(DEADLINE, "a Prometheus that is ready, or has ended", || {
                ended = child.try_wait().unwrap().is_some();
                ended || get(address, "/-/ready").is_ok_and(|(code, _)| code == 200)
            });
            // What is ready there may be of who took the port.
            if !ended && !came_true(std::time::Duration::from_millis(200), || child.try_wait().unwrap().is_some()) {
                return Some(Self { address, child, home });
            }
        }
        panic!("Prometheus does not start:\n{}", std::fs::read_to_string(home.join("prometheus.log")).unwrap());
    }

    /// `data` of an answer of its API.
    pub fn api(&self, path: &str) -> Value {
        let (code, body) = get(self.address, &format!("/api/v1/{path}")).unwrap();
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{code} {error}: {body}"));
        assert_eq!((code, &answer["status"]), (200, &Value::from("success")), "{path}: {answer}");
        answer["data"].clone()
    }

    /// The values of a query now, those that are numbers.
    pub fn query(&self, text: &str) -> Vec<f64> {
        let data = self.api(&format!("query?query={}", escaped(text)));
        assert_eq!(data["resultType"], "vector", "{text}");
        let values = data["result"].as_array().unwrap().iter();
        let values = values.map(|series| series["value"][1].as_str().unwrap().parse::<f64>().unwrap());
        values.filter(|value| !value.is_nan()).collect()
    }

    /// The same, once there are some: a scrape may have failed on a busy machine, and another follows.
    pub fn await_data(&self, text: &str) -> Vec<f64> {
        let mut values = Vec::new();
        wait_until(DEADLINE, &format!("data for {text}"), || {
            values = self.query(text);
            !values.is_empty()
        });
        values
    }

    /// Alerts that fire.
    pub fn firing(&self) -> Vec<String> {
        let data = self.api("alerts");
        let firing = data["alerts"].as_array().unwrap().iter().filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.home.join("prometheus.log")).unwrap_or_default());
        }
    }
}

/// GET by HTTP/1.0, which is answered in one piece: the code and the body.
pub fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: test\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok((code, body.to_owned()))
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
