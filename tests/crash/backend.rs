//! The stores of the log, as the killed process opens them.

use std::path::{Path, PathBuf};

use csf_core::port::{Journal, JournalError};
use csf_data::integration::{DataError, Database, PostgresDatabase, SqliteDatabase};
use csf_data::model::{ModelError, ModelStore, PostgresModels, SqliteModels};
use csf_data::{
    JetStreamOptions, JournalOptions, MirroredJournal, PostgresJournal, PostgresOptions, SPOOL_BYTES, SqliteJournal,
};

/// A store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
    /// With a repeat and a spool beside the process.
    PostgresSpool,
    /// With a spool, as nodes have it.
    JetStream,
}

impl Backend {
    const ALL: [Self; 4] = [Self::Sqlite, Self::Postgres, Self::PostgresSpool, Self::JetStream];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::PostgresSpool => "postgres-spool",
            Self::JetStream => "jetstream",
        }
    }

    /// Whether what is acknowledged while the server is away waits beside the process.
    pub(crate) const fn spools(self) -> bool {
        matches!(self, Self::PostgresSpool | Self::JetStream)
    }

    pub(crate) fn named(name: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|backend| backend.name() == name);
        found.ok_or_else(|| format!("there is no backend `{name}`; there are {names}"))
    }
}

/// Where one log lies.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) backend: Backend,
    /// The server, where there is one.
    pub(crate) url: String,
    /// What tells this log from others on the server: a schema, a stream.
    pub(crate) name: String,
    /// Files of this log.
    pub(crate) folder: PathBuf,
}

impl Place {
    pub(crate) fn journal(&self) -> Result<Box<dyn Journal>, JournalError> {
        // A checkpoint every few commits, so that kills meet checkpoints too.
        let options = JournalOptions { checkpoint_bytes: 256 << 10, ..JournalOptions::default() };
        Ok(match self.backend {
            Backend::Sqlite => Box::new(SqliteJournal::open(&self.folder, &options)?),
            Backend::Postgres => Box::new(PostgresJournal::open(&self.postgres()?)?),
            Backend::PostgresSpool => {
                Box::new(MirroredJournal::on_postgres(&self.folder, &self.postgres()?, SPOOL_BYTES)?)
            }
            Backend::JetStream => {
                let spooled =
                    JetStreamOptions { spool_bytes: SPOOL_BYTES, ..JetStreamOptions::new(&self.url, &self.name) };
                let jetstream = JetStreamOptions { index: options, ..spooled };
                Box::new(MirroredJournal::on_jetstream(&self.folder, &jetstream)?)
            }
        })
    }

    pub(crate) fn models(&self) -> Result<Box<dyn ModelStore>, String> {
        let models = |error: ModelError| error.to_string();
        Ok(match self.backend {
            Backend::Sqlite | Backend::PostgresSpool | Backend::JetStream => {
                Box::new(SqliteModels::open(&self.models_folder()).map_err(models)?)
            }
            Backend::Postgres => {
                Box::new(PostgresModels::open(&self.postgres().map_err(|e| e.to_string())?).map_err(models)?)
            }
        })
    }

    pub(crate) fn database(&self) -> Result<Box<dyn Database>, DataError> {
        Ok(match self.backend {
            Backend::Sqlite | Backend::PostgresSpool | Backend::JetStream => {
                Box::new(SqliteDatabase::open(&self.folder.join("users.db"))?)
            }
            Backend::Postgres => {
                let bad = |e: JournalError| DataError::Store {
                    place: self.url.clone(),
                    action: "opened",
                    reason: e.to_string(),
                };
                Box::new(PostgresDatabase::open(&self.postgres().map_err(bad)?)?)
            }
        })
    }

    fn models_folder(&self) -> PathBuf {
        Path::new(&self.folder).join("models")
    }

    fn postgres(&self) -> Result<PostgresOptions, JournalError> {
        PostgresOptions::new(&self.url)?.in_schema(&self.name)
    }
}
