//! A full disk refuses an append and nothing else; the writer goes on once there is space.

use csf_core::port::{Journal, JournalError};
use csf_data::{JournalOptions, SqliteJournal};

use crate::scratch::Scratch;
use crate::{batch, open, scan_all};

/// Appends until the storage is full; returns the number of appends that went through.
fn fill(journal: &mut SqliteJournal) -> u64 {
    for n in journal.position() / 200.. {
        match journal.append(&batch(n * 200, n * 50, 4, 50, 1_000)) {
            Ok(_) => {}
            Err(JournalError::Storage { full: true, action: "written", .. }) => return n,
            Err(other) => panic!("a full disk says so, got {other}"),
        }
        assert!(n < 1_000, "the limit is reached");
    }
    unreachable!("positions do not end")
}

fn assert_has(journal: &SqliteJournal, appends: u64) {
    assert_eq!(journal.position(), appends * 200);
    assert_eq!(scan_all(&mut *journal.reader().unwrap()).unwrap().len() as u64, appends * 200);
}

#[test]
fn a_configured_limit_is_a_full_disk() {
    let scratch = Scratch::new();
    let options = JournalOptions { size_bytes_max: Some(4 << 20), ..JournalOptions::default() };
    let mut journal = SqliteJournal::open(scratch.path(), &options).unwrap();
    let appends = fill(&mut journal);
    assert!((10..30).contains(&appends), "{appends} appends of 200 kB in 4 MiB");
    assert_has(&journal, appends);
    assert_eq!(fill(&mut journal), appends, "full stays full");
    drop(journal);
    let mut journal = open(&scratch);
    assert_has(&journal, appends);
    journal.append(&batch(appends * 200, appends * 50, 4, 50, 1_000)).unwrap();
    assert_has(&journal, appends + 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_really_full_refuses_and_recovers() {
    use std::process::Command;

    let scratch = Scratch::new();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"]).arg(scratch.path()).output();
    let is_mounted = mount.as_ref().is_ok_and(|output| output.status.success());
    if !is_mounted {
        eprintln!("SKIPPED a_disk_that_is_really_full_refuses_and_recovers: mounting a tmpfs needs root ({mount:?})");
        return;
    }
    let outcome = std::panic::catch_unwind(|| full_and_recovered(&scratch));
    let unmounted = Command::new("umount").arg(scratch.path()).status();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    assert!(unmounted.is_ok_and(|status| status.success()), "the tmpfs is unmounted");
}

#[cfg(target_os = "linux")]
fn full_and_recovered(scratch: &Scratch) {
    let ballast = scratch.path().join("ballast");
    std::fs::write(&ballast, vec![0; 3 << 20]).unwrap();
    let mut journal = open(scratch);
    let appends = fill(&mut journal);
    assert!(appends > 2, "something fits: {appends}");
    assert_has(&journal, appends);
    std::fs::remove_file(&ballast).unwrap();
    journal.append(&batch(appends * 200, appends * 50, 4, 50, 1_000)).unwrap();
    assert_has(&journal, appends + 1);
    drop(journal);
    assert_has(&open(scratch), appends + 1);
}
