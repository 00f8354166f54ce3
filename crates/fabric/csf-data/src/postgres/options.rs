//! Where the log is, and how long the server may be away.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use csf_core::port::JournalError;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// Longest name of a schema, bytes: what PostgreSQL keeps of a name.
const SCHEMA_BYTES_MAX: usize = 63;
/// How long an answer to a connection may take, unless the URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a silent connection is trusted.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
/// How long sent bytes may go unacknowledged: beyond that the connection is lost.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);
/// How long a call waits for a server that is away.
const PATIENCE: Duration = Duration::from_secs(30);

/// A database, a schema in it, and how long the server may be away. No form of it shows the password.
#[derive(Clone)]
pub struct PostgresOptions {
    pub(super) config: Config,
    pub(super) schema: String,
    pub(crate) patience: Duration,
}

impl PostgresOptions {
    /// A database by its URL, such as `postgresql://user:password@host:5432/database`, schema `csf`.
    ///
    /// # Errors
    /// [`JournalError::Storage`] when the URL cannot be read.
    pub fn new(url: &str) -> Result<Self, JournalError> {
        // The parser's own words may quote a part of the password.
        let reason = "the URL cannot be read; write postgresql://user:password@host:port/database, special characters percent-encoded";
        let Ok(mut config) = Config::from_str(url) else { return Err(unusable("postgresql:", reason)) };
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(unusable("postgresql:", "the URL names no host"));
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(UNACKNOWLEDGED_MAX);
        }
        if config.get_application_name().is_none() {
            config.application_name("csf");
        }
        config.keepalives_idle(KEEPALIVE_IDLE).keepalives_interval(KEEPALIVE_IDLE / 4).keepalives_retries(3);
        Ok(Self { config, schema: "csf".to_owned(), patience: PATIENCE })
    }

    /// With this password.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> Self {
        self.config.password(password);
        self
    }

    /// In this schema: a small letter or `_`, then small letters, digits and `_`, at most 63, not beginning with `pg_`.
    ///
    /// # Errors
    /// [`JournalError::Storage`] when that is no such name.
    pub fn in_schema(self, schema: &str) -> Result<Self, JournalError> {
        let is_plain = |(at, c): (usize, char)| c.is_ascii_lowercase() || c == '_' || at > 0 && c.is_ascii_digit();
        let is_name = !schema.is_empty() && schema.len() <= SCHEMA_BYTES_MAX && schema.char_indices().all(is_plain);
        if !is_name || schema.starts_with("pg_") {
            let reason = format!("`{}` is no name of a schema: small letters, digits and `_`", schema.escape_debug());
            return Err(unusable(&self.place().to_string_lossy(), &reason));
        }
        Ok(Self { schema: schema.to_owned(), ..self })
    }

    /// With this long for a server that is away, before a call fails.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The URL without its password, and the schema.
    #[must_use]
    pub fn place(&self) -> PathBuf {
        let config = &self.config;
        let ports = config.get_ports();
        let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        let host = |(at, host): (usize, &Host)| match host {
            Host::Tcp(name) => format!("{name}:{}", port(at)),
            #[cfg(unix)]
            Host::Unix(path) => format!("{}:{}", path.display(), port(at)),
        };
        let mut hosts: Vec<String> = config.get_hosts().iter().enumerate().map(host).collect();
        if hosts.is_empty() {
            hosts = config.get_hostaddrs().iter().enumerate().map(|(at, a)| format!("{a}:{}", port(at))).collect();
        }
        let user = config.get_user().map(|user| format!("{user}@")).unwrap_or_default();
        let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
        format!("postgresql://{user}{}/{database}?schema={}", hosts.join(","), self.schema).into()
    }

    /// The schema.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// What is notified after a commit.
    pub(super) fn channel(&self) -> String {
        format!("{}_log", self.schema)
    }

    /// The advisory lock of this schema's writer: `csfj`, and the schema's name. Names that fall together lock each other out, no worse.
    pub(super) fn lock(&self) -> (i32, i32) {
        (0x6373_666a, crc32fast::hash(self.schema.as_bytes()).cast_signed())
    }
}

impl std::fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresOptions").field("place", &self.place()).field("patience", &self.patience).finish()
    }
}

fn unusable(place: &str, reason: &str) -> JournalError {
    JournalError::Storage { directory: place.into(), action: "opened", reason: reason.to_owned(), full: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_shown_nowhere() {
        let options = PostgresOptions::new("postgresql://me:s3cr3t@db:5433/log").unwrap();
        assert_eq!(options.place().to_string_lossy(), "postgresql://me@db:5433/log?schema=csf");
        assert!(!format!("{options:?}").contains("s3cr3t"));
        for url in ["host=db password=s3cr3t s3cr3t", "postgresql://me:s3cr3t%@db:x/log?s3cr3t=1", "password=s3cr3t"] {
            let error = PostgresOptions::new(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error}");
        }
    }

    #[test]
    fn a_schema_has_a_plain_name() {
        let options = PostgresOptions::new("postgresql://db/log").unwrap();
        for name in ["csf", "_a", "log_2", &"x".repeat(63)] {
            assert_eq!(options.clone().in_schema(name).unwrap().schema, name);
        }
        for name in ["", "2", "Log", "a-b", "a\"; DROP SCHEMA csf", "pg_log", "é", &"x".repeat(64)] {
            assert!(options.clone().in_schema(name).is_err(), "{name}");
        }
    }
}
