//! `systemctl restart` under clients that connect all the time: nobody is refused, nothing that was echoed is missing or doubled.
//!
//! `ECHOSTORED_TEST_RESTARTS` is their number for each unit (100).
use crate::service::{ISOLATED, Service, address};
use crate::support::load::{Load, OnBreak, Shape};
use crate::support::seed::count;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connects, and leaves at once, again and again: no gap in which a connection would be refused is missed.
struct Knocker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, Vec<String>)>,
}

impl Knocker {
    fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut made, mut refused) = (0, Vec::new());
            while !theirs.load(Ordering::SeqCst) {
                match TcpStream::connect(address) {
                    Ok(_) => made += 1,
                    Err(error) => refused.push(error.to_string()),
                }
                // The bound of its rate: what it knocks at in a gap must fit into the listener's queue.
                std::thread::sleep(Duration::from_millis(1));
            }
            (made, refused)
        });
        Self { stop, thread }
    }

    /// Connections made, and why others were not.
    fn finish(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

fn restarts(service: &Service) {
    let times = count("ECHOSTORED_TEST_RESTARTS", 100);
    let rest = Duration::from_millis(2);
    let staying = Shape { connections: 8, window: 8, rest, on_break: OnBreak::Reconnect, ..Shape::default() };
    let coming = Shape { connections: 4, messages_a_connection: Some(3), ..staying };
    let loads = [staying, coming].map(|shape| Load::start(address(), shape));
    let knocker = Knocker::start(address());
    let (mut spans, mut last) = (Vec::new(), service.supervisor());
    for _ in 0..times {
        let begin = Instant::now();
        service.systemctl("restart");
        spans.push(begin.elapsed());
        let now = service.supervisor();
        assert_ne!(now, last, "not restarted");
        last = now;
        // More than was under way, so that the new one has answered.
        loads.iter().for_each(|load| {
            load.progress(65);
        });
    }
    let (knocks, refused) = knocker.finish();
    let unconnected: u64 = loads.iter().map(Load::refused).sum();
    let histories: Vec<_> = loads.into_iter().flat_map(Load::finish).collect();
    let report = service.settle(&histories);
    spans.sort_unstable();
    println!(
        "{}: {times} restarts, {knocks} knocks and {} connections, {} refused; {} messages echoed, {} stored, 0 violations; \
         a restart took {:.1?} (median), {:.1?} (p99), {:.1?} (longest)",
        service.unit,
        histories.len(),
        refused.len() as u64 + unconnected,
        histories.iter().map(|history| history.echoed).sum::<usize>(),
        report.records,
        spans[spans.len() / 2],
        spans[(spans.len() * 99 / 100).saturating_sub(1)],
        spans[spans.len() - 1],
    );
    assert!(refused.is_empty(), "{} of {} not connected; the first: {}", refused.len(), knocks, refused[0]);
    assert_eq!(unconnected, 0, "connections of the load not made");
}

#[test]
fn the_service_that_binds_refuses_nobody() {
    let Some(service) = Service::install() else { return };
    restarts(&service);
}

#[test]
fn the_isolated_service_refuses_nobody() {
    let Some(mut service) = Service::install() else { return };
    service.isolate();
    assert_eq!(service.unit, ISOLATED);
    restarts(&service);
}
