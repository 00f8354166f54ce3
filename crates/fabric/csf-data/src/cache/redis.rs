//! Entries in Redis, for all processes of one name. Redis holds nothing here that could be missed: every key expires.
//!
//! The server is one primary without a fail-over to copies that are behind. Keys carry the server's run: one that starts again from a file
//! has words that have been touched since, and none of them is looked at.

use std::sync::Arc;
use std::time::Duration;

use csf_core::port::Timer;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Pipeline, RedisError, RedisResult};
use tokio::sync::Mutex;

use super::{CacheError, CacheFuture, CacheStore, Entry, Looked, WordVersion};

/// Longest name of a cache, bytes.
const NAME_BYTES_MAX: usize = 64;
/// How long a word keeps its version without being touched. After that it gets another one.
const WORD_MS: u64 = 3_600_000;
/// Keys that are looked through at a time.
const SCAN: usize = 1_000;

/// Where Redis is, and how long it may take.
#[derive(Clone)]
pub struct RedisOptions {
    /// Such as `redis://user:password@127.0.0.1:6379/0`. Never printed.
    pub url: String,
    /// The first part of every key: 1 to 64 small letters, digits, `-` and `_`. Caches of one name share their entries.
    pub name: String,
    /// Longest an answer is waited for; then it is a miss.
    pub answer_time_max: Duration,
    /// How long a server that did not answer is left alone.
    pub pause: Duration,
}

impl RedisOptions {
    /// A server and a name, with the times that suit a local network.
    #[must_use]
    pub fn new(url: impl Into<String>, name: impl Into<String>) -> Self {
        let (answer_time_max, pause) = (Duration::from_millis(200), Duration::from_millis(250));
        Self { url: url.into(), name: name.into(), answer_time_max, pause }
    }
}

impl std::fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url: _, name, answer_time_max, pause } = self;
        f.debug_struct("RedisOptions")
            .field("name", name)
            .field("answer_time_max", answer_time_max)
            .field("pause", pause)
            .finish_non_exhaustive()
    }
}

/// Entries in a Redis.
pub struct RedisCache {
    client: Client,
    options: RedisOptions,
    /// The server without its credentials, and the name.
    place: String,
    timer: Arc<dyn Timer>,
    link: Mutex<Link>,
}

#[derive(Default)]
struct Link {
    open: Option<Open>,
    /// Before this time the server is left alone.
    not_before: Duration,
    /// Why.
    reason: String,
}

#[derive(Clone)]
struct Open {
    connection: MultiplexedConnection,
    /// What every key of this run of the server begins with.
    prefix: String,
}

impl RedisCache {
    /// A cache in this server, which is connected to when it is asked first.
    ///
    /// # Errors
    /// [`CacheError`] when the URL or the name cannot be one.
    pub fn new(options: RedisOptions, timer: Arc<dyn Timer>) -> Result<Self, CacheError> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let name = &options.name;
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_plain) {
            let reason = format!(
                "`{}` is no name of a cache: 1 to {NAME_BYTES_MAX} small letters, digits, `-` and `_`",
                name.escape_debug()
            );
            return Err(CacheError { place: "redis".to_owned(), reason });
        }
        // The parser's own words may quote a part of the password.
        let client = Client::open(options.url.as_str()).map_err(|_| CacheError {
            place: "redis".to_owned(),
            reason: "the URL cannot be read; write redis://user:password@host:port/0".to_owned(),
        })?;
        let place = format!("redis://{}/{name}", client.get_connection_info().addr());
        Ok(Self { client, options, place, timer, link: Mutex::default() })
    }

    fn error(&self, reason: impl ToString) -> CacheError {
        CacheError { place: self.place.clone(), reason: reason.to_string() }
    }

    /// The connection; a new one where there is none. Without an answer the server is left alone for a while.
    async fn open(&self) -> Result<Open, CacheError> {
        let mut link = self.link.lock().await;
        if let Some(open) = &link.open {
            return Ok(open.clone());
        }
        if self.timer.now() < link.not_before {
            return Err(self.error(&link.reason));
        }
        match self.connect().await {
            Ok(open) => {
                link.open = Some(open.clone());
                Ok(open)
            }
            Err(error) => {
                link.not_before = self.timer.now() + self.options.pause;
                link.reason = error.to_string();
                Err(self.error(error))
            }
        }
    }

    async fn connect(&self) -> RedisResult<Open> {
        let limit = Some(self.options.answer_time_max);
        let config = AsyncConnectionConfig::new().set_connection_timeout(limit).set_response_timeout(limit);
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let told: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
        let run = told.lines().find_map(|line| line.strip_prefix("run_id:")).map(str::trim).unwrap_or_default();
        if run.is_empty() {
            let words = (redis::ErrorKind::UnexpectedReturnType, "the server does not tell its run_id");
            return Err(RedisError::from(words));
        }
        Ok(Open { connection, prefix: format!("{}:volatile:{run}", self.options.name) })
    }

    /// Asks, and forgets the connection when there is no answer.
    async fn ask<T: redis::FromRedisValue>(&self, open: &Open, questions: &Pipeline) -> Result<T, CacheError> {
        let mut connection = open.connection.clone();
        match questions.query_async(&mut connection).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let mut link = self.link.lock().await;
                link.open = None;
                link.not_before = self.timer.now() + self.options.pause;
                link.reason = error.to_string();
                Err(self.error(error))
            }
        }
    }

    /// A version that no word has had.
    fn version(&self) -> Result<String, CacheError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|e| self.error(e))?;
        Ok(format!("{:032x}", u128::from_be_bytes(random)))
    }
}

