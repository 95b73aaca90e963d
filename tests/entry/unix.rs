//! Unix sockets of `server.listen`.
use super::{peer_and_message, say, stored};
use crate::support::DEADLINE;
use crate::support::daemon::{Daemon, Setup};
use crate::support::home::{Home, give_away};
use crate::support::wait_until;
use nix::sys::signal::Signal;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

fn socket(home: &Home) -> PathBuf {
    home.make_dir("run");
    home.join("run/echo.sock")
}

#[test]
fn a_client_is_served_and_named_by_process_and_user() {
    let home = Home::new();
    let path = socket(&home);
    let mut daemon = Daemon::new(home, Setup::default());
    let address = daemon.address;
    let both = |path: &Path| vec![address.to_string(), format!("unix:{}", path.display())];
    daemon.reconfigure(|setup| setup.set("server.listen", both(&path)).set("server.unix-mode", "0622"));
    assert_eq!(daemon.launch(), Ok(()));
    assert!(daemon.log().contains(&format!("listening on unix:{}", path.display())), "{}", daemon.log());
    assert_eq!(mode(&path), 0o622);
    let mut first = UnixStream::connect(&path).unwrap();
    say(&mut first, "hello\n");
    say(&mut std::net::TcpStream::connect(address).unwrap(), "by net\n");

    // A reload moves it and changes its mode; who is connected stays.
    let second = path.with_file_name("other.sock");
    daemon.reconfigure(|setup| setup.set("server.listen", both(&second)).set("server.unix-mode", "0666"));
    daemon.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "the other socket", || second.exists() && mode(&second) == 0o666);
    wait_until(DEADLINE, "no first socket", || !path.exists());
    say(&mut first, "still here\n");
    say(&mut UnixStream::connect(&second).unwrap(), "new\n");
    drop(first);
    daemon.stop();
    assert!(!second.exists(), "a stop leaves nothing");
    let lines = stored(&daemon);
    let mut told: Vec<(&str, &str)> = lines.iter().map(|line| peer_and_message(line)).collect();
    told.retain(|(_, message)| *message != "by net");
    let own = format!("unix:{}:{}", std::process::id(), nix::unistd::getuid());
    assert_eq!(told, [(&*own, "hello"), (&*own, "still here"), (&*own, "new")]);
    crate::support::harm::verify(&daemon);
}

/// A socket that a dead daemon left is taken over; what is in use, or no socket, is not.
#[test]
fn only_a_dead_socket_is_taken_over() {
    let home = Home::new();
    let path = socket(&home);
    let mut daemon = Daemon::new(home, Setup::default());
    daemon.reconfigure(|setup| setup.set("server.listen", vec![format!("unix:{}", path.display())]));
    assert_eq!(daemon.launch(), Ok(()));
    daemon.kill_all();
    assert!(path.metadata().unwrap().file_type().is_socket());
    daemon.start_again();
    say(&mut UnixStream::connect(&path).unwrap(), "again\n");
    daemon.stop();

    let taken = UnixListener::bind(&path).unwrap();
    give_away(&path);
    assert_eq!(daemon.launch(), Err(69));
    assert!(daemon.log().contains("another program answers there"), "{}", daemon.log());
    drop(taken);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    assert_eq!(daemon.launch(), Err(69));
    assert!(daemon.log().contains("what is there is no socket"), "{}", daemon.log());
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}
