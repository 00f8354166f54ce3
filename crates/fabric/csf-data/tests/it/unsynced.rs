//! A disk that fails to sync: the append says so, and nothing more is taken until the journal is opened again.
//!
//! A library put in front of the system's (`LD_PRELOAD`) lets `fsync` and `fdatasync` fail while a file exists. The writer is this test
//! program itself, started again for one ignored test.
//! Reference: Rebello et al., "Can Applications Recover from fsync Failures?" (2020).

use std::path::{Path, PathBuf};
use std::process::Command;

use csf_core::port::{Journal, JournalError};
use csf_data::{JournalOptions, SqliteJournal};

use crate::scratch::Scratch;
use crate::{batch, open, scan_all};

const DIRECTORY: &str = "CSF_TEST_UNSYNCED_DIRECTORY";
const FLAG: &str = "CSF_TEST_UNSYNCED_FLAG";

const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int fails(void) {
    const char *flag = getenv("CSF_TEST_UNSYNCED_FLAG");
    return flag && access(flag, F_OK) == 0;
}
int fsync(int fd) {
    if (fails()) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
int fdatasync(int fd) {
    if (fails()) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
"#;

#[test]
#[ignore = "the writer that `after_a_failed_sync_nothing_is_taken_until_the_next_start` starts"]
fn writer() {
    let (Some(directory), Some(flag)) = (std::env::var_os(DIRECTORY), std::env::var_os(FLAG)) else { return };
    let mut journal = SqliteJournal::open(Path::new(&directory), &JournalOptions::default()).unwrap();
    journal.append(&batch(0, 0, 2, 5, 10)).unwrap();
    std::fs::write(&flag, "").unwrap();
    let failed = journal.append(&batch(10, 5, 2, 5, 10)).unwrap_err();
    assert!(matches!(&failed, JournalError::Unsynced { .. }), "{failed}");
    std::fs::remove_file(&flag).unwrap();
    // The disk works again; what it holds is not known all the same.
    for _ in 0..2 {
        let refused = journal.append(&batch(10, 5, 2, 5, 10)).unwrap_err();
        assert!(matches!(&refused, JournalError::Unsynced { .. }), "{refused}");
    }
    assert_eq!(journal.position(), 10);
}

/// The shim, built; `None` where there is no C compiler, which is said.
fn shim(scratch: &Scratch) -> Option<PathBuf> {
    let (source, library) = (scratch.path().join("shim.c"), scratch.path().join("shim.so"));
    std::fs::write(&source, SHIM).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").output();
    if built.as_ref().is_ok_and(|output| output.status.success()) {
        return Some(library);
    }
    eprintln!("SKIPPED after_a_failed_sync_nothing_is_taken_until_the_next_start: no C compiler ({built:?})");
    None
}

#[cfg(target_os = "linux")]
#[test]
fn after_a_failed_sync_nothing_is_taken_until_the_next_start() {
    let (scratch, tools) = (Scratch::new(), Scratch::new());
    let Some(shim) = shim(&tools) else { return };
    let writer = Command::new(std::env::current_exe().unwrap())
        .args(["unsynced::writer", "--exact", "--ignored", "--nocapture"])
        .env("LD_PRELOAD", &shim)
        .env(DIRECTORY, scratch.path())
        .env(FLAG, tools.path().join("flag"))
        .output()
        .unwrap();
    assert!(writer.status.success(), "{}", String::from_utf8_lossy(&writer.stderr));
    // What was acknowledged is there. What failed may be, whole, and then the position says so.
    let mut journal = open(&scratch);
    let position = journal.position();
    assert!(position == 10 || position == 20, "{position}");
    assert_eq!(scan_all(&mut *journal.reader().unwrap()).unwrap().len() as u64, position);
    journal.append(&batch(position, position / 2, 2, 5, 10)).unwrap();
}
