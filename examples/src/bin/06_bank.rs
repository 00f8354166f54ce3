//! A bank on a log (CQRS): accounts decide, events are the truth, a read model answers.
//!
//! Run it: `cargo run -p csf-examples --bin 06_bank`. With `-- --dir D` its journal stays in `D`; kill it there at any moment, start it again,
//! and what it had promised is kept. Clients that ask again after a crash ask under the same names: each request is done once. You will see:
//!
//! > alice cannot withdraw 1000000: there are only
//! > alice 99819
//! > bob 100060
//! > carol 99911
//! > dave 100090
//! > 399880 in the bank: 400160 came in, 280 went out
//! > accounts with snapshots, accounts without and the read model agree
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use csf_core::Stamp;
use csf_core::port::{
    Append, EventId, EventLog, ExpectedVersion, Filter, Json, LogError, NewEvent, Read, Refused, StoredEvent,
    TimeSource,
};
use csf_data::aggregate::{Aggregate, CommandError, Repository, Request};
use csf_data::model::{ModelError, Projection, ReadModel, Rows, SqliteModels};
use csf_data::{JournalOptions, SharedLog, SqliteJournal};
use csf_runtime::TokioWorld;
use serde::{Deserialize, Serialize};

const OWNERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// An account: what its events have made of it. Amounts are in cents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[derive(Clone, Copy)]
enum Command {
    Deposit(u64),
    Withdraw(u64),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Moved {
    Deposited { amount: u64 },
    Withdrawn { amount: u64 },
    Received { amount: u64 },
    Sent { amount: u64 },
}

#[derive(Debug)]
struct Overdrawn {
    amount: u64,
    balance: u64,
}

impl fmt::Display for Overdrawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot withdraw {}: there are only {}", self.amount, self.balance)
    }
}

impl Account {
    fn covers(&self, amount: u64) -> Result<(), Overdrawn> {
        if amount > self.balance { Err(Overdrawn { amount, balance: self.balance }) } else { Ok(()) }
    }
}

impl Aggregate for Account {
    const CATEGORY: &'static str = "account";
    type Command = Command;
    type Event = Moved;
    type Refusal = Overdrawn;

    fn decide(&self, command: Command) -> Result<Vec<Moved>, Overdrawn> {
        match command {
            Command::Deposit(amount) => Ok(vec![Moved::Deposited { amount }]),
            Command::Withdraw(amount) => self.covers(amount).map(|()| vec![Moved::Withdrawn { amount }]),
        }
    }

    fn apply(&mut self, event: Moved) {
        match event {
            Moved::Deposited { amount } | Moved::Received { amount } => self.balance += amount,
            Moved::Withdrawn { amount } | Moved::Sent { amount } => self.balance -= amount,
        }
    }
}

/// The side that answers: a row per account, and a line per movement.
struct Statements;

impl ReadModel for Statements {
    fn name(&self) -> &'static str {
        "statements"
    }

    fn version(&self) -> u32 {
        1
    }

    fn filter(&self) -> Filter {
        Filter::category(Account::CATEGORY)
    }

    fn apply(&mut self, event: &StoredEvent, rows: &mut dyn Rows) -> Result<(), ModelError> {
        let bad = |e: serde_json::Error| ModelError::Event { position: event.position, reason: e.to_string() };
        let owner = &event.stream[Account::CATEGORY.len() + 1..];
        let mut account: Account = rows.value("balance", owner)?.unwrap_or_default();
        account.apply(event.parse().map_err(bad)?);
        rows.set("balance", owner, &account)?;
        // Keys sort as texts: the position has all its digits.
        rows.put("line", &line(owner, event.position), event.data.clone())
    }
}

fn line(owner: &str, position: u64) -> String {
    format!("{owner}/{position:020}")
}

