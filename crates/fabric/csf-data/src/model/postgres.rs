//! Models in PostgreSQL, in tables of their own beside a log or without one. They can be deleted; the models are built anew then.
//!
//! What is changed in an update is kept here until it is asked for or done, so that many rows cost one round trip.

use std::collections::BTreeMap;

use csf_core::port::Json;
use tokio_postgres::Row;

use super::{Checkpoint, ModelError, ModelStore, Rows, SCAN_MAX};
use crate::postgres::{Failure, PostgresOptions, Session, Value};

/// Changed rows that are kept before they are written.
const KEPT_MAX: usize = 1000;

/// Names of tables and keys are in the order of their bytes, as in every store of models.
const TABLES: &str = r#"
CREATE TABLE IF NOT EXISTS model_checkpoint (
  model    text PRIMARY KEY,
  version  bigint NOT NULL,
  position bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS model_row (
  model text COLLATE "C" NOT NULL,
  tab   text COLLATE "C" NOT NULL,
  key   text COLLATE "C" NOT NULL,
  value text NOT NULL,
  PRIMARY KEY (model, tab, key)
);
"#;

/// Models in a schema. A connection that was lost is made again with the next call; an update whose answer was lost fails, and its checkpoint
/// says whether it was done. Names and keys are texts without U+0000.
#[derive(Debug)]
pub struct PostgresModels {
    options: PostgresOptions,
    session: Session,
}

impl PostgresModels {
    /// Opens the models in the options' schema, creating it and its tables when they are absent.
    ///
    /// # Errors
    /// [`ModelError::Store`].
    pub fn open(options: &PostgresOptions) -> Result<Self, ModelError> {
        let session = Session::open(options).map_err(failed(options, "opened"))?;
        let mut models = Self { options: options.clone(), session };
        // Two who create at once would be in each other's way; the schema's own lock is the writer's.
        let create = |session: &mut Session, schema: &str| -> Result<(), Failure> {
            session.query("SELECT pg_advisory_xact_lock($1, hashtext($2))", &[&MODELS, &schema])?;
            let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)";
            if !session.one(sql, &[&schema])?.try_get::<_, bool>(0)? {
                session.batch(&format!("CREATE SCHEMA \"{schema}\""))?;
            }
            Ok(session.batch(TABLES)?)
        };
        let schema = options.schema().to_owned();
        models.within("opened", "BEGIN READ WRITE", "COMMIT", |session, options| {
            create(session, &schema).map_err(failed(options, "opened"))
        })?;
        Ok(models)
    }

    /// Runs `work` in a transaction, on a new connection when the old one turns out to be lost before it begins.
    fn within<T>(
        &mut self,
        action: &'static str,
        begin: &str,
        end: &str,
        work: impl FnOnce(&mut Session, &PostgresOptions) -> Result<T, ModelError>,
    ) -> Result<T, ModelError> {
        let Self { options, session } = self;
        if let Err(error) = session.batch(begin) {
            if !session.is_lost() {
                return Err(failed(options, action)(error.into()));
            }
            *session = Session::open(options).map_err(failed(options, action))?;
            session.batch(begin).map_err(|e| failed(options, action)(e.into()))?;
        }
        let done = work(session, options);
        let ended = session.batch(if done.is_ok() { end } else { "ROLLBACK" });
        let done = done?;
        ended.map_err(|e| failed(options, action)(e.into()))?;
        Ok(done)
    }
}

/// Class of the advisory locks of models: `csfm`.
const MODELS: i32 = 0x6373_666d;

fn failed<'o>(options: &'o PostgresOptions, action: &'static str) -> impl Fn(Failure) -> ModelError + 'o {
    move |e| ModelError::Store { place: options.place().display().to_string(), action, reason: e.words() }
}

/// The rows, and what was changed in them and is not written yet.
struct PostgresRows<'t> {
    session: &'t mut Session,
    options: &'t PostgresOptions,
    model: &'t str,
    changed: BTreeMap<(String, String), Option<Json>>,
}

impl PostgresRows<'_> {
    fn change(&mut self, table: &str, key: &str, value: Option<Json>) -> Result<(), ModelError> {
        self.changed.insert((table.to_owned(), key.to_owned()), value);
        if self.changed.len() >= KEPT_MAX { self.write() } else { Ok(()) }
    }

    /// Writes what was changed.
    fn write(&mut self) -> Result<(), ModelError> {
        let changed = std::mem::take(&mut self.changed);
        let (mut set, mut removed): (Columns, Columns) = Default::default();
        for ((table, key), value) in &changed {
            let to = if value.is_some() { &mut set } else { &mut removed };
            to.tables.push(table);
            to.keys.push(key);
            to.values.extend(value.as_ref().map(Json::as_str));
        }
        let insert = "INSERT INTO model_row SELECT $1, r.* FROM unnest($2::text[], $3::text[], $4::text[]) AS r
                      ON CONFLICT (model, tab, key) DO UPDATE SET value = excluded.value";
        let delete = "DELETE FROM model_row m USING unnest($2::text[], $3::text[]) AS r(tab, key)
                      WHERE m.model = $1 AND m.tab = r.tab AND m.key = r.key";
        let mut questions: Vec<(String, Vec<Value<'_>>)> = Vec::new();
        if !set.keys.is_empty() {
            questions.push((insert.to_owned(), vec![&self.model, &set.tables, &set.keys, &set.values]));
        }
        if !removed.keys.is_empty() {
            questions.push((delete.to_owned(), vec![&self.model, &removed.tables, &removed.keys]));
        }
        let written = self.session.queries(&questions);
        written.map(drop).map_err(|e| failed(self.options, "written")(e.into()))
    }

    fn ask(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, ModelError> {
        self.session.query(sql, values).map_err(|e| failed(self.options, "read")(e.into()))
    }
}

#[derive(Default)]
struct Columns<'r> {
    tables: Vec<&'r str>,
    keys: Vec<&'r str>,
    values: Vec<&'r str>,
}

