//! A connection whose bytes are moved by a thread of its own, so that it may be used from any thread, of an async runtime too.
//!
//! Who asks sleeps until the answer is there. Several questions may be on their way at once.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{try_join, try_join_all};
use tokio::sync::Notify;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Connection, Error, NoTls, Row, Socket, Statement};

use super::error::{Failure, is_lost};
use super::options::PostgresOptions;

/// Prepared statements that are kept; filters of many shapes make many.
const STATEMENTS_MAX: usize = 64;
/// How long a server may take to let somebody in, with the time its names and addresses take.
const GREETING_MAX: Duration = Duration::from_secs(15);
/// The oldest server that is known to do.
const SERVER_MIN: i32 = 13;

/// A parameter of a statement.
pub(crate) type Value<'v> = &'v (dyn ToSql + Sync);

/// A connection.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    statements: HashMap<String, Statement>,
    news: Arc<News>,
    is_lost: bool,
    /// Until when an answer is waited for.
    until: Option<Instant>,
}

impl Session {
    /// Connects, and looks for names in the options' schema.
    pub(crate) fn open(options: &PostgresOptions) -> Result<Self, Failure> {
        let config = options.config.clone();
        let news = Arc::new(News::default());
        let (told, client) = sync_channel(1);
        let own = news.clone();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(e) => return drop(told.send(Err(Failure::Unfit(format!("no runtime for it: {e}"))))),
            };
            runtime.block_on(async {
                match config.connect(NoTls).await {
                    // Who asked waits for it.
                    Err(e) => drop(told.send(Err(Failure::Server(e)))),
                    Ok((client, connection)) => {
                        drop(told.send(Ok(client)));
                        drive(connection, &own).await;
                    }
                }
            });
        };
        let no_thread = |e: std::io::Error| Failure::Unfit(format!("no thread for it: {e}"));
        std::thread::Builder::new().name("csf-postgres".into()).spawn(run).map_err(no_thread)?;
        let client = match client.recv_timeout(GREETING_MAX) {
            Ok(client) => client?,
            Err(RecvTimeoutError::Timeout) => return Err(Failure::Silent),
            Err(RecvTimeoutError::Disconnected) => return Err(Failure::Unfit("its thread ended".into())),
        };
        let mut session = Self { client, statements: HashMap::new(), news, is_lost: false, until: None };
        session.set_up(options)?;
        Ok(session)
    }

    fn set_up(&mut self, options: &PostgresOptions) -> Result<(), Failure> {
        // A connection that vanished gives its locks back after about 25 s.
        self.batch(&format!(
            "SET search_path TO \"{}\"; SET client_min_messages TO warning; SET statement_timeout TO 0;
             SET default_transaction_isolation TO 'read committed'; SET tcp_keepalives_idle TO 10;
             SET tcp_keepalives_interval TO 5; SET tcp_keepalives_count TO 3",
            options.schema
        ))?;
        let sql = "SELECT current_setting('server_encoding'), current_setting('server_version_num')::int / 10000";
        let row = self.one(sql, &[])?;
        let (encoding, version): (String, i32) = (row.try_get(0)?, row.try_get(1)?);
        if encoding != "UTF8" {
            return Err(Failure::Unfit(format!("the database's encoding is {encoding}; create one with UTF8")));
        }
        if version < SERVER_MIN {
            return Err(Failure::Unfit(format!("the server is PostgreSQL {version}; use {SERVER_MIN} or newer")));
        }
        Ok(())
    }

    /// Every answer is waited for until then; a connection that has not answered by then is given up.
    pub(crate) fn answers_until(&mut self, until: Option<Instant>) {
        self.until = until;
    }

    /// The outcome of `future`; this thread sleeps until it is there. Unlike a runtime's, this may be called within one.
    #[expect(clippy::disallowed_methods, reason = "how long a server may take to answer is real time")]
    fn wait<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut until = self.until;
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => std::thread::park(),
                Some(Duration::ZERO) => {
                    // The end of the connection is the answer to all that was asked.
                    self.news.end.notify_one();
                    until = None;
                }
                Some(left) => std::thread::park_timeout(left),
            }
        }
    }

    /// Whether the connection is gone.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost || self.client.is_closed()
    }

    fn noted<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        self.is_lost |= outcome.as_ref().is_err_and(is_lost);
        outcome
    }

    fn prepared(&mut self, sql: &str) -> Result<Statement, Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.wait(self.client.prepare(sql));
        let statement = self.noted(statement)?;
        if self.statements.len() >= STATEMENTS_MAX {
            self.statements.clear();
        }
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Statements without parameters.
    pub(crate) fn batch(&mut self, sql: &str) -> Result<(), Error> {
        let done = self.wait(self.client.batch_execute(sql));
        self.noted(done)
    }

    /// Sends statements and does not wait for them; what is sent later comes after them.
    pub(crate) fn send(&mut self, sql: &str) {
        // Polled once it is on its way; a failure shows in the next question.
        let _ = self.client.batch_execute(sql).now_or_never();
    }

    /// The rows of a question.
    pub(crate) fn query(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        let statement = self.prepared(sql)?;
        let rows = self.wait(self.client.query(&statement, values));
        self.noted(rows)
    }

    /// Runs a statement; how many rows it has changed.
    pub(crate) fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, Error> {
        let statement = self.prepared(sql)?;
        let done = self.wait(self.client.execute(&statement, values));
        self.noted(done)
    }

    /// The one row of a question.
    pub(crate) fn one(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Row, Error> {
        let statement = self.prepared(sql)?;
        let row = self.wait(self.client.query_one(&statement, values));
        self.noted(row)
    }

    /// The row of a question, if there is one.
    pub(crate) fn maybe(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Option<Row>, Error> {
        Ok(self.query(sql, values)?.pop())
    }

    /// Several questions in one round trip.
    pub(crate) fn queries(&mut self, questions: &[(String, Vec<Value<'_>>)]) -> Result<Vec<Vec<Row>>, Error> {
        let statements = questions.iter().map(|(sql, _)| self.prepared(sql)).collect::<Result<Vec<_>, _>>()?;
        let asked =
            statements.iter().zip(questions).map(|(statement, (_, values))| self.client.query(statement, values));
        let rows = self.wait(try_join_all(asked));
        self.noted(rows)
    }

    /// Begins a transaction and asks its first question in one round trip.
    pub(crate) fn begin(&mut self, begin: &str, sql: &str) -> Result<Vec<Row>, Error> {
        let statement = self.prepared(sql)?;
        let begun = self.wait(try_join(self.client.batch_execute(begin), self.client.query(&statement, &[])));
        self.noted(begun).map(|((), rows)| rows)
    }

    /// Waits until something is notified after `seen` notifications, or `timeout` has passed; how many there were.
    pub(crate) fn notified(&self, seen: u64, timeout: Duration) -> u64 {
        let count = self.news.count.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.news.more.wait_timeout_while(count, timeout, |(count, ended)| *count <= seen && !*ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.0
    }
}

/// How often something was notified, and whether the connection has ended.
#[derive(Debug, Default)]
struct News {
    count: Mutex<(u64, bool)>,
    more: Condvar,
    /// The connection is given up.
    end: Notify,
}

impl News {
    fn tell(&self, is_end: bool) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        count.0 += 1;
        count.1 |= is_end;
        drop(count);
        self.more.notify_all();
    }
}

/// Moves the connection's bytes until the client is dropped or the connection lost; its questions are told then.
async fn drive(mut connection: Connection<Socket, NoTlsStream>, news: &News) {
    loop {
        let message = tokio::select! {
            message = poll_fn(|cx| connection.poll_message(cx)) => message,
            () = news.end.notified() => None,
        };
        match message {
            Some(Ok(AsyncMessage::Notification(_))) => news.tell(false),
            Some(Ok(_)) => {}
            None | Some(Err(_)) => break,
        }
    }
    drop(connection);
    news.tell(true);
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
