//! Aggregates: commands decide by events alone, whoever else decides at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use csf_core::Stamp;
use csf_core::port::{
    Append, Appended, EventId, EventLog, Filter, LogFuture, NewEvent, Page, Read, ReadOf, StreamHead,
};
use csf_data::aggregate::{Aggregate, CommandError, Repository, Request};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::log::on_each;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    balance: u64,
    changes: u64,
}

#[derive(Clone, Debug)]
enum Command {
    Deposit(u64),
    Withdraw(u64),
    /// In and out again.
    Pass(u64),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    Deposited { amount: u64 },
    Withdrawn { amount: u64 },
}

impl Aggregate for Account {
    const CATEGORY: &'static str = "account";
    type Command = Command;
    type Event = Event;
    type Refusal = String;

    fn decide(&self, command: Command) -> Result<Vec<Event>, String> {
        match command {
            Command::Deposit(0) => Ok(Vec::new()),
            Command::Deposit(amount) => Ok(vec![Event::Deposited { amount }]),
            Command::Withdraw(amount) if amount > self.balance => Err(format!("only {} there", self.balance)),
            Command::Withdraw(amount) => Ok(vec![Event::Withdrawn { amount }]),
            Command::Pass(amount) => Ok(vec![Event::Deposited { amount }, Event::Withdrawn { amount }]),
        }
    }

    fn apply(&mut self, event: Event) {
        self.changes += 1;
        match event {
            Event::Deposited { amount } => self.balance += amount,
            Event::Withdrawn { amount } => self.balance -= amount,
        }
    }
}

fn accounts(log: &Arc<dyn EventLog>) -> Repository<Account> {
    Repository::new(log.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_meet_decide_one_after_the_other() {
    on_each(|log| async move {
        let request = Request { stamp: Stamp(1), ..Request::default() };
        accounts(&log).execute("1", Command::Deposit(50), &request).await.unwrap();
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let (accounts, request) = (accounts(&log), request.clone());
                tokio::spawn(async move {
                    let mut taken = 0;
                    for _ in 0..20 {
                        match accounts.execute("1", Command::Withdraw(1), &request).await {
                            Ok(_) => taken += 1,
                            Err(CommandError::Refused(reason)) => assert_eq!(reason, "only 0 there"),
                            Err(CommandError::Contended { .. }) => {}
                            Err(other) => panic!("{other}"),
                        }
                    }
                    taken
                })
            })
            .collect();
        let mut taken = 0;
        for caller in callers {
            taken += caller.await.unwrap();
        }
        let left = accounts(&log).load("1").await.unwrap();
        assert_eq!(left.state.balance, 50 - taken);
        assert_eq!(left.version, 1 + taken);
        assert_eq!(accounts(&log).load("2").await.unwrap().version, 0);
    })
    .await;
}

#[tokio::test]
async fn a_request_of_one_name_is_carried_out_once() {
    on_each(|log| async move {
        let accounts = accounts(&log);
        let request = Request { stamp: Stamp(1), id: Some(EventId::from_u128(9)), ..Request::default() };
        accounts.execute("1", Command::Deposit(5), &Request::default()).await.unwrap();
        let first = accounts.execute("1", Command::Withdraw(5), &request).await.unwrap();
        let again = accounts.execute("1", Command::Withdraw(5), &request).await.unwrap();
        assert_eq!((first.position, again.position), (2, 2));
        assert!(first.receipt.is_some() && again.receipt.is_none());
        assert_eq!(again.loaded.state, Account { balance: 0, changes: 2 });
        let other = accounts.execute("1", Command::Withdraw(5), &Request::default()).await;
        assert!(matches!(other, Err(CommandError::Refused(_))));
        assert!(accounts.execute("1", Command::Deposit(0), &request).await.unwrap().receipt.is_none());
        let passing = Request { id: Some(EventId::from_u128(10)), ..Request::default() };
        for _ in 0..2 {
            let done = accounts.execute("1", Command::Pass(3), &passing).await.unwrap();
            assert_eq!(done.position, 4, "a model that has reached it shows all of the command");
        }
    })
    .await;
}

