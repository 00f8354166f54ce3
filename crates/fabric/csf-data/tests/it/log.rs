//! The shared log: one commit for many callers, and who follows it.

use std::sync::Arc;

use csf_core::Stamp;
use csf_core::port::{
    Append, EventLog, ExpectedVersion, Filter, Journal, JournalError, LogError, NewEvent, Read, Refused,
};
use csf_data::{JournalOptions, SharedLog, SqliteJournal, Subscription};
use csf_sim::MemoryJournal;
use serde_json::json;

use crate::scratch::Scratch;

pub(crate) fn event(stream: &str, n: u64) -> NewEvent {
    NewEvent::new(stream, "counted", Stamp(n), json!({ "n": n }))
}

/// Runs the test on a log in memory and on one in SQLite.
pub(crate) async fn on_each<F: Future<Output = ()>>(test: impl Fn(Arc<dyn EventLog>) -> F) {
    let scratch = Scratch::new();
    let sqlite = SqliteJournal::open(scratch.path(), &JournalOptions::default()).unwrap();
    let journals: [Box<dyn Journal>; 2] = [Box::new(MemoryJournal::new()), Box::new(sqlite)];
    for journal in journals {
        test(Arc::new(SharedLog::start(journal).unwrap())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_share_commits_and_are_answered_each_for_itself() {
    on_each(|log| async move {
        let callers: Vec<_> = (0..32u64)
            .map(|caller| {
                let log = log.clone();
                tokio::spawn(async move {
                    for n in 0..20 {
                        let stream = format!("caller-{caller}");
                        let append = Append::events([event(&stream, n), event(&stream, n)]);
                        let done =
                            log.append(append.expecting(&stream, ExpectedVersion::Exactly(2 * n))).await.unwrap();
                        assert_eq!((done.last - done.first, done.version), (1, 2 * n + 2));
                        let late =
                            log.append(Append::from(event(&stream, n)).expecting(&stream, ExpectedVersion::NoStream));
                        let late = late.await;
                        assert!(matches!(late, Err(LogError::Refused(Refused::WrongVersion { .. }))), "{late:?}");
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!(log.position(), 32 * 40);
        for caller in 0..32 {
            let events = log.read(Read::stream(format!("caller-{caller}"))).await.unwrap().events;
            let numbers: Vec<u64> = events.iter().map(|e| e.data.to_value()["n"].as_u64().unwrap()).collect();
            assert_eq!(numbers, (0..20).flat_map(|n| [n, n]).collect::<Vec<_>>());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_goes_from_history_to_live_without_gap_or_duplicate() {
    on_each(|log| async move {
        let append = |log: Arc<dyn EventLog>, from: u64, to: u64| async move {
            for n in from..to {
                log.append(Append::events([event("even-1", 2 * n), event("odd-1", 2 * n + 1)])).await.unwrap();
            }
        };
        append(log.clone(), 0, 300).await;
        let live = tokio::spawn(append(log.clone(), 300, 600));
        let mut odd = Subscription::new(log.clone(), Filter::category("odd"), 0);
        let mut positions = Vec::new();
        for n in 0..600u64 {
            let event = odd.next().await.unwrap();
            assert_eq!(event.data.to_value()["n"], 2 * n + 1, "in order, each once");
            positions.push(event.position);
            assert!(odd.seen() >= event.position);
            // Who stops here and comes back goes on here.
            if n % 97 == 0 {
                odd = Subscription::new(log.clone(), Filter::category("odd"), odd.seen());
            }
        }
        live.await.unwrap();
        assert_eq!(odd.try_next().await.unwrap(), None);
        assert_eq!(odd.seen(), log.position(), "what others wrote has been passed over");
        let stored = log.read(Read::log(Filter::category("odd"))).await.unwrap().events;
        assert_eq!(positions, stored.iter().map(|e| e.position).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn a_journal_that_fails_fails_all_of_the_commit_and_the_log_goes_on() {
    let scratch = Scratch::new();
    let options = JournalOptions { size_bytes_max: Some(1 << 20), ..JournalOptions::default() };
    let log = SharedLog::start(Box::new(SqliteJournal::open(scratch.path(), &options).unwrap())).unwrap();
    let large = NewEvent::new("a", "b", Stamp(1), json!("x".repeat(2 << 20)));
    let error = log.append(large.into()).await.unwrap_err();
    let is_full = matches!(&error, LogError::Journal(e) if matches!(**e, JournalError::Storage { full: true, .. }));
    assert!(is_full, "{error}");
    assert_eq!(log.append(event("a", 1).into()).await.unwrap().first, 1);
}

#[tokio::test]
async fn dropping_a_log_commits_what_was_accepted() {
    let scratch = Scratch::new();
    let open = || SqliteJournal::open(scratch.path(), &JournalOptions::default()).unwrap();
    let log = SharedLog::start(Box::new(open())).unwrap();
    let accepted = log.append(event("a", 1).into());
    // Polled once, it is in the queue.
    tokio::select! {
        biased;
        _ = accepted => {}
        () = std::future::ready(()) => {}
    }
    drop(log);
    assert_eq!(open().position(), 1);
}