/// What a client asks for.
#[derive(Clone, Copy)]
enum Ask {
    Deposit { owner: &'static str, amount: u64 },
    Withdraw { owner: &'static str, amount: u64 },
    Transfer { from: &'static str, to: &'static str, amount: u64 },
}

/// The n-th request, the same in each life: mostly transfers, and cash now and then.
fn request(n: usize) -> (EventId, Ask) {
    let (owner, amount) = (OWNERS[n % 4], 1 + (n as u64 * 7) % 30);
    let ask = match n {
        0..4 => Ask::Deposit { owner, amount: 100_000 },
        _ if n % 10 == 8 => Ask::Withdraw { owner, amount: 70 },
        _ if n % 10 == 9 => Ask::Deposit { owner, amount: 40 },
        _ => Ask::Transfer { from: owner, to: OWNERS[(n + 1 + n / 4 % 3) % 4], amount },
    };
    (EventId::from_u128(n as u128), ask)
}

struct Bank {
    log: Arc<dyn EventLog>,
    accounts: Repository<Account>,
    statements: Projection,
    clock: Box<dyn Fn() -> Stamp + Send + Sync>,
}

type Outcome<T> = Result<T, CommandError<Overdrawn>>;

impl Bank {
    /// Carries a request out, once; the position that a read model must have reached to show it.
    async fn ask(&self, id: EventId, ask: Ask) -> Outcome<u64> {
        let request = Request { stamp: (self.clock)(), id: Some(id), ..Request::default() };
        let done = match ask {
            Ask::Deposit { owner, amount } => self.accounts.execute(owner, Command::Deposit(amount), &request).await?,
            Ask::Withdraw { owner, amount } => {
                self.accounts.execute(owner, Command::Withdraw(amount), &request).await?
            }
            Ask::Transfer { from, to, amount } => return self.transfer(from, to, amount, &request).await,
        };
        Ok(done.position)
    }

    /// Two accounts in one append: both events or none, and only if neither account has changed since it was read.
    async fn transfer(&self, from: &str, to: &str, amount: u64, request: &Request) -> Outcome<u64> {
        let id = request.id.unwrap_or(EventId::from_u128(0));
        let (sent, received) = (id.derive("sent"), id.derive("received"));
        for _ in 0..100 {
            if let Some(done) = self.log.read(Read::named(received)).await?.events.pop() {
                return Ok(done.position);
            }
            let (payer, payee) = (self.accounts.load(from).await?, self.accounts.load(to).await?);
            payer.state.covers(amount).map_err(CommandError::Refused)?;
            let (from, to) = (Repository::<Account>::stream(from), Repository::<Account>::stream(to));
            let event = |stream: &str, id, kind, event: &Moved| {
                let data = Json::of(event).expect("numbers have a JSON form");
                NewEvent::new(stream, kind, request.stamp, data).with_id(id)
            };
            let append = Append::events([
                event(&from, sent, "sent", &Moved::Sent { amount }),
                event(&to, received, "received", &Moved::Received { amount }),
            ]);
            let append = append.expecting(&from, ExpectedVersion::Exactly(payer.version));
            let append = append.expecting(&to, ExpectedVersion::Exactly(payee.version));
            match self.log.append(append).await {
                Ok(appended) => return Ok(appended.last),
                // Another client was faster: read again, decide anew.
                Err(LogError::Refused(Refused::WrongVersion { .. })) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(CommandError::Contended { stream: Repository::<Account>::stream(from), attempts: 100 })
    }

    /// One client: asks for every third request, and reads its own writes.
    async fn client(&self, first: usize, requests: usize) -> Result<(), String> {
        for n in (first..requests).step_by(3).filter(|n| *n >= OWNERS.len()) {
            let (id, ask) = request(n);
            let position = self.ask(id, ask).await.map_err(|e| e.to_string())?;
            let owner = match ask {
                Ask::Deposit { owner, .. } | Ask::Withdraw { owner, .. } | Ask::Transfer { to: owner, .. } => owner,
            };
            self.statements.reaches(position).await;
            let look = self.statements.query(|rows| rows.get("line", &line(owner, position)));
            if look.map_err(|e| e.to_string())?.0.is_none() {
                return Err(format!("request {n} is done at position {position}, and {owner}'s statement lacks it"));
            }
            println!("request {n} is done and on {owner}'s statement");
        }
        Ok(())
    }

    /// The same money, wherever one looks.
    async fn audit(&self) -> Result<(), Box<dyn Error>> {
        let mut balances = BTreeMap::new();
        for owner in OWNERS {
            let whole = Repository::<Account>::new(self.log.clone()).load(owner).await?;
            if whole != self.accounts.load(owner).await? {
                return Err(format!("the snapshot of {owner}'s account tells another story").into());
            }
            println!("{owner} {}", whole.state.balance);
            balances.insert(owner.to_owned(), whole.state);
        }
        self.statements.reaches(self.log.position()).await;
        let (rows, _) = self.statements.query(|rows| rows.scan("balance", "", None, 100))?;
        let rows = rows.iter().map(|(owner, row)| Ok((owner.clone(), row.parse()?)));
        if rows.collect::<Result<BTreeMap<_, Account>, serde_json::Error>>()? != balances {
            return Err("the read model tells another story".into());
        }
        let (mut came_in, mut went_out) = (0, 0);
        for event in self.log.read(Read::log(Filter::kinds(["deposited", "withdrawn"]))).await?.events {
            match event.parse()? {
                Moved::Deposited { amount } => came_in += amount,
                Moved::Withdrawn { amount } => went_out += amount,
                Moved::Received { .. } | Moved::Sent { .. } => {}
            }
        }
        let all: u64 = balances.values().map(|account| account.balance).sum();
        if all + went_out != came_in {
            return Err(format!("{all} in the bank, {came_in} came in and {went_out} went out").into());
        }
        println!("{all} in the bank: {came_in} came in, {went_out} went out");
        println!("accounts with snapshots, accounts without and the read model agree");
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let option = |name: &str| std::env::args().skip_while(|argument| argument != name).nth(1);
    let kept = option("--dir").map(PathBuf::from);
    let requests = option("--requests").map_or(Ok(44), |count| count.parse())?;
    let directory = kept.clone();
    let directory =
        directory.unwrap_or_else(|| std::env::temp_dir().join(format!("csf-example-{}", std::process::id())));

    let journal = SqliteJournal::open(&directory, &JournalOptions::default())?;
    let log: Arc<dyn EventLog> = Arc::new(SharedLog::start(Box::new(journal))?);
    let accounts = Repository::new(log.clone()).snapshot_every(10);
    let models = Box::new(SqliteModels::open(&directory)?);
    let statements = Projection::start(log.clone(), models, Statements, &TokioWorld::current())?;
    let clock = csf_time::SystemClock::detect()?;
    let clock = Box::new(move || Stamp(clock.now_ns().map_or(0, |now| now.as_nanos())));
    let bank = Bank { log, accounts, statements, clock };

    for n in 0..OWNERS.len() {
        let (id, ask) = request(n);
        bank.ask(id, ask).await?;
    }
    if let Err(CommandError::Refused(why)) =
        bank.ask(EventId::from_u128(1 << 64), Ask::Withdraw { owner: "alice", amount: 1_000_000 }).await
    {
        println!("alice {why}");
    }
    tokio::try_join!(bank.client(0, requests), bank.client(1, requests), bank.client(2, requests))?;
    bank.audit().await?;
    drop(bank);
    if kept.is_none() {
        std::fs::remove_dir_all(directory)?;
    }
    Ok(())
}
