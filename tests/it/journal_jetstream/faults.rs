//! What may go wrong between two machines: other writers, lost connections and answers, a server that is killed or forgets.

use std::fs;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use csf_core::port::{Journal, JournalError};
use csf_data::{JetStreamOptions, MirroredJournal};
use csf_tests::{Answers, Proxy};

use super::{World, append, assert_holds, copy_all, one};

#[test]
fn a_second_writer_fences_the_first_in_the_midst_of_its_work() {
    let Some(world) = World::new("") else { return };
    let mut old = world.open("fenced", "old");
    let (told, acknowledged) = channel::<u64>();
    let writer = std::thread::spawn(move || {
        for n in 0.. {
            match old.append(&one(n)) {
                Ok(_) => told.send(n).unwrap(),
                Err(error) => return (n, error, old),
            }
        }
        unreachable!("it is fenced")
    });
    assert!(acknowledged.iter().any(|n| n == 50));
    let mut new = world.open("fenced", "new");
    let (first_lost, error, mut old) = writer.join().unwrap();
    assert!(matches!(error, JournalError::Fenced { own: 1, newest: 2, .. }), "{error}");
    assert!(error.to_string().contains("nats://127.0.0.1"), "{error}");
    append(&mut new, first_lost..first_lost + 5);
    let again = old.append(&one(first_lost + 9)).unwrap_err();
    assert!(matches!(again, JournalError::Fenced { own: 1, newest: 2, .. }), "{again}");
    assert_holds(&new, 0..first_lost + 5);
    assert_eq!((old.incarnation(), new.incarnation()), (1, 2));
}

/// Appends on a thread; the number of each acknowledged append is sent.
fn appending(mut journal: MirroredJournal, count: u64, told: Sender<u64>) -> std::thread::JoinHandle<MirroredJournal> {
    std::thread::spawn(move || {
        for n in 0..count {
            append(&mut journal, [n]);
            // Who listens may have heard enough.
            let _ = told.send(n);
        }
        journal
    })
}

#[test]
fn a_server_that_is_killed_and_starts_again_costs_time_only() {
    let Some(mut world) = World::new("") else { return };
    let (told, acknowledged) = channel();
    let writer = appending(world.open("killed", "killed"), 400, told);
    for at in [60, 180, 300] {
        assert!(acknowledged.iter().any(|n| n == at));
        world.server.kill().unwrap();
        world.server.start_again().unwrap();
    }
    let journal = writer.join().unwrap();
    assert_holds(&journal, 0..400);
    drop(journal);
    assert_holds(&world.open("killed", "anew"), 0..400);
}

#[test]
fn a_server_that_stays_away_is_an_error_and_comes_back() {
    let Some(mut world) = World::new("") else { return };
    let options = JetStreamOptions { call_time_max: Duration::from_millis(600), ..world.options("away") };
    let mut journal = MirroredJournal::on_jetstream(&world.index("away"), &options).unwrap();
    append(&mut journal, 0..3);
    world.server.kill().unwrap();
    let error = journal.append(&one(3)).unwrap_err();
    // The connection may have been found broken before the message was sent, or after.
    assert!(matches!(error, JournalError::Storage { .. } | JournalError::Unsynced { .. }), "{error}");
    world.server.start_again().unwrap();
    if matches!(error, JournalError::Unsynced { .. }) {
        drop(journal);
        journal = world.open("away", "away");
    }
    let receipt = journal.append(&one(3)).unwrap();
    assert!(receipt.appends[0].is_ok());
    assert_holds(&journal, 0..4);
}

#[test]
fn connections_cut_and_answers_lost_double_and_lose_nothing() {
    let Some(world) = World::new("") else { return };
    let proxy = Proxy::start(world.server.address()).unwrap();
    let options = JetStreamOptions {
        answer_time_max: Duration::from_millis(300),
        ..JetStreamOptions::new(format!("nats://{}", proxy.address()), "cut")
    };
    let journal = MirroredJournal::on_jetstream(&world.index("cut"), &options).unwrap();
    let (told, acknowledged) = channel();
    let writer = appending(journal, 600, told);
    for n in acknowledged {
        // The next append is under way by now, somewhere.
        match n % 74 {
            36 => proxy.cut(),
            73 => proxy.answers(Answers::CutAtNext),
            _ => {}
        }
    }
    proxy.answers(Answers::Pass);
    let journal = writer.join().unwrap();
    assert_holds(&journal, 0..600);
    drop(journal);
    assert_holds(&world.open("cut", "anew"), 0..600);
}

#[test]
fn what_is_not_known_to_be_stored_is_told_so_and_found_at_the_next_start() {
    let Some(world) = World::new("") else { return };
    // Sent several times, or still waited for when the time is over.
    for (name, answer_time_ms) in [("often", 100), ("once", 60_000)] {
        let proxy = Proxy::start(world.server.address()).unwrap();
        let options = JetStreamOptions {
            answer_time_max: Duration::from_millis(answer_time_ms),
            call_time_max: Duration::from_millis(900),
            ..JetStreamOptions::new(format!("nats://{}", proxy.address()), name)
        };
        let mut journal = MirroredJournal::on_jetstream(&world.index(name), &options).unwrap();
        append(&mut journal, 0..5);
        proxy.answers(Answers::Lost);
        let error = journal.append(&one(5)).unwrap_err();
        assert!(matches!(error, JournalError::Unsynced { .. }), "{error}");
        let again = journal.append(&one(6)).unwrap_err();
        assert!(matches!(again, JournalError::Unsynced { .. }), "nothing is written before it is known: {again}");
        drop(journal);
        // The message had reached the server, however often it was sent.
        let mut journal = world.open(name, name);
        assert_holds(&journal, 0..6);
        append(&mut journal, 6..9);
        assert_holds(&journal, 0..9);
    }
}

#[test]
fn a_server_that_lost_its_newest_messages_is_noticed() {
    let Some(mut world) = World::new("") else { return };
    let store = world.folder.join("nats").join("jetstream");
    let mut journal = world.open("power", "power");
    append(&mut journal, 0..10);
    world.server.kill().unwrap();
    copy_all(&store, &world.folder.join("older"));
    world.server.start_again().unwrap();
    append(&mut journal, 10..15);
    world.server.kill().unwrap();
    fs::remove_dir_all(&store).unwrap();
    copy_all(&world.folder.join("older"), &store);
    world.server.start_again().unwrap();
    let error = journal.append(&one(15)).unwrap_err();
    assert!(error.to_string().contains("the server lost what it had acknowledged"), "{error}");
    drop(journal);
    // The index was ahead, and follows the stream, which is the truth.
    let journal = world.open("power", "power");
    assert_holds(&journal, 0..10);
    assert_eq!(journal.incarnation(), 2);
}