/// A log before whose next append, or next read of a stream, the same request comes from elsewhere and is faster.
struct Faster {
    log: Arc<dyn EventLog>,
    request: Request,
    before_append: AtomicBool,
    before_read: AtomicBool,
}

impl Faster {
    async fn overtake(&self, when: &AtomicBool) {
        if when.swap(false, Ordering::Relaxed) {
            accounts(&self.log).execute("1", Command::Withdraw(5), &self.request).await.unwrap();
        }
    }
}

impl EventLog for Faster {
    fn append(&self, append: Append) -> LogFuture<'_, Appended> {
        Box::pin(async move {
            self.overtake(&self.before_append).await;
            self.log.append(append).await
        })
    }

    fn read(&self, read: Read) -> LogFuture<'_, Page> {
        Box::pin(async move {
            if matches!(&read.of, ReadOf::Stream(stream) if stream == "account-1") {
                self.overtake(&self.before_read).await;
            }
            self.log.read(read).await
        })
    }

    fn head(&self, stream: &str) -> LogFuture<'_, StreamHead> {
        self.log.head(stream)
    }

    fn position(&self) -> u64 {
        self.log.position()
    }

    fn beyond(&self, position: u64) -> LogFuture<'_, u64> {
        self.log.beyond(position)
    }
}

#[tokio::test]
async fn a_request_that_is_overtaken_by_itself_is_carried_out_once() {
    for (before_read, before_append) in [(true, false), (false, true)] {
        on_each(|log| async move {
            let request = Request { id: Some(EventId::from_u128(9)), ..Request::default() };
            accounts(&log).execute("1", Command::Deposit(9), &Request::default()).await.unwrap();
            let faster = Faster {
                log: log.clone(),
                request: request.clone(),
                before_append: before_append.into(),
                before_read: before_read.into(),
            };
            let accounts = Repository::<Account>::new(Arc::new(faster)).snapshot_every(1);
            let done = accounts.execute("1", Command::Withdraw(5), &request).await.unwrap();
            assert_eq!((done.loaded.version, done.loaded.state.balance, done.position), (2, 4, 2));
            assert_eq!(accounts.load("1").await.unwrap(), done.loaded, "no snapshot tells another story");
        })
        .await;
    }
}

#[tokio::test]
async fn snapshots_change_nothing_but_what_is_read() {
    on_each(|log| async move {
        let accounts = accounts(&log).snapshot_every(10);
        for n in 1..=35 {
            let done = accounts.execute("1", Command::Deposit(n), &Request::default()).await.unwrap();
            assert_eq!(done.loaded.state.balance, n * (n + 1) / 2);
        }
        let snapshots = log.read(Read::log(Filter::category("csf.snapshot"))).await.unwrap().events;
        assert_eq!(snapshots.len(), 1, "the newest one is kept");
        assert_eq!(snapshots[0].data.to_value()["version"], 30);
        let whole = Repository::<Account>::new(log.clone()).load("1").await.unwrap();
        assert_eq!(accounts.load("1").await.unwrap(), whole);
        // A snapshot of another form is left aside.
        let foreign = json!({"form": 99, "version": 35, "state": {"balance": 1, "changes": 1}});
        log.append(NewEvent::new("csf.snapshot-account-1", "snapshot", Stamp(1), foreign).into()).await.unwrap();
        assert_eq!(accounts.load("1").await.unwrap(), whole);
        // One that is no account is an error, with its place.
        log.append(NewEvent::new("account-2", "painted", Stamp(1), json!({"type": "painted"})).into()).await.unwrap();
        let error = accounts.load("2").await.unwrap_err();
        assert!(matches!(error, CommandError::Event { .. }), "{error}");
    })
    .await;
}
