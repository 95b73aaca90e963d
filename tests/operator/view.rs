//! One look at a daemon from outside, by all means that an operator has.
use crate::support::control::tell;
use crate::support::daemon::Daemon;
use crate::support::{DEADLINE, came_true};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// For what takes seconds by design, on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The three of them, asked one after the other.
pub struct View {
    /// Of `echostored status`.
    pub code: i32,
    screen: String,
    json: Value,
    page: String,
}

impl View {
    pub fn of(daemon: &Daemon) -> Self {
        let ended = tell(daemon, &["status", "--json"]);
        assert!(ended.code <= 1 && ended.stderr.is_empty(), "{ended:?}");
        let json: Value = serde_json::from_str(&ended.stdout).expect("one JSON object");
        let screen = tell(daemon, &["status"]).stdout;
        let place = json["exporter"]["listener"].as_str().and_then(|place| place.parse().ok());
        Self { code: ended.code, screen, page: place.map_or_else(String::new, scrape), json }
    }

    /// The row of the screen that begins with `name`; of processes and troubles too.
    pub fn row(&self, name: &str) -> &str {
        let rest = self.screen.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        rest.unwrap_or_default().trim()
    }

    /// The field of the JSON at `/a/b`.
    pub fn field(&self, at: &str) -> &Value {
        self.json.pointer(at).unwrap_or(&Value::Null)
    }

    /// The same, where it is a number; 0 if there is none.
    pub fn number(&self, at: &str) -> u64 {
        self.field(at).as_u64().unwrap_or(0)
    }

    /// What `health` says, in the JSON.
    pub fn health(&self) -> Vec<&str> {
        self.json["health"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
    }

    /// Health in all three, and in the exit code, are `sound`.
    pub fn is_sound(&self, sound: bool) -> bool {
        let seen = [
            self.code == 0,
            self.health().is_empty(),
            self.row("health") == "ok",
            self.metric("echostored_healthy") == 1.0,
        ];
        seen == [sound; 4]
    }

    /// A sample: the series with its labels, as it stands there. Absent: below any number that is asked for.
    pub fn metric(&self, series: &str) -> f64 {
        let line = self.page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(-1.0, |rest| rest.split(' ').next().unwrap().parse().unwrap())
    }
}

/// `GET /metrics`; empty if nobody answers.
fn scrape(place: SocketAddr) -> String {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&place, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().unwrap_or_default()
}

/// Looks until all that is listed can be seen at once.
pub fn until(daemon: &Daemon, what: &str, seen: impl Fn(&View) -> Vec<(&'static str, bool)>) -> View {
    let mut view = View::of(daemon);
    let all = |view: &View| seen(view).iter().all(|(_, is)| *is);
    let came = came_true(PATIENCE, || {
        view = View::of(daemon);
        all(&view)
    });
    if !came {
        let missing: Vec<&str> = seen(&view).into_iter().filter(|(_, is)| !is).map(|(name, _)| name).collect();
        let View { code, screen, json, page } = &view;
        panic!("{what}: not seen: {missing:?}\nexit code {code}\n{screen}\n{json}\n{page}");
    }
    view
}

/// Looks until it is as if nothing had been.
pub fn until_sound(daemon: &Daemon, what: &str) -> View {
    until(daemon, what, |view| vec![("health, in all of them", view.is_sound(true))])
}

/// The lines of an event so far.
pub fn said(daemon: &Daemon, event: &str) -> Vec<Value> {
    let log = daemon.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["event"] == event).collect()
}

/// Waits until an event is said so often.
pub fn until_said(daemon: &Daemon, event: &str, times: usize) {
    let came = came_true(PATIENCE, || said(daemon, event).len() >= times);
    assert!(came, "{event} was not said {times} times");
}

/// The event was said so often, never more; with these words of cause and remedy.
pub fn is_said(daemon: &Daemon, event: &str, times: usize, words: &[&str]) {
    let lines = said(daemon, event);
    assert_eq!(lines.len(), times, "{event}: {lines:#?}");
    say(&lines, words);
}

/// Each of these lines has these words.
pub fn say(lines: &[Value], words: &[&str]) {
    for line in lines {
        let message = line["message"].as_str().unwrap();
        assert!(words.iter().all(|word| message.contains(word)), "{message:?} has not all of {words:?}");
        assert!(line["message_id"].is_string() && line["role"].is_string() && line["level"].is_string(), "{line}");
    }
}
