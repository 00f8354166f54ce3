//! The power fails: what was acknowledged is there, whatever of the unsynced reached the disk.
//!
//! A library put in front of the system's (`LD_PRELOAD`) keeps a copy of each file as it was when it was last synced. The writer is this test program
//! itself, started again for one ignored test; after some appends it keeps, of each file, the synced copy and what the system has. Every mixture of
//! the two is what a power failure may leave.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use csf_core::Stamp;
use csf_core::port::{Batch, EventId, Filter, Journal, JournalError, NewEvent, Read};
use csf_data::{JournalOptions, SqliteJournal};
use serde_json::json;

use crate::open;
use crate::scratch::Scratch;

const DIRECTORY: &str = "CSF_TEST_POWER_DIRECTORY";
const IMAGES: &str = "CSF_TEST_POWER_IMAGES";
const SYNCED: &str = "CSF_TEST_POWER_SYNCED";
const LIAR: &str = "CSF_TEST_POWER_LIAR";

/// What a mixture is made of. The rest is made anew.
const FILES: [&str; 4] = ["journal.db", "journal.db-wal", "journal.redo-0", "journal.redo-1"];
/// Enough for both files of the redo log to be used again.
const APPENDS: u64 = 320;
const EVERY: u64 = 64;

const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
static int is_lie(const char *name) {
    const char *liar = getenv("CSF_TEST_POWER_LIAR");
    return liar && strncmp(name, liar, strlen(liar)) == 0;
}
static void keep(int fd, const char *path, const char *name) {
    const char *directory = getenv("CSF_TEST_POWER_DIRECTORY"), *synced = getenv("CSF_TEST_POWER_SYNCED");
    if (!directory || !synced || strncmp(path, directory, strlen(directory))) return;
    if (!strcmp(name, "journal.db.new")) name = "journal.db";
    char to[4096], buffer[65536];
    snprintf(to, sizeof to, "%s/%s", synced, name);
    pthread_mutex_lock(&one);
    int in = open(path, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (ssize_t n; in >= 0 && out >= 0 && (n = read(in, buffer, sizeof buffer)) > 0;) if (write(out, buffer, n) != n) abort();
    if (in >= 0) close(in);
    if (out >= 0) close(out);
    pthread_mutex_unlock(&one);
}
static int synced(int fd, const char *call) {
    char link[64], path[4096];
    struct stat of;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    int is_file = len > 0 && fstat(fd, &of) == 0 && S_ISREG(of.st_mode);
    if (is_file) {
        path[len] = 0;
        const char *name = strrchr(path, '/') + 1;
        if (is_lie(name)) return 0;
        int done = ((int (*)(int))dlsym(RTLD_NEXT, call))(fd);
        if (done == 0) keep(fd, path, name);
        return done;
    }
    return ((int (*)(int))dlsym(RTLD_NEXT, call))(fd);
}
int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }
"#;

fn event(number: u64) -> Batch {
    let data = json!({"number": number, "filling": "x".repeat(2_500)});
    let event = NewEvent::new(format!("order-{}", number % 5), "placed", Stamp(number), data);
    Batch { appends: vec![event.into()], ..Batch::default() }
}

/// Copies what there is of the journal's files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in FILES {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

#[test]
#[ignore = "the writer that the tests below start"]
fn writer() {
    let names = [DIRECTORY, IMAGES, SYNCED].map(std::env::var_os);
    let [Some(directory), Some(images), Some(synced)] = names else { return };
    // Two lives: the second begins with a redo log that was used.
    for life in 0..2 {
        let mut journal = SqliteJournal::open(Path::new(&directory), &JournalOptions::default()).unwrap();
        for number in life * APPENDS + 1..=(life + 1) * APPENDS {
            journal.append(&event(number)).unwrap();
            if number % EVERY == 0 {
                let image = Path::new(&images).join(number.to_string());
                copy(Path::new(&directory), &image.join("now"));
                copy(Path::new(&synced), &image.join("synced"));
            }
        }
    }
}