impl Open {
    fn entry(&self, key: &str) -> String {
        format!("{}:entry:{key}", self.prefix)
    }

    fn word(&self, word: &str) -> String {
        format!("{}:word:{word}", self.prefix)
    }
}

impl CacheStore for RedisCache {
    fn look<'a>(&'a self, key: &'a str, words: &'a [String]) -> CacheFuture<'a, Looked> {
        Box::pin(async move {
            let open = self.open().await?;
            let keys: Vec<String> =
                [open.entry(key)].into_iter().chain(words.iter().map(|word| open.word(word))).collect();
            let mut look = redis::pipe();
            look.cmd("TIME").cmd("MGET").arg(&keys);
            // The time is read first: an entry that is loaded after it never lives longer than it may.
            let (mut time, mut found): ((u64, u64), Vec<Option<String>>) = self.ask(&open, &look).await?;
            if found.iter().skip(1).any(Option::is_none) {
                let mut make = redis::pipe();
                for (word, _) in keys.iter().zip(&found).skip(1).filter(|(_, version)| version.is_none()) {
                    make.cmd("SET").arg(word).arg(self.version()?).arg("NX").arg("PX").arg(WORD_MS).ignore();
                }
                make.cmd("TIME").cmd("MGET").arg(&keys);
                (time, found) = self.ask(&open, &make).await?;
            }
            let mut found = found.into_iter();
            let entry = found.next().flatten().and_then(|text| serde_json::from_str(&text).ok());
            let versions = found.map(|version| version.map(WordVersion)).collect::<Option<Vec<_>>>();
            let versions =
                versions.ok_or_else(|| self.error("a word loses its version at once; is there no memory?"))?;
            Ok(Looked { entry, versions, at_ms: time.0 * 1_000 + time.1 / 1_000 })
        })
    }

    fn keep<'a>(&'a self, key: &'a str, entry: Entry, until_ms: u64) -> CacheFuture<'a, ()> {
        Box::pin(async move {
            let open = self.open().await?;
            let text = serde_json::to_string(&entry).map_err(|e| self.error(e))?;
            let mut keep = redis::pipe();
            keep.cmd("SET").arg(open.entry(key)).arg(text).arg("PXAT").arg(until_ms).ignore();
            self.ask(&open, &keep).await
        })
    }

    fn touch<'a>(&'a self, words: &'a [String]) -> CacheFuture<'a, ()> {
        Box::pin(async move {
            let open = self.open().await?;
            // All of them at once, as a reader of several words must see them.
            let mut touch = redis::pipe();
            touch.atomic();
            for word in words {
                touch.cmd("SET").arg(open.word(word)).arg(self.version()?).arg("PX").arg(WORD_MS).ignore();
            }
            self.ask(&open, &touch).await
        })
    }

    fn clear(&self) -> CacheFuture<'_, u64> {
        Box::pin(async move {
            let open = self.open().await?;
            // Of every run. The name has no character that means something in a pattern.
            let pattern = format!("{}:volatile:*", self.options.name);
            let (mut cursor, mut cleared) = (0u64, 0);
            loop {
                let mut scan = redis::pipe();
                scan.cmd("SCAN").arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCAN);
                let ((next, keys),): ((u64, Vec<String>),) = self.ask(&open, &scan).await?;
                if !keys.is_empty() {
                    let mut unlink = redis::pipe();
                    unlink.cmd("UNLINK").arg(&keys);
                    let (gone,): (u64,) = self.ask(&open, &unlink).await?;
                    cleared += gone;
                }
                if next == 0 {
                    break;
                }
                cursor = next;
            }
            self.link.lock().await.open = None;
            Ok(cleared)
        })
    }

    fn is_connected(&self) -> bool {
        // Whoever holds it is making a connection or has one.
        self.link.try_lock().map_or(true, |link| link.open.is_some())
    }
}

impl std::fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisCache").field("place", &self.place).field("options", &self.options).finish_non_exhaustive()
    }
}
