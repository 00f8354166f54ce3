use std::borrow::Cow;

use csf_core::Stamp;
use csf_core::port::NewEvent;
use serde_json::json;

use super::*;
use crate::plan::{Planned, Step};

fn commit(after: u64) -> Commit<'static> {
    let event = NewEvent::new("a", "k", Stamp(1), json!({ "n": after }));
    let planned = Planned { position: after + 1, version: after + 1, event: Cow::Owned(event) };
    Commit { after, packets_end: after, blocks: Cow::Owned(Vec::new()), steps: Cow::Owned(vec![Step::Keep(planned)]) }
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("csf-spool-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn what_was_kept_is_there_in_order_after_a_new_start() {
    let folder = folder("order");
    let mut spool = Spool::open(&folder, 10_000).unwrap();
    for after in 0..5 {
        spool.push(after, &commit(after).encode()).unwrap();
    }
    spool.pop(0).unwrap();
    let bytes = spool.bytes();
    drop(spool);
    let mut spool = Spool::open(&folder, 10_000).unwrap();
    assert_eq!((spool.count(), spool.bytes()), (4, bytes));
    for after in 1..5 {
        assert_eq!(spool.first().unwrap().unwrap().encode(), commit(after).encode());
        spool.pop(after).unwrap();
    }
    assert!(spool.is_empty() && spool.first().unwrap().is_none());
    assert_eq!(spool.bytes(), 0);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_limit_counts_what_is_there() {
    let folder = folder("limit");
    let body = commit(0).encode();
    let each = body.len() as u64 + ROW_BYTES;
    let mut spool = Spool::open(&folder, 2 * each).unwrap();
    spool.push(0, &body).unwrap();
    assert!(!spool.is_full_for(body.len()));
    spool.push(1, &commit(1).encode()).unwrap();
    assert!(spool.is_full_for(body.len()));
    spool.pop(0).unwrap();
    assert!(!spool.is_full_for(body.len()));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn bytes_that_changed_are_damage() {
    let folder = folder("damage");
    let mut spool = Spool::open(&folder, 10_000).unwrap();
    spool.push(0, &commit(0).encode()).unwrap();
    spool.connection.execute("UPDATE waiting SET after = 7", []).unwrap();
    let error = spool.first().unwrap_err().to_string();
    assert!(error.contains("spool.db") && error.contains("one after 0"), "{error}");
    spool.connection.execute("UPDATE waiting SET body = zeroblob(length(body))", []).unwrap();
    let error = spool.first().unwrap_err().to_string();
    assert!(error.contains("checksum"), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}
