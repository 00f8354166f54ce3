//! A writer that is killed in the middle of an append loses nothing it has acknowledged.
//!
//! The writer is this test program itself, started again for one ignored test. SIGKILL takes the process, not the machine: what
//! the machine's power failure can do to the write-ahead file is tried by cutting that file.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use csf_core::port::{Journal, JournalReader};
use csf_data::{JournalOptions, SqliteJournal, SqliteReader};

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

        // Who only reads finds it too, before anybody has written again.
        let mut reader = SqliteReader::open_read_only(scratch.path()).unwrap();
        let position = reader.size().unwrap().position;
        assert!(position >= newest, "{newest} was acknowledged, {position} is read");
        let journal = open(&scratch);
        assert!(journal.position() >= newest, "{newest} was acknowledged, {} is there", journal.position());
        assert_eq!(journal.incarnation(), 2 * kill + 2, "the killed start counts");
        assert_whole(&journal);
    }
}

#[test]
fn a_write_ahead_file_cut_anywhere_loses_nothing() {
    let scratch = Scratch::new();
    let mut journal = open(&scratch);
    for n in 0..6 {
        journal.append(&batch(n * BATCH, n * EACH, LANES, EACH, PAYLOAD)).unwrap();
    }
    assert_whole(&journal);
    // What a power failure leaves: the database and the redo log as they were, and a write-ahead file that ends somewhere.
    let [database, log, redo] = ["journal.db", "journal.db-wal", "journal.redo-0"]
        .map(|name| std::fs::read(scratch.path().join(name)).unwrap());
    for (cut, has_redo) in (0..=40).map(|n| (log.len() * (n / 2) / 20, n % 2 == 0)) {
        let after = Scratch::new();
        std::fs::write(after.path().join("journal.db"), &database).unwrap();
        std::fs::write(after.path().join("journal.db-wal"), &log[..cut]).unwrap();
        if has_redo {
            std::fs::write(after.path().join("journal.redo-0"), &redo).unwrap();
        }
        // Its start is in the write-ahead file too, and was synced before the first append.
        match SqliteJournal::open(after.path(), &JournalOptions::default()) {
            Ok(journal) => {
                assert!(!has_redo || journal.position() == 6 * BATCH, "cut at {cut} of {}", log.len());
                assert_whole(&journal);
            }
            Err(error) => assert!(has_redo && cut < log.len() / 10, "cut at {cut} of {}: {error}", log.len()),
        }
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
