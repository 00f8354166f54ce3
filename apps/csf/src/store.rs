//! Where a journal is: a directory, a schema of a PostgreSQL database, or a stream of NATS JetStream.

use std::fmt;
use std::path::{Path, PathBuf};

use csf_core::port::{Journal, JournalError, JournalReader};
use csf_data::{
    JetStreamOptions, JournalOptions, MirroredJournal, PostgresJournal, PostgresOptions, PostgresReader, SPOOL_BYTES,
    ServerSync, SqliteJournal, SqliteReader,
};

use crate::diagnostic::Failure;

/// Copies of a stream: what JetStream takes.
const REPLICAS_MAX: usize = 5;
/// The smallest spool: a commit of a busy node is about a megabyte.
const SPOOL_BYTES_MIN: u64 = 1 << 20;

/// A journal's place, as `[node] journal` and `--journal` say it. Its words never hold a password.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    kind: Kind,
    /// What the node keeps on this machine: all of an embedded journal, the index of a stream, its token and its state.
    directory: PathBuf,
}

#[derive(Clone, Debug)]
enum Kind {
    /// The embedded journal.
    Embedded,
    /// A database; with a spool, repeated in the directory.
    PostgreSql { options: Box<PostgresOptions>, words: String, spool_bytes: u64 },
    /// A stream, with its index in the directory.
    JetStream { options: Box<JetStreamOptions>, words: String },
}

impl Store {
    /// The embedded journal in this directory.
    pub(crate) fn embedded(directory: PathBuf) -> Self {
        Self { kind: Kind::Embedded, directory }
    }

    /// Reads `text`: `postgresql://user@host/database?schema=NAME&spool=256MiB`, `nats://host,host/STREAM?replicas=3&sync=always&spool=1GiB`,
    /// or a directory. What a node on a server keeps here goes below `state`. Passwords come from the environment: `PGPASSWORD`, and `NATS_USER` with `NATS_PASSWORD`.
    ///
    /// # Errors
    /// When it is a URL and cannot be read, or holds a password.
    pub(crate) fn parse(text: &str, state: &Path) -> Result<Self, Failure> {
        let Some((scheme, rest)) = text.split_once("://") else { return Ok(Self::embedded(PathBuf::from(text))) };
        let (address, query) = rest.split_once('?').map_or((rest, ""), |(address, query)| (address, query));
        if address.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
            let remedy = "set PGPASSWORD, or NATS_USER and NATS_PASSWORD, in the environment";
            return Err(bad(
                scheme,
                &format!("it holds a password, which would be written down with the configuration; {remedy}"),
            ));
        }
        let query: Vec<(&str, &str)> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .collect();
        let kind = match scheme {
            "postgresql" | "postgres" => postgresql(text, address, &query),
            "nats" | "tls" => jetstream(scheme, address, &query),
            other => {
                let known = "postgresql://user@host/database, nats://host/STREAM, or a directory without `://`";
                Err(bad(other, &format!("there is no such store; write {known}")))
            }
        }?;
        let store = Self { kind, directory: PathBuf::new() };
        let name: String = store.to_string().chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        Ok(Self { directory: state.join("journal").join(name), ..store })
    }

    /// Opens it for writing.
    pub(crate) fn open(&self) -> Result<Box<dyn Journal>, JournalError> {
        Ok(match &self.kind {
            Kind::Embedded => Box::new(SqliteJournal::open(&self.directory, &JournalOptions::default())?),
            Kind::PostgreSql { options, spool_bytes: 0, .. } => Box::new(PostgresJournal::open(options)?),
            Kind::PostgreSql { options, spool_bytes, .. } => {
                Box::new(MirroredJournal::on_postgres(&self.directory, options, *spool_bytes)?)
            }
            Kind::JetStream { options, .. } => Box::new(MirroredJournal::on_jetstream(&self.directory, options)?),
        })
    }

    /// Opens it for reading, beside a writer or without one. Of a stream, what its repeat on this machine has.
    pub(crate) fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        Ok(match &self.kind {
            Kind::PostgreSql { options, .. } => Box::new(PostgresReader::open(options)?),
            Kind::Embedded | Kind::JetStream { .. } => Box::new(SqliteReader::open_read_only(&self.directory)?),
        })
    }

    /// Opens it for reading in the node that writes it: what the node has acknowledged is there, also while the server is away.
    pub(crate) fn node_reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        match &self.kind {
            Kind::PostgreSql { spool_bytes: 1.., .. } => Ok(Box::new(SqliteReader::open_read_only(&self.directory)?)),
            _ => self.reader(),
        }
    }

    /// Whether all of it is in the directory.
    pub(crate) fn is_embedded(&self) -> bool {
        matches!(self.kind, Kind::Embedded)
    }

    /// What the node keeps on this machine.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Embedded => write!(f, "{}", self.directory.display()),
            Kind::PostgreSql { words, .. } | Kind::JetStream { words, .. } => f.write_str(words),
        }
    }
}

fn bad(scheme: &str, reason: &str) -> Failure {
    Failure::new("CSF-0104", format!("the journal {scheme}://… cannot be used: {reason}"))
}

