//! The connection to NATS, on a thread of its own: it answers the server's pings and reconnects while nobody calls.
//!
//! A call from outside is a task on that thread and a channel for its answer. The caller's thread waits, so it must not be one that other
//! tasks need.

use std::future::Future;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, LastRawMessageErrorKind, RetentionPolicy, StorageType, Stream,
};
use async_nats::{Client, ConnectOptions};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::address::{self, Login};
use super::options::JetStreamOptions;

/// Pause between two tries.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between two tries to connect again.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_millis(500);
/// Messages asked for at once while the stream is read.
const FETCHES: usize = 16;
/// How long the server remembers ids of messages. What a writer sends twice is stored once without that too.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// A failed call. None of them carries credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LinkError {
    /// No answer in time, or one that says no.
    Failed(String),
    /// The stream has no such message.
    NoMessage(u64),
}

/// The thread and the connection.
pub(super) struct Link {
    pub(super) session: Session,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What a task on the thread needs. It is never printed: the client knows the credentials.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) stream: Stream,
    pub(super) options: JetStreamOptions,
}

impl Link {
    /// Connects and finds the stream, or makes it.
    pub(super) fn open(options: &JetStreamOptions) -> Result<Self, String> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("csf-nats".into());
        let thread = thread.spawn(move || _ = runtime.block_on(stopped)).map_err(|e| e.to_string())?;
        let own = options.clone();
        let connected = on(&handle, async move {
            let limit = own.call_time_max;
            let late = || format!("no connection within {limit:?}");
            timeout(limit, connect(own)).await.map_err(|_| late()).flatten()
        });
        match connected.flatten() {
            Ok(session) => Ok(Self { session, handle, stop: Some(stop), thread: Some(thread) }),
            Err(reason) => {
                drop(stop);
                // It has nothing to say.
                let _ = thread.join();
                Err(reason)
            }
        }
    }

    /// Runs a task on the thread and waits for it.
    pub(super) fn run<T, F>(&self, task: impl FnOnce(Session) -> F) -> Result<T, String>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        on(&self.handle, task(self.session.clone()))
    }

    /// First and last sequence of the stream; the last is 0 when nothing was ever written.
    pub(super) fn ends(&self) -> Result<(u64, u64), LinkError> {
        self.run(|session| async move { session.patiently(|| session.ends()).await }).map_err(LinkError::Failed)?
    }

    /// The content of these messages, in order.
    pub(super) fn fetch(&self, first: u64, last: u64) -> Result<Vec<Vec<u8>>, LinkError> {
        let all = |session: Session| async move {
            let one = |sequence| {
                let session = &session;
                async move { session.patiently(|| session.fetch(sequence)).await }
            };
            stream::iter(first..=last).map(one).buffered(FETCHES).try_collect().await
        };
        self.run(all).map_err(LinkError::Failed)?
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // Every call has been answered; there is nothing left to say.
            let _ = thread.join();
        }
    }
}

fn on<T: Send + 'static>(handle: &Handle, task: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
    let (told, answer) = sync_channel(1);
    handle.spawn(async move {
        // Who asked waits.
        let _ = told.send(task.await);
    });
    answer.recv().map_err(|_| "the thread of the connection is gone".to_owned())
}