impl Rows for PostgresRows<'_> {
    fn get(&mut self, table: &str, key: &str) -> Result<Option<Json>, ModelError> {
        if let Some(changed) = self.changed.get(&(table.to_owned(), key.to_owned())) {
            return Ok(changed.clone());
        }
        let sql = "SELECT value FROM model_row WHERE model = $1 AND tab = $2 AND key = $3";
        let model = self.model;
        let Some(row) = self.ask(sql, &[&model, &table, &key])?.pop() else { return Ok(None) };
        let text: String = row.try_get(0).map_err(|e| failed(self.options, "read")(e.into()))?;
        json(table, key, text).map(Some)
    }

    fn put(&mut self, table: &str, key: &str, value: Json) -> Result<(), ModelError> {
        self.change(table, key, Some(value))
    }

    fn remove(&mut self, table: &str, key: &str) -> Result<(), ModelError> {
        self.change(table, key, None)
    }

    fn scan(
        &mut self,
        table: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Json)>, ModelError> {
        self.write()?;
        let sql = "SELECT key, value FROM model_row
                   WHERE model = $1 AND tab = $2 AND key >= $3 AND ($4::text IS NULL OR key > $4) ORDER BY key LIMIT $5";
        let (model, limit) = (self.model, limit.min(SCAN_MAX) as i64);
        let rows = self.ask(sql, &[&model, &table, &prefix, &after, &limit])?;
        let mut found = Vec::new();
        for row in rows {
            let read = row.try_get(0).and_then(|key| Ok((key, row.try_get(1)?)));
            let (key, text): (String, String) = read.map_err(|e| failed(self.options, "read")(e.into()))?;
            if !key.starts_with(prefix) {
                break;
            }
            let value = json(table, &key, text)?;
            found.push((key, value));
        }
        Ok(found)
    }
}

fn json(table: &str, key: &str, text: String) -> Result<Json, ModelError> {
    Json::from_text(text).map_err(|e| super::no_value(table, key, &e))
}

impl ModelStore for PostgresModels {
    fn checkpoint(&mut self, model: &str) -> Result<Option<Checkpoint>, ModelError> {
        self.within("read", "BEGIN READ ONLY", "COMMIT", |session, options| {
            checkpoint(session, model).map_err(failed(options, "read"))
        })
    }

    fn update(
        &mut self,
        model: &str,
        checkpoint: Checkpoint,
        work: &mut dyn FnMut(&mut dyn Rows) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        self.within("written", "BEGIN READ WRITE", "COMMIT", |session, options| {
            let fail = |e: tokio_postgres::Error| failed(options, "written")(e.into());
            // One who changes a model at a time; readers do not wait.
            session.query("SELECT pg_advisory_xact_lock($1, hashtext($2))", &[&MODELS, &model]).map_err(fail)?;
            let mut rows = PostgresRows { session, options, model, changed: BTreeMap::new() };
            work(&mut rows)?;
            rows.write()?;
            let (version, position) = (i64::from(checkpoint.version), checkpoint.position.cast_signed());
            let sql = "INSERT INTO model_checkpoint VALUES ($1, $2, $3)
                       ON CONFLICT (model) DO UPDATE SET version = excluded.version, position = excluded.position";
            session.query(sql, &[&model, &version, &position]).map(drop).map_err(fail)
        })
    }

    fn reset(&mut self, model: &str) -> Result<(), ModelError> {
        self.within("written", "BEGIN READ WRITE", "COMMIT", |session, options| {
            let fail = |e: tokio_postgres::Error| failed(options, "written")(e.into());
            session.query("SELECT pg_advisory_xact_lock($1, hashtext($2))", &[&MODELS, &model]).map_err(fail)?;
            for sql in ["DELETE FROM model_row WHERE model = $1", "DELETE FROM model_checkpoint WHERE model = $1"] {
                session.query(sql, &[&model]).map_err(fail)?;
            }
            Ok(())
        })
    }

    fn look(
        &mut self,
        model: &str,
        look: &mut dyn FnMut(&mut dyn Rows) -> Result<(), ModelError>,
    ) -> Result<u64, ModelError> {
        // Rolled back: nothing it does stays.
        self.within("read", "BEGIN ISOLATION LEVEL REPEATABLE READ", "ROLLBACK", |session, options| {
            let position = checkpoint(session, model).map_err(failed(options, "read"))?;
            look(&mut PostgresRows { session, options, model, changed: BTreeMap::new() })?;
            Ok(position.map_or(0, |checkpoint| checkpoint.position))
        })
    }

    fn again(&self) -> Result<Box<dyn ModelStore>, ModelError> {
        Ok(Box::new(Self::open(&self.options)?))
    }
}

fn checkpoint(session: &mut Session, model: &str) -> Result<Option<Checkpoint>, Failure> {
    let sql = "SELECT version, position FROM model_checkpoint WHERE model = $1";
    let Some(row) = session.maybe(sql, &[&model])? else { return Ok(None) };
    let (version, position): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let version =
        u32::try_from(version).map_err(|_| Failure::Unfit(format!("version {version} of `{model}` never was")))?;
    Ok(Some(Checkpoint { version, position: position.cast_unsigned() }))
}
