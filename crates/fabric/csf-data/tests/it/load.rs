//! How fast appends and scans are; prints figures, judges only gross mistakes.
//!
//! `cargo test --release -p csf-data --test it -- load --ignored --nocapture`
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::time::{Duration, Instant};

use csf_core::LaneId;
use csf_core::port::{Batch, Journal, JournalReader, Scan};

use crate::scratch::Scratch;
use crate::{batch, open};

const LANES: u16 = 12;
/// 12 x 334 = 4,008 packets.
const EACH: u64 = 334;
const APPENDS: u64 = 120;

/// Time this thread has spent on a core.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

fn quantiles(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    eprintln!("{name}: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, max {:.2} ms", at(0.5), at(0.9), at(0.99), at(1.0));
}

#[test]
#[ignore = "a measurement: run it by hand, in release"]
fn load() {
    let batches: Vec<Batch> =
        (0..APPENDS).map(|n| batch(n * EACH * u64::from(LANES), n * EACH, LANES, EACH, 150)).collect();
    let scratch = Scratch::new();
    let mut journal = open(&scratch);
    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    for batch in &batches {
        let (cpu_before, before) = (cpu(), Instant::now());
        journal.append(batch).unwrap();
        walls.push(before.elapsed());
        cpus.push(cpu() - cpu_before);
    }
    eprintln!("{APPENDS} appends of {} packets of 150 B on {LANES} lanes", EACH * u64::from(LANES));
    quantiles("append, wall", walls);
    quantiles("append, cpu ", cpus);
    let mut reader = journal.reader().unwrap();
    let size = reader.size().unwrap();
    eprintln!("{:.1} bytes per packet on disk, write-ahead files included", size.bytes as f64 / size.position as f64);

    let before = Instant::now();
    let (mut from_position, mut count) = (0, 0);
    loop {
        let packets = reader.scan(&Scan { from_position, limit: 4_096, lanes: Vec::new() }).unwrap();
        let Some(last) = packets.last() else { break };
        from_position = last.position + 1;
        count += packets.len();
    }
    eprintln!("scan of everything by 4,096: {:.2} M packets/s", count as f64 / before.elapsed().as_secs_f64() / 1e6);

    let lane = LaneId { node: 1, incarnation: 1, lane: 7 };
    let mut times = Vec::new();
    for i in 0..200 {
        let before = Instant::now();
        match i % 2 {
            0 => assert_eq!(reader.lane_tail(lane, 20).unwrap().len(), 20),
            _ => {
                let scan = Scan { from_position: size.position - 500, limit: 20, lanes: vec![lane] };
                assert_eq!(reader.scan(&scan).unwrap().len(), 20);
            }
        }
        times.push(before.elapsed());
    }
    quantiles("20 newest of a lane", times);

    // The live form: small commits, a few packets each.
    let scratch = Scratch::new();
    let mut journal = open(&scratch);
    let mut walls = Vec::new();
    for n in 0..500 {
        let before = Instant::now();
        journal.append(&batch(n * u64::from(LANES), n, LANES, 1, 150)).unwrap();
        walls.push(before.elapsed());
    }
    quantiles("append of 12 packets, one a lane", walls);
    drop(journal);
    // Whoever closes last folds the write-ahead file in; what is left is the database.
    let size = csf_data::SqliteReader::open_read_only(scratch.path()).unwrap().size().unwrap();
    eprintln!("{:.1} bytes per packet in the database", size.bytes as f64 / size.position as f64);
}
