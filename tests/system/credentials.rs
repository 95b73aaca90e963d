//! TLS with a key that systemd passes as a credential, and that nobody but root can read.
use crate::service::Service;
use crate::support::certificates::Authority;
use crate::support::home::Home;
use std::io::Write;
use std::process::Stdio;

#[test]
fn the_key_is_roots_alone() {
    let Some(service) = Service::install() else { return };
    let home = Home::new();
    let authority = Authority::new(&home, "authority");
    let pair = authority.sign(&home, "server", &["localhost"]);
    let tls: std::net::SocketAddr = "127.0.0.1:7008".parse().unwrap();
    let put = |inside: &str, from: &std::path::Path| service.write(inside, &std::fs::read_to_string(from).unwrap());
    put("/etc/echostored/tls.pem", &pair.certificate);
    put("/etc/echostored/tls.key", &pair.key);
    service.must("chown root:root /etc/echostored/tls.key && chmod 0600 /etc/echostored/tls.key");
    service.configure(&[
        ("tls.listen", vec![tls.to_string()].into()),
        ("tls.certificate", "/etc/echostored/tls.pem".into()),
        ("tls.key", "credential:tls.key".into()),
    ]);
    // Without the credential, it says what to do.
    service.run("systemctl restart echostored");
    assert!(service.journal("echostored").contains("LoadCredential=tls.key:PATH"));
    service.drop_in("credential", "[Service]\nLoadCredential=tls.key:/etc/echostored/tls.key\n");
    service.must("systemctl reset-failed echostored");
    service.systemctl("start");
    let mut send = crate::support::daemon::command(&[
        "send",
        &tls.to_string(),
        "--retries",
        "0",
        "--tls",
        "--tls-name",
        "localhost",
        "--tls-ca",
        authority.file.to_str().unwrap(),
    ]);
    let mut send = send.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    send.stdin.take().unwrap().write_all(b"under systemd\n").unwrap();
    let said = send.wait_with_output().unwrap();
    assert!(said.status.success(), "{said:?}");
    let plain = service.talk(20);
    assert!(service.must("cat /var/lib/echostored/current").contains(" under systemd\n"));
    drop(plain);
    // A reload reads them again.
    service.systemctl("reload");
}