fn postgresql(text: &str, address: &str, query: &[(&str, &str)]) -> Result<Kind, Failure> {
    let said = |error: JournalError| bad("postgresql", &error.to_string());
    let own = |name: &str| query.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let schema = own("schema");
    let spool_bytes =
        own("spool").map_or(Ok(SPOOL_BYTES), |text| size(text).map_err(|reason| bad("postgresql", &reason)))?;
    let is_own = |key: &str| ["schema", "spool"].contains(&key);
    let others: Vec<String> =
        query.iter().filter(|(key, _)| !is_own(key)).map(|(key, value)| format!("{key}={value}")).collect();
    let base = text.split_once('?').map_or(text, |(base, _)| base);
    let url = if others.is_empty() { base.to_owned() } else { format!("{base}?{}", others.join("&")) };
    let mut options = PostgresOptions::new(&url).map_err(said)?;
    if let Some(schema) = schema {
        options = options.in_schema(schema).map_err(said)?;
    }
    if let Some(password) = std::env::var_os("PGPASSWORD") {
        options = options.with_password(&password.to_string_lossy());
    }
    let words = format!("postgresql://{address}?schema={}", schema.unwrap_or("csf"));
    Ok(Kind::PostgreSql { options: Box::new(options), words, spool_bytes })
}

fn jetstream(scheme: &str, address: &str, query: &[(&str, &str)]) -> Result<Kind, Failure> {
    let bad = |reason: &str| bad(scheme, reason);
    let (hosts, stream) = address.split_once('/').unwrap_or((address, ""));
    if hosts.is_empty() || stream.is_empty() {
        return Err(bad("a server and a stream are wanted: nats://host:4222/STREAM"));
    }
    let login = match (std::env::var("NATS_USER"), std::env::var("NATS_PASSWORD")) {
        (Ok(user), Ok(password)) => format!("{}:{}@", escaped(&user), escaped(&password)),
        _ => String::new(),
    };
    let url = format!("{scheme}://{login}{hosts}");
    let mut options = JetStreamOptions { spool_bytes: SPOOL_BYTES, ..JetStreamOptions::new(url, stream) };
    for (key, value) in query {
        match (*key, *value) {
            ("sync", "always") => options.sync = ServerSync::Always,
            ("sync", "interval") => options.sync = ServerSync::Interval,
            ("spool", text) => options.spool_bytes = size(text).map_err(|reason| bad(&reason))?,
            ("replicas", count) => {
                let count = count.parse().ok().filter(|count| (1..=REPLICAS_MAX).contains(count));
                let reason = format!("replicas are 1 to {REPLICAS_MAX}");
                options.replicas = count.ok_or_else(|| bad(&reason))?;
            }
            (key, value) => {
                let known = "sync=always, sync=interval, replicas=N and spool=SIZE";
                return Err(bad(&format!("`{key}={value}` means nothing here; there are {known}")));
            }
        }
    }
    let words = format!("{scheme}://{address}");
    Ok(Kind::JetStream { options: Box::new(options), words })
}

/// A size such as `256MiB`, bytes; 0 for none.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "B" => Some(0),
        "KiB" => Some(10),
        "MiB" => Some(20),
        "GiB" => Some(30),
        "TiB" => Some(40),
        _ => None,
    };
    let bytes = unit.and_then(|shift| digits.parse::<u64>().ok()?.checked_mul(1 << shift));
    let bytes = bytes.ok_or_else(|| format!("`spool={text}` is no size; write 256MiB, 1GiB, or 0 for none"))?;
    match bytes {
        0 | SPOOL_BYTES_MIN.. => Ok(bytes),
        _ => Err(format!("`spool={text}` holds no commit of ordinary size; write at least 1MiB, or 0 for none")),
    }
}

/// As a URL has it (RFC 3986, section 2.1).
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Store, Failure> {
        Store::parse(text, Path::new("/state"))
    }

    #[test]
    fn each_store_has_its_words() {
        for (text, words) in [
            ("/var/lib/csf", "/var/lib/csf"),
            ("postgresql://csf@db:5432/flight", "postgresql://csf@db:5432/flight?schema=csf"),
            (
                "postgres://csf@db/flight?schema=left&spool=1GiB&sslmode=disable",
                "postgresql://csf@db/flight?schema=left",
            ),
            ("nats://a:4222,b:4222/left?replicas=3&sync=always", "nats://a:4222,b:4222/left"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), words);
        }
        let store = parse("nats://a/left?replicas=3&sync=always").unwrap();
        assert_eq!(store.directory(), Path::new("/state/journal/nats---a-left"));
        let Kind::JetStream { options, .. } = store.kind else { panic!("a stream") };
        assert_eq!((options.replicas, options.sync, options.spool_bytes), (3, ServerSync::Always, 256 << 20));
        for (text, bytes) in [("nats://a/left?spool=0", 0), ("nats://a/left?spool=3MiB", 3 << 20)] {
            let Kind::JetStream { options, .. } = parse(text).unwrap().kind else { panic!("a stream") };
            assert_eq!(options.spool_bytes, bytes);
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_without_its_password() {
        for (text, reason) in [
            ("postgresql://csf:hunter2@db/flight", "PGPASSWORD"),
            ("nats://csf:hunter2@a/left", "NATS_PASSWORD"),
            ("redis://a/0", "no such store"),
            ("nats://a", "a stream are wanted"),
            ("nats://a/left?replicas=9", "1 to 5"),
            ("nats://a/left?sink=always", "`sink=always`"),
            ("nats://a/left?spool=much", "`spool=much` is no size"),
            ("postgresql://csf@db/flight?spool=99999999TiB", "is no size"),
            ("postgresql://csf@db/flight?spool=3KiB", "at least 1MiB"),
            ("postgresql://csf@db/flight?schema=Left", "is no name of a schema"),
            ("postgresql://", "cannot be"),
        ] {
            let Failure::Other { message: error, .. } = parse(text).unwrap_err() else { panic!("{text}") };
            assert!(error.contains(reason) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
