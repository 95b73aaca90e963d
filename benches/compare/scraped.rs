//! What it costs to be scraped each second: one echostored, measured without and with it in turn.
//!
//! One instance, since two of the same differ by more than what is looked for. Its exporter is there in both cases; without a
//! scrape it sleeps.
use crate::bench::Bench;
use crate::figures::{Target, median, number, verdict};
use crate::load::{Load, Measured};
use crate::machine;
use crate::places::{Place, free_address};
use crate::report::Report;
use crate::rows::MANY_IN_FLIGHT;
use crate::servers::echostored::{self, Settings};
use crate::servers::{self, Kind, Server};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// As Prometheus asks.
const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: compare\r\nAccept: application/openmetrics-text; version=1.0.0\r\nConnection: close\r\n\r\n";
const EACH: Duration = Duration::from_secs(1);
const LOADS: [(&str, Load); 2] =
    [("50x64", MANY_IN_FLIGHT), ("50x1", Load { connections: 50, in_flight: 1, size: 128 })];
/// Of the throughput without it.
const TARGET: Target = Target::AtLeast(0.98);

/// Without it, with it, and without it again.
#[derive(Clone, Debug, Serialize)]
struct Round {
    load: &'static str,
    without: Measured,
    with: Measured,
    again: Measured,
    scrapes: usize,
}

/// Measures, prints, and gives the JSON; false if something could not be measured.
pub fn run(bench: &Bench<'_>, report: &mut Report) -> Result<(Value, bool), String> {
    let loads: Vec<(&str, Load)> = LOADS.into_iter().filter(|(name, _)| bench.options.wants(name)).collect();
    if loads.is_empty() {
        return Err("no such part of scraped; there are: 50x64, 50x1".to_owned());
    }
    let described = machine::describe(&bench.binary, &bench.places);
    let metrics = free_address()?;
    let settings = Settings { metrics: Some(metrics), ..Settings::default() };
    let home = servers::home(bench.places.path(Place::Memory))?;
    let server = echostored::start(Kind::Stored, home, &bench.binary, &settings)?;
    bench.warm_up(&server, Place::Memory)?;
    let (mut rounds, mut failures) = (Vec::new(), Vec::new());
    for _ in 0..bench.options.rounds() {
        for &(name, load) in &loads {
            match round(bench, &server, metrics, name, load) {
                Ok(round) => rounds.push(round),
                Err(error) => failures.push(format!("{name}: {error}")),
            }
        }
    }
    report.heading("Scraped");
    report.text(format!(
        "Messages a second without and with a scrape of /metrics each second. Medians of {} rounds of {} s; a ratio is of one \
         round, to the mean of without before and after. A/A: without, after to before.",
        bench.options.rounds(),
        bench.span().as_secs_f64()
    ));
    let head = ["load", "without", "with", "ratio", "least", "most", "target", "A/A", "verdict"];
    report.table(&head, loads.iter().map(|(name, load)| row(*load, name, &rounds, bench.options.quick)).collect());
    failures.iter().for_each(|failure| report.text(format!("FAILED: {failure}")));
    let json = json!({"version": 1, "part": "scraped", "machine": machine::to_json(&described), "rounds": rounds,
        "failures": failures});
    Ok((json, failures.is_empty()))
}

fn row(load: Load, name: &str, rounds: &[Round], quick: bool) -> Vec<String> {
    let rate = |measured: &Measured| measured.messages_per_second;
    let of = |figure: &dyn Fn(&Round) -> f64| {
        rounds.iter().filter(|round| round.load == name).map(figure).collect::<Vec<f64>>()
    };
    let ratios = of(&|round| rate(&round.with) / rate(&round.without).midpoint(rate(&round.again)));
    let (ratio, again) = (median(&ratios), median(&of(&|round| rate(&round.again) / rate(&round.without))));
    let thousandths = |figure: Option<f64>| figure.map_or_else(|| "–".to_owned(), |figure| format!("{figure:.3}"));
    let shown = |figures: Vec<f64>| median(&figures).map_or_else(|| "–".to_owned(), number);
    vec![
        load.to_string(),
        shown(of(&|round| rate(&round.without))),
        shown(of(&|round| rate(&round.with))),
        thousandths(ratio),
        thousandths(ratios.iter().copied().min_by(f64::total_cmp)),
        thousandths(ratios.iter().copied().max_by(f64::total_cmp)),
        TARGET.to_string(),
        thousandths(again),
        match ratio {
            Some(_) if quick => "no verdict: a smoke run".to_owned(),
            Some(ratio) => verdict(ratio, TARGET, again),
            None => String::new(),
        },
    ]
}

fn round(
    bench: &Bench<'_>,
    server: &Server,
    metrics: SocketAddr,
    name: &'static str,
    load: Load,
) -> Result<Round, String> {
    let without = bench.measure(server, load)?;
    let (end, ended) = channel();
    let (with, scrapes) = std::thread::scope(|scope| {
        let scraper = scope.spawn(move || scrape_until(&ended, metrics));
        let with = bench.measure(server, load);
        drop(end);
        (with, scraper.join())
    });
    let scrapes = scrapes.map_err(|_| "the scraper broke".to_owned())?.map_err(|error| format!("a scrape: {error}"))?;
    let (with, again) = (with?, bench.measure(server, load)?);
    let rates = [&without, &with, &again].map(|measured| number(measured.messages_per_second));
    eprintln!("compare: scraped, {load}: {} messages/s, {scrapes} scrapes", rates.join(", "));
    Ok(Round { load: name, without, with, again, scrapes })
}

/// How often it has scraped until the other end of the channel was dropped: at once, then each second.
fn scrape_until(ended: &Receiver<()>, metrics: SocketAddr) -> std::io::Result<usize> {
    let mut scrapes = 0;
    loop {
        let mut stream = TcpStream::connect(metrics)?;
        stream.set_read_timeout(Some(EACH * 5))?;
        stream.write_all(REQUEST)?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        if !page.starts_with("HTTP/1.1 200 ") || !page.ends_with("# EOF\n") {
            let said = page.lines().next().unwrap_or("nothing").to_owned();
            return Err(std::io::Error::other(format!("{metrics} answered {said}")));
        }
        scrapes += 1;
        if ended.recv_timeout(EACH) != Err(RecvTimeoutError::Timeout) {
            return Ok(scrapes);
        }
    }
}
