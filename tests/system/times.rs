//! How long a start and a stop take, as systemd measures them.
use crate::service::{Service, address};
use crate::support::load::{Load, OnBreak, Shape};
use std::time::{Duration, Instant};

/// The promise is 100 ms; the machine may be busy.
const READY_WITHIN: Duration = Duration::from_millis(500);
/// The promise is 2 s.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

fn moment(service: &Service, property: &str) -> Duration {
    let shown = service.show(&service.unit, property);
    Duration::from_micros(shown.parse().unwrap_or_else(|_| panic!("{property} is {shown:?}")))
}

fn start_time(service: &Service) -> Duration {
    let begun = moment(service, "InactiveExitTimestampMonotonic");
    moment(service, "ActiveEnterTimestampMonotonic") - begun
}

#[test]
fn ready_and_stopped_in_time() {
    let Some(service) = Service::install() else { return };
    let (mut starts, mut stops) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        let shape = Shape { connections: 50, on_break: OnBreak::Leave, ..Shape::default() };
        let load = Load::start(address(), shape);
        let begin = Instant::now();
        service.systemctl("stop");
        stops.push(begin.elapsed());
        load.finish();
        service.systemctl("start");
        starts.push(start_time(&service));
    }
    starts.sort_unstable();
    stops.sort_unstable();
    println!("from start to READY: median {:.1?}, all {starts:.1?}", starts[4]);
    println!("stop under load of 50 connections: median {:.1?}, all {stops:.1?}", stops[4]);
    assert!(starts[4] < READY_WITHIN, "median {:?} from start to READY", starts[4]);
    assert!(stops[4] < STOPPED_WITHIN, "median {:?} to stop", stops[4]);
}