/// Runs the writer; its images. `liar` names files whose syncs do nothing.
fn images(scratch: &Scratch, tools: &Scratch, liar: Option<&str>) -> Option<PathBuf> {
    let (source, library) = (tools.path().join("shim.c"), tools.path().join("shim.so"));
    fs::write(&source, SHIM).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").output();
    if !built.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED what a power failure leaves: no C compiler ({built:?})");
        return None;
    }
    let (images, synced) = (tools.path().join("images"), tools.path().join("synced"));
    fs::create_dir_all(&images).and_then(|()| fs::create_dir_all(&synced)).unwrap();
    let mut writer = Command::new(std::env::current_exe().unwrap());
    writer.args(["power::writer", "--exact", "--ignored", "--nocapture"]).env("LD_PRELOAD", &library);
    writer.env(DIRECTORY, scratch.path().canonicalize().unwrap()).env(IMAGES, &images).env(SYNCED, &synced);
    liar.map(|liar| writer.env(LIAR, liar));
    let writer = writer.output().unwrap();
    assert!(writer.status.success(), "{}", String::from_utf8_lossy(&writer.stderr));
    Some(images)
}

/// Opens a journal made of these files of an image; how far it goes, or what is wrong with it.
fn after_the_failure(image: &Path, mixture: u32) -> Result<u64, JournalError> {
    let scratch = Scratch::new();
    for (at, name) in FILES.iter().enumerate() {
        let state = if mixture >> at & 1 == 1 { "now" } else { "synced" };
        if image.join(state).join(name).exists() {
            fs::copy(image.join(state).join(name), scratch.path().join(name)).unwrap();
        }
    }
    let journal = SqliteJournal::open(scratch.path(), &JournalOptions::default())?;
    let events = journal.reader()?.read(&Read::log(Filter::all()))?.events;
    assert_eq!(events.len() as u64, journal.position(), "a prefix, without a gap");
    for (found, number) in events.iter().zip(1..) {
        assert_eq!((found.position, &found.data), (number, &event(number).appends[0].events[0].data));
    }
    Ok(journal.position())
}

