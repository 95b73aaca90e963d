//! Switched on, off and moved by a reload; ports that are not to be had.
use crate::http::{Connection, get};
use crate::support::control::{status, tell};
use crate::support::daemon::{Daemon, Setup, command, free_address, run};
use crate::support::home::Home;
use crate::support::load::{Load, OnBreak, Shape};
use crate::support::{DEADLINE, processes, wait_until};
use crate::{address, scrape, start};
use serde_json::Value;
use std::net::{SocketAddr, TcpListener, TcpStream};

fn listen(daemon: &mut Daemon, at: &str) -> (i32, String) {
    daemon.reconfigure(|setup| setup.set("metrics.listen", at));
    let ended = tell(daemon, &["reload"]);
    (ended.code, ended.stderr)
}

fn serves(address: SocketAddr) -> bool {
    get(address, "/metrics").is_ok_and(|page| page.code == 200)
}

#[test]
fn on_off_moved_and_left_alone() {
    let mut daemon = Setup::default().start();
    // The generation before the last closes its connections.
    let load = Load::start(daemon.address, Shape { on_break: OnBreak::Reconnect, ..Shape::default() });
    let none = |daemon: &Daemon| daemon.roles("exporter").is_empty() && status(daemon)["exporter"] == Value::Null;
    assert!(none(&daemon), "off by default");
    let [first, second] = [free_address(), free_address()];
    assert_eq!(listen(&mut daemon, &first.to_string()), (0, String::new()));
    wait_until(DEADLINE, "metrics", || serves(first));
    daemon.remember();
    let pid = daemon.roles("exporter")[0];
    let mut kept = Connection::new(first);
    // Another reload leaves it alone, and its connections.
    daemon.reconfigure(|setup| setup.set("server.workers", 3));
    assert_eq!(tell(&daemon, &["reload"]).code, 0);
    assert_eq!(kept.ask("GET", "/metrics").unwrap().code, 200);
    assert_eq!(daemon.roles("exporter"), [pid]);
    assert_eq!(listen(&mut daemon, &second.to_string()), (0, String::new()));
    wait_until(DEADLINE, "metrics elsewhere", || serves(second));
    wait_until(DEADLINE, "no metrics there any more", || TcpStream::connect(first).is_err());
    assert!(kept.ends(DEADLINE) && !processes::runs(pid));
    assert_eq!(status(&daemon)["exporter"]["listener"], second.to_string());
    assert_eq!(listen(&mut daemon, ""), (0, String::new()));
    wait_until(DEADLINE, "none", || none(&daemon) && TcpStream::connect(second).is_err());
    assert_eq!(listen(&mut daemon, "127.0.0.1:0"), (0, String::new()));
    scrape(address(&daemon));
    daemon.remember();
    load.progress(200);
    load.finish();
    daemon.stop();
}

#[test]
fn a_port_that_is_taken_is_69_at_the_start_and_refuses_a_reload() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let mut daemon = Daemon::new(Home::new(), Setup::default().set("metrics.listen", at.as_str()));
    assert_eq!(daemon.launch(), Err(69));
    let words = format!("cannot listen on {at}: Address already in use");
    assert!(daemon.log().contains(&words) && daemon.log().contains("ss -ltnp"), "{}", daemon.log());
    let (mut daemon, old) = start(Setup::default());
    let pid = daemon.roles("exporter")[0];
    let (code, why) = listen(&mut daemon, &at);
    assert!(code == 78 && why.contains(&words), "{code} {why}");
    let (code, why) = listen(&mut daemon, "192.0.2.1:9464");
    assert!(code == 78 && why.contains("no interface of this machine has that address"), "{code} {why}");
    assert!(serves(old) && daemon.roles("exporter") == [pid], "all is as it was");
    drop(taken);
    assert_eq!(listen(&mut daemon, &at).0, 0);
    wait_until(DEADLINE, "metrics there", || serves(at.parse().unwrap()));
    daemon.remember();
    // Of the same port with a wider address: not while it is listened on.
    let wide = at.replace("127.0.0.1", "0.0.0.0");
    let (code, why) = listen(&mut daemon, &wide);
    assert!(
        code == 78 && why.contains(&format!("cannot serve metrics on {wide} while this daemon does so on {at}")),
        "{why}"
    );
    assert!(serves(at.parse().unwrap()));
    daemon.stop();
}

#[test]
fn an_address_that_others_reach_is_a_warning() {
    let home = Home::new();
    for (at, warned) in [
        ("0.0.0.0:9464", true),
        ("[::]:9464", true),
        ("192.0.2.1:9464", true),
        ("127.0.0.2:9464", false),
        ("[::1]:9464", false),
        ("", false),
    ] {
        let file = home.write("c.toml", &format!("[metrics]\nlisten = \"{at}\"\n"));
        let mut check = command(&["check", "--config"]);
        check.arg(file);
        let ended = run(&home, check);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(ended.stderr.contains("there is no authentication and no encryption"), warned, "{at}: {ended:?}");
    }
    let file = home.write("c.toml", "[metrics]\nlisten = \"9464\"\n");
    let mut check = command(&["check", "--config"]);
    check.arg(file);
    let ended = run(&home, check);
    assert!(ended.code == 78 && ended.stderr.contains(":2:10: metrics.listen: invalid value \"9464\""), "{ended:?}");
}
