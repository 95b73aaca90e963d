//! Metrics: read over a real socket, equal to what `status` tells, whoever is killed, stopped or hostile.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod abuse;
mod deaths;
mod docs;
mod http;
mod numbers;
mod reload;

use http::get;
use std::net::SocketAddr;
use support::control::status;
use support::daemon::{Daemon, Setup};
use support::{DEADLINE, wait_until};

/// A daemon with metrics at a port that the kernel chooses, and their address.
fn start(setup: Setup) -> (Daemon, SocketAddr) {
    let daemon = setup.set("metrics.listen", "127.0.0.1:0").start();
    let address = address(&daemon);
    (daemon, address)
}

/// Where metrics are served, once they are.
fn address(daemon: &Daemon) -> SocketAddr {
    let mut address = None;
    wait_until(DEADLINE, "an exporter", || {
        let told = status(daemon);
        let ready = told["exporter"]["ready"] == true;
        address = told["exporter"]["listener"].as_str().filter(|_| ready).map(|place| place.parse().unwrap());
        address.is_some()
    });
    address.unwrap()
}

/// The page.
fn scrape(address: SocketAddr) -> String {
    let response = get(address, "/metrics").unwrap();
    assert_eq!(response.code, 200, "{response:?}");
    response.body
}

/// The value of a series in a page.
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{page}")).parse().unwrap()
}