#[cfg(target_os = "linux")]
#[test]
fn what_was_acknowledged_survives_a_power_failure_whatever_reached_the_disk() {
    let (scratch, tools) = (Scratch::new(), Scratch::new());
    let Some(images) = images(&scratch, &tools, None) else { return };
    let mut lagging = 0;
    for acknowledged in (1..=2 * APPENDS / EVERY).map(|n| n * EVERY) {
        let image = images.join(acknowledged.to_string());
        for mixture in 0..1 << FILES.len() {
            let position = after_the_failure(&image, mixture).unwrap();
            assert!(position >= acknowledged, "{acknowledged} was acknowledged, mixture {mixture:04b} has {position}");
        }
        fs::remove_file(image.join("synced/journal.redo-0")).unwrap();
        fs::remove_file(image.join("synced/journal.redo-1")).unwrap();
        lagging += u64::from(!after_the_failure(&image, 0).is_ok_and(|position| position >= acknowledged));
    }
    assert!(lagging > APPENDS / EVERY, "without the redo log most of them would have lost something: {lagging}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_acknowledgement_ahead_of_its_sync_is_found() {
    let (scratch, tools) = (Scratch::new(), Scratch::new());
    let Some(images) = images(&scratch, &tools, Some("journal.redo-")) else { return };
    let is_lost = |acknowledged: u64| {
        let left = after_the_failure(&images.join(acknowledged.to_string()), 0);
        !left.is_ok_and(|position| position >= acknowledged)
    };
    assert!((1..=2 * APPENDS / EVERY).any(|n| is_lost(n * EVERY)));
}

#[test]
fn a_record_torn_anywhere_is_left_out_and_the_next_one_takes_its_place() {
    let (before, after) = (Scratch::new(), Scratch::new());
    let small = |n: u64| {
        let event = NewEvent::new("order-1", "placed", Stamp(n), json!({ "n": n })).with_tag("t");
        Batch { appends: vec![event.into()], ..Batch::default() }
    };
    let scratch = Scratch::new();
    let mut journal = open(&scratch);
    (1..=3).for_each(|n| drop(journal.append(&small(n)).unwrap()));
    assert_eq!(journal.reader().unwrap().events("order-1", 1, 9).unwrap().len(), 3);
    copy(scratch.path(), before.path());
    journal.append(&small(4)).unwrap();
    copy(scratch.path(), after.path());
    let [old, new] = [&before, &after].map(|scratch| fs::read(scratch.path().join("journal.redo-0")).unwrap());
    let first = old.iter().zip(&new).position(|(old, new)| old != new).unwrap();
    let end = new.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    assert!(end - first > 60, "a record of {} bytes", end - first);
    for cut in first..=end {
        // The database as it was before the fourth append, and a part of its record.
        let torn = Scratch::new();
        copy(before.path(), torn.path());
        let mut bytes = new.clone();
        bytes[cut..end].fill(if cut % 2 == 0 { 0 } else { 0xff });
        let is_whole = bytes == new;
        fs::write(torn.path().join("journal.redo-0"), bytes).unwrap();
        let mut journal = open(&torn);
        assert_eq!(journal.position(), if is_whole { 4 } else { 3 }, "torn at {cut} of {first}..{end}");
        let next = journal.position() + 1;
        assert_eq!(journal.append(&small(next)).unwrap().position, next);
    }
}

/// `docs/formats/journal.md`, "The redo log", by hand.
#[test]
fn a_record_is_as_its_format_says() {
    let sized = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes()[..], bytes].concat();
    // Generation 1, start 1, positions 0 and 1, no packets; position 1, version 1, stamp 5, id and tags.
    let mut checked = [1u64.to_le_bytes().as_slice(), &1u32.to_le_bytes()].concat();
    [0u64, 1, 0].iter().for_each(|n| checked.extend(n.to_le_bytes()));
    checked.push(2);
    [1u64, 1, 5].iter().for_each(|n| checked.extend(n.to_le_bytes()));
    checked.push(0b011);
    checked.extend(0xabcd_u128.to_be_bytes());
    [&b"order-1"[..], b"placed", b"[\"t\"]", b"{\"n\":1}"].iter().for_each(|text| checked.extend(sized(text)));
    let sum = crc32fast::hash(&checked);
    let len = u32::try_from(checked.len()).unwrap();
    let record = [&b"csfr"[..], &len.to_le_bytes(), &sum.to_le_bytes(), &checked].concat();

    let scratch = Scratch::new();
    let event = NewEvent::new("order-1", "placed", Stamp(5), json!({"n": 1})).with_tag("t");
    let event = event.with_id(EventId::from_u128(0xabcd));
    open(&scratch).append(&Batch { appends: vec![event.into()], ..Batch::default() }).unwrap();
    let bytes = fs::read(scratch.path().join("journal.redo-0")).unwrap();
    assert_eq!((&bytes[..record.len()], bytes.len()), (&record[..], 256 << 10));
    assert!(bytes[record.len()..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_redo_log_that_is_not_of_this_journal_is_refused_and_named() {
    let (scratch, backup) = (Scratch::new(), Scratch::new());
    let mut journal = open(&scratch);
    journal.append(&event(1)).unwrap();
    drop(journal);
    copy(scratch.path(), backup.path());
    let mut journal = open(&scratch);
    (2..9).for_each(|number| drop(journal.append(&event(number)).unwrap()));
    for name in ["journal.redo-0", "journal.redo-1"] {
        fs::copy(scratch.path().join(name), backup.path().join(name)).unwrap();
    }
    let error = SqliteJournal::open(backup.path(), &JournalOptions::default()).unwrap_err();
    assert!(matches!(&error, JournalError::Damaged { place, .. } if place == "the redo log"), "{error}");
    for name in ["journal.redo-0", "journal.redo-1"] {
        fs::remove_file(backup.path().join(name)).unwrap();
    }
    assert_eq!(open(&backup).position(), 1);
}
