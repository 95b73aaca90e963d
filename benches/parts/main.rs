//! The parts of the data path by themselves, in bytes a second: decoder, record formatter, escapes, pipe frames, and
//! the scan of a recovery.
//!
//! `cargo bench --bench parts`, or `cargo bench --bench parts -- decoder` for those whose name has that in it. Figures
//! depend on the machine and on what else it does; criterion compares with the last run.
#![allow(missing_docs, reason = "criterion's macros")]
#![allow(clippy::unwrap_used, reason = "a program for developers: a failed unwrap is a failed measurement")]

mod messages;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use echostored::config::{Format, Framing, OnOversize};
use echostored::protocol::frame::{HEADER, Header, Kind, stale_prefix};
use echostored::protocol::framing::{Decoder, Step};
use echostored::store::parse::parse;
use echostored::store::record::{Source, Stamp, append};
use echostored::store::{escape, reader, recovery};
use messages::{CONTENTS, SIZES, wire};
use std::hint::black_box;

/// What a decoder is given at once: as many messages as this holds.
const STREAM: usize = 1 << 18;
/// The data pipe's size.
const PIPE: usize = 1 << 20;
/// A segment's default size.
const SEGMENT: usize = 64 << 20;
const SECRET: u64 = 0x0123_4567_89ab_cdef;
const MICROS: i64 = 1_795_336_920_123_456;

/// All messages of a stream, one after the other; `chunk` gets one message at a time, as a read brings it.
fn decoder(bench: &mut Criterion) {
    const FRAMINGS: [(&str, Framing); 5] = [
        ("line", Framing::Line),
        ("nul", Framing::Nul),
        ("octet-counted", Framing::OctetCounted),
        ("length-prefixed", Framing::LengthPrefixed),
        ("chunk", Framing::Chunk),
    ];
    let mut group = bench.benchmark_group("decoder");
    for (name, framing) in FRAMINGS {
        for size in SIZES {
            let one = wire(framing, size);
            let count = (STREAM / one.len()).max(1);
            let stream = one.repeat(count);
            group.throughput(Throughput::Bytes(stream.len() as u64));
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                let mut decoder = Decoder::new(framing, 1 << 16, OnOversize::Close);
                bencher.iter(|| {
                    let mut at = 0;
                    while at < stream.len() {
                        let end = if framing == Framing::Chunk { at + one.len() } else { stream.len() };
                        let Step::Message { body, consumed } = decoder.next(&stream[at..end]) else { unreachable!() };
                        black_box(body);
                        at += consumed;
                    }
                });
            });
        }
    }
    group.finish();
}

fn record(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("record");
    let stamp = Stamp::new(MICROS);
    for (name, format) in [("text", Format::Text), ("jsonl", Format::Jsonl), ("raw", Format::Raw)] {
        let source = Source::new(format, "127.0.0.1:53210", "01JD9Z0Q4X");
        for size in SIZES {
            let message = messages::ascii(size);
            let mut out = Vec::new();
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    append(&mut out, format, black_box(&stamp), &source, black_box(17), black_box(&message));
                    out.len()
                });
            });
        }
    }
    group.finish();
}

fn escapes(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("escape");
    for (name, content) in CONTENTS {
        for size in SIZES {
            let message = content(size);
            let mut out = Vec::new();
            group.throughput(Throughput::Bytes(message.len() as u64));
            group.bench_function(BenchmarkId::new(format!("text, {name}"), size), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    escape::append_text(&mut out, black_box(&message));
                    out.len()
                });
            });
            group.bench_function(BenchmarkId::new(format!("jsonl, {name}"), size), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    match std::str::from_utf8(black_box(&message)) {
                        Ok(text) => escape::append_json(&mut out, text),
                        Err(_) => escape::append_base64(&mut out, &message),
                    }
                    out.len()
                });
            });
        }
    }
    group.finish();
}

/// A pipe full of frames with bodies of `length` bytes, each with its header; the first is number 1.
fn pipe_of(length: usize) -> Vec<u8> {
    let mut pipe = Vec::new();
    for sequence in 1.. {
        if pipe.len() + HEADER + length > PIPE {
            break;
        }
        pipe.extend(header(sequence, length).encode(SECRET));
        pipe.resize(pipe.len() + length, b'x');
    }
    pipe
}

fn header(sequence: u64, length: usize) -> Header {
    let length = u32::try_from(length).unwrap();
    Header { sequence, length, records: 1, kind: Kind::Records, offset: 0, fresh: false, promised: false }
}

/// As many headers as a pipe holds; the bytes are those of the whole frames.
fn frame(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("frame");
    for length in [200, 4096, 1 << 16] {
        let pipe = pipe_of(length);
        let count = (pipe.len() / (HEADER + length)) as u64;
        group.throughput(Throughput::Bytes(pipe.len() as u64));
        group.bench_function(BenchmarkId::new("encode", length), |bencher| {
            bencher.iter(|| {
                (1..=count).for_each(|sequence| {
                    black_box(header(black_box(sequence), length).encode(SECRET));
                });
            });
        });
        group.bench_function(BenchmarkId::new("decode", length), |bencher| {
            bencher.iter(|| {
                let (mut rest, mut sequence) = (black_box(&pipe[..]), 1);
                while let Some(header) = Header::decode(rest, SECRET, sequence, PIPE).unwrap() {
                    (rest, sequence) = (&rest[header.frame_len()..], sequence + 1);
                }
                sequence
            });
        });
        // After a kill in the middle of consuming: the next frame is the one behind all of these.
        group.bench_function(BenchmarkId::new("skip", length), |bencher| {
            bencher.iter(|| stale_prefix(black_box(&pipe), SECRET, count + 1).unwrap());
        });
    }
    group.finish();
}

/// A segment at whose end no record is found, as far as its beginning: the worst start after an unclean end.
fn recovery_scan(bench: &mut Criterion) {
    let (stamp, source) = (Stamp::new(MICROS), Source::new(Format::Text, "127.0.0.1:53210", "01JD9Z0Q4X"));
    let mut lines = Vec::new();
    for n in 1.. {
        if lines.len() >= SEGMENT {
            break;
        }
        append(&mut lines, Format::Text, &stamp, &source, n, &messages::ascii(128));
    }
    let sound = lines.clone();
    // The date of every line is wrong, late in its check.
    memchr::memmem::find_iter(&sound, b"Z 127").for_each(|at| lines[at] = b'z');
    let mut group = bench.benchmark_group("recovery");
    group.sample_size(10);
    let is_record = |line: &[u8]| parse(Format::Text, line).is_ok();
    for (name, segment) in [("lines that are no records", lines), ("zero bytes", vec![0; SEGMENT])] {
        group.throughput(Throughput::Bytes(segment.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| assert_eq!(scan(&segment, is_record), 0)));
    }
    // Only its last record is looked at: the time counts, whatever the length.
    let length = sound.len() as u64;
    group.throughput(Throughput::Elements(1));
    group.bench_function("a sound end", |bencher| bencher.iter(|| assert_eq!(scan(&sound, is_record), length)));
    group.finish();
}

fn scan(segment: &[u8], is_record: impl Fn(&[u8]) -> bool) -> u64 {
    let read = |bytes: &mut [u8], at: u64| {
        let at = usize::try_from(at).unwrap();
        bytes.copy_from_slice(&segment[at..at + bytes.len()]);
        Ok(())
    };
    recovery::scan_back(segment.len() as u64, reader::LINE_LIMIT as u64, read, is_record).unwrap()
}

criterion_group!(parts, decoder, record, escapes, frame, recovery_scan);
criterion_main!(parts);
