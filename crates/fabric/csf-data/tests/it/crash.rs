//! A writer that is killed in the middle of an append loses nothing it has acknowledged.
//!
//! The writer is this test program itself, started again for one ignored test. SIGKILL takes the process, not the machine: what
//! the machine's power failure can do to the write-ahead file is tried by cutting that file.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use csf_core::port::Journal;
use csf_data::{JournalOptions, SqliteJournal};

use crate::scratch::Scratch;
use crate::{batch, open, packet, scan_all};

const DIRECTORY: &str = "CSF_TEST_CRASH_DIRECTORY";
const LANES: u16 = 4;
const EACH: u64 = 50;
const BATCH: u64 = LANES as u64 * EACH;
const PAYLOAD: usize = 150;

#[test]
#[ignore = "the writer that `acknowledged_appends_survive_a_kill` starts and kills"]
#[expect(clippy::print_stdout, reason = "the test that started this process reads its output")]
fn writer() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    // A checkpoint every few appends, so that kills meet checkpoints too.
    let options = JournalOptions { checkpoint_bytes: 256 << 10, ..JournalOptions::default() };
    let mut journal = SqliteJournal::open(Path::new(&directory), &options).unwrap();
    loop {
        let position = journal.position();
        let receipt = journal.append(&batch(position, position / u64::from(LANES), LANES, EACH, PAYLOAD)).unwrap();
        println!("acknowledged {}", receipt.position);
    }
}

fn start_writer(scratch: &Scratch) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["crash::writer", "--exact", "--ignored", "--nocapture"])
        .env(DIRECTORY, scratch.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn acknowledged_appends_survive_a_kill() {
    let scratch = Scratch::new();
    for kill in 0..8u32 {
        let mut child = start_writer(&scratch);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // The kill comes at once after an acknowledgement: in the middle of the next append.
        let acknowledged: Vec<u64> = lines
            .filter_map(|line| line.split_once("acknowledged ")?.1.parse().ok())
            .take(1 + kill as usize * 3)
            .collect();
        child.kill().unwrap();
        child.wait().unwrap();
        let newest = *acknowledged.last().expect("the writer acknowledges appends");

        let journal = open(&scratch);
        assert!(journal.position() >= newest, "{newest} was acknowledged, {} is there", journal.position());
        assert_eq!(journal.incarnation(), 2 * kill + 2, "the killed start counts");
        assert_whole(&journal);
    }
}

#[test]
fn a_write_ahead_file_cut_anywhere_is_a_whole_number_of_appends() {
    let scratch = Scratch::new();
    let mut journal = open(&scratch);
    let mut ends = Vec::new();
    for n in 0..6 {
        journal.append(&batch(n * BATCH, n * EACH, LANES, EACH, PAYLOAD)).unwrap();
        ends.push(std::fs::metadata(scratch.path().join("journal.db-wal")).unwrap().len());
    }
    // What a power failure leaves: the database as it was, and a write-ahead file that ends somewhere.
    let database = std::fs::read(scratch.path().join("journal.db")).unwrap();
    let log = std::fs::read(scratch.path().join("journal.db-wal")).unwrap();
    for cut in (0..=20).map(|n| log.len() * n / 20).chain(ends.iter().map(|&end| end as usize)) {
        let after = Scratch::new();
        std::fs::write(after.path().join("journal.db"), &database).unwrap();
        std::fs::write(after.path().join("journal.db-wal"), &log[..cut]).unwrap();
        let whole = ends.iter().filter(|&&end| end as usize <= cut).count() as u64;
        let journal = open(&after);
        assert_eq!(journal.position(), whole * BATCH, "cut at {cut} of {}", log.len());
        assert_whole(&journal);
    }
}

/// Every position up to the newest is there, holds what was written, and the journal goes on.
fn assert_whole(journal: &SqliteJournal) {
    let packets = scan_all(&mut *journal.reader().unwrap()).unwrap();
    assert_eq!(packets.len() as u64, journal.position());
    assert_eq!(packets.len() as u64 % BATCH, 0, "an append is there as a whole or not at all");
    for (found, position) in packets.iter().zip(1..) {
        let (lane, seq) = (found.header.id.lane.lane, found.header.id.seq);
        assert_eq!(*found, packet(lane, seq, position, PAYLOAD));
    }
}