async fn connect(options: JetStreamOptions) -> Result<Session, String> {
    let (servers, login) = address::parse(&options.url)?;
    let connect = match login {
        None => ConnectOptions::new(),
        Some(Login::Token(token)) => ConnectOptions::with_token(token),
        Some(Login::User(user, password)) => ConnectOptions::with_user_and_password(user, password),
    };
    let connect = connect
        .name(format!("csf journal {}", options.stream))
        .connection_timeout(options.answer_time_max)
        .request_timeout(Some(options.answer_time_max))
        .reconnect_delay_callback(|tries| {
            RECONNECT_PAUSE_MAX.min(RETRY_PAUSE * u32::try_from(tries).unwrap_or(u32::MAX).clamp(1, 100))
        })
        .event_callback(|event| async move { tracing::debug!(%event, "NATS") });
    // The library's error may hold the URL; its kind does not.
    let client = connect.connect(servers).await.map_err(|e| e.kind().to_string())?;
    let mut context = jetstream::new(client.clone());
    context.set_timeout(options.answer_time_max);
    let wanted = wanted(&options);
    let stream = loop {
        match context.get_or_create_stream(wanted.clone()).await {
            Ok(stream) => break stream,
            Err(e) => match e.kind() {
                jetstream::context::CreateStreamErrorKind::JetStream(e) => {
                    return Err(format!("the stream cannot be had: {e}"));
                }
                // A server that has just started may not have its streams yet.
                _ => sleep(RETRY_PAUSE).await,
            },
        }
    };
    fits(&stream.cached_info().config, &wanted)?;
    Ok(Session { client, stream, options })
}

/// The stream as it is made.
fn wanted(options: &JetStreamOptions) -> Config {
    Config {
        name: options.stream.clone(),
        subjects: vec![options.subject()],
        description: Some("journal of a ChronoFabric node".to_owned()),
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        num_replicas: options.replicas,
        duplicate_window: DUPLICATE_WINDOW,
        max_messages: -1,
        max_bytes: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        deny_delete: true,
        deny_purge: true,
        ..Config::default()
    }
}

/// Whether the stream is one subject's, whole, and forgets nothing.
fn fits(found: &Config, wanted: &Config) -> Result<(), String> {
    let unlimited = |limit: i64| limit <= 0;
    let forgets = found.retention != RetentionPolicy::Limits
        || !found.max_age.is_zero()
        || !unlimited(found.max_messages_per_subject)
        || (found.discard != DiscardPolicy::New && !(unlimited(found.max_messages) && unlimited(found.max_bytes)));
    if found.subjects != wanted.subjects {
        return Err(format!("the stream takes {:?}, expected {:?}", found.subjects, wanted.subjects));
    }
    if forgets {
        let wanted = "limits retention, no age, no limit per subject, and discard `new` where its size is limited";
        return Err(format!("the stream forgets messages; it needs {wanted}"));
    }
    Ok(())
}

impl Session {
    /// Once the connection stands: nothing is sent that could arrive after it was given up.
    pub(super) async fn connected(&self) {
        while self.client.connection_state() != State::Connected {
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Asks again until there is an answer, or the time of the call is over.
    async fn patiently<T, F>(&self, ask: impl Fn() -> F) -> Result<T, LinkError>
    where
        F: Future<Output = Result<T, LinkError>>,
    {
        let mut newest = "not connected".to_owned();
        let asking = async {
            loop {
                self.connected().await;
                match ask().await {
                    Err(LinkError::Failed(reason)) => newest = reason,
                    answer => return answer,
                }
                sleep(RETRY_PAUSE).await;
            }
        };
        let answer = timeout(self.options.call_time_max, asking).await;
        answer.unwrap_or_else(|_| {
            Err(LinkError::Failed(format!("no answer within {:?}: {newest}", self.options.call_time_max)))
        })
    }

    async fn ends(&self) -> Result<(u64, u64), LinkError> {
        let info = self.stream.get_info().await.map_err(|e| LinkError::Failed(e.to_string()))?;
        Ok((info.state.first_sequence, info.state.last_sequence))
    }

    /// The content of a message, from the stream's leader.
    pub(super) async fn fetch(&self, sequence: u64) -> Result<Vec<u8>, LinkError> {
        match self.stream.get_raw_message(sequence).await {
            Ok(message) => Ok(message.payload.into()),
            Err(e) if e.kind() == LastRawMessageErrorKind::NoMessageFound => Err(LinkError::NoMessage(sequence)),
            Err(e) => Err(LinkError::Failed(e.to_string())),
        }
    }
}
