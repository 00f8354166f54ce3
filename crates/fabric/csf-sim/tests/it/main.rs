//! The simulated adapters against the suites, and what only a simulated disk can do.

use std::sync::Arc;

use csf_core::port::{Batch, Journal, JournalError, LaneBatch, Spawn, StoredPacket, Timer};
use csf_core::{Header, LaneId, Stamp};
use csf_sim::{MemoryJournal, MemoryStore, SimExecutor, conformance};

fn packet(seq: u64, position: u64, payload: usize) -> Batch {
    let id = LaneId { node: 1, incarnation: 1, lane: 0 }.message(seq);
    let packet = StoredPacket { position, header: Header::new(id, Stamp(position)), payload: vec![0; payload] };
    Batch { packets: vec![LaneBatch::of([packet])], ..Batch::default() }
}

#[test]
fn the_simulated_world_conforms_under_every_interleaving_tried() {
    for seed in 0..50 {
        let world = SimExecutor::new(seed);
        let (timer, spawn): (Arc<dyn Timer>, Arc<dyn Spawn>) = (Arc::new(world.clone()), Arc::new(world.clone()));
        world.block_on(conformance::execution(&timer, &spawn)).unwrap();
    }
}

#[test]
fn the_memory_journal_conforms() {
    conformance::journal(|| Box::new(MemoryJournal::new()));
}

#[test]
fn the_memory_journal_restarts() {
    let store = MemoryStore::default();
    conformance::journal_restart(|| Box::new(store.open().unwrap()));
}

#[test]
fn a_store_has_one_writer_at_a_time() {
    let store = MemoryStore::default();
    let first = store.open().unwrap();
    assert!(matches!(store.open(), Err(JournalError::InUse { .. })));
    drop(first);
    assert_eq!(store.open().unwrap().incarnation(), 2);
}

#[test]
fn a_full_disk_refuses_and_the_journal_goes_on_once_there_is_space() {
    let store = MemoryStore::default();
    let mut journal = store.open().unwrap();
    journal.append(&packet(0, 1, 10)).unwrap();
    store.set_capacity_bytes(Some(200));
    match journal.append(&packet(1, 2, 1_000)) {
        Err(JournalError::Storage { full: true, .. }) => {}
        other => panic!("expected a full disk, got {other:?}"),
    }
    assert_eq!(journal.position(), 1);
    store.set_capacity_bytes(None);
    assert_eq!(journal.append(&packet(1, 2, 1_000)).unwrap().position, 2);
}
