//! Users' tables in a schema of a PostgreSQL database.

use std::error::Error as StdError;

use bytes::BytesMut;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Error, Row};

use super::sql::{Database, Sql, SqlValue};
use super::{DataError, outbox};
use crate::postgres::{Deadline, Failure, PostgresOptions, Session, Value};

/// Class of the advisory locks under which tables are made: `csfo`.
const TABLES_LOCK: i32 = 0x6373_666f;

/// Users' tables in the options' schema. A connection that was lost is made again with the next transaction. When the answer to a commit
/// is lost, the server is asked what became of it.
#[derive(Debug)]
pub struct PostgresDatabase {
    options: PostgresOptions,
    session: Session,
}

impl PostgresDatabase {
    /// Connects, creating schema, outbox and inbox when they are absent.
    ///
    /// # Errors
    /// [`DataError::Store`].
    pub fn open(options: &PostgresOptions) -> Result<Self, DataError> {
        let fail = |e: Failure| failed(options, "opened", e);
        let mut session = Session::open(options).map_err(fail)?;
        let schema = options.schema();
        let mut create = || -> Result<(), Failure> {
            session.batch("BEGIN READ WRITE")?;
            session.query("SELECT pg_advisory_xact_lock($1, hashtext($2))", &[&TABLES_LOCK, &schema])?;
            let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)";
            if !session.one(sql, &[&schema])?.try_get::<_, bool>(0)? {
                session.batch(&format!("CREATE SCHEMA \"{schema}\""))?;
            }
            session.batch(outbox::POSTGRES_TABLES)?;
            Ok(session.batch("COMMIT")?)
        };
        create().map_err(fail)?;
        Ok(Self { options: options.clone(), session })
    }

    /// Begins, on a new connection when the old one turns out to be lost; the number of the transaction.
    fn begin(&mut self) -> Result<String, DataError> {
        let Self { options, session } = self;
        // The number is given before there is anything to lose.
        let begin = |session: &mut Session| -> Result<String, Failure> {
            let rows = session.begin("BEGIN READ WRITE", "SELECT pg_current_xact_id()::text")?;
            let row = rows.into_iter().next().ok_or_else(|| Failure::Unfit("a transaction has no number".into()))?;
            Ok(row.try_get(0)?)
        };
        match begin(session) {
            Ok(number) => Ok(number),
            Err(_) if session.is_lost() => {
                *session = Session::open(options).map_err(|e| failed(options, "written", e))?;
                begin(session).map_err(|e| failed(options, "written", e))
            }
            Err(failure) => Err(failed(options, "written", failure)),
        }
    }

    /// Whether the transaction of this number was committed, asked on a new connection.
    fn is_committed(&mut self, number: &str, lost: &Error) -> Result<bool, DataError> {
        let Self { options, session } = self;
        let mut deadline = Deadline::after(options.patience);
        loop {
            let mut ask = || -> Result<Option<String>, Failure> {
                *session = Session::open(options)?;
                Ok(session.one("SELECT pg_xact_status($1::text::xid8)", &[&number])?.try_get(0)?)
            };
            match ask().ok().flatten().as_deref() {
                Some("committed") => return Ok(true),
                Some("aborted") => return Ok(false),
                // The server is away, or has the transaction in its hands still.
                _ if deadline.pause() => {}
                _ => break,
            }
        }
        let (place, reason) = (options.place().display().to_string(), lost.to_string());
        Err(DataError::Unknown { place, reason })
    }
}

fn failed(options: &PostgresOptions, action: &'static str, failure: Failure) -> DataError {
    let place = options.place().display().to_string();
    let again = [&SqlState::T_R_SERIALIZATION_FAILURE, &SqlState::T_R_DEADLOCK_DETECTED, &SqlState::LOCK_NOT_AVAILABLE];
    let is_conflict = matches!(&failure, Failure::Server(e) if e.code().is_some_and(|code| again.contains(&code)));
    let reason = failure.words();
    if is_conflict { DataError::Conflict { place, reason } } else { DataError::Store { place, action, reason } }
}

impl Database for PostgresDatabase {
    fn transact(&mut self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<(), DataError>) -> Result<(), DataError> {
        let number = self.begin()?;
        let Self { options, session } = self;
        let done = work(&mut Within { options, session });
        if let Err(error) = done {
            // What is not rolled back now ends with the connection.
            let _ = session.batch("ROLLBACK");
            return Err(error);
        }
        match session.batch("COMMIT") {
            Ok(()) => Ok(()),
            Err(lost) if session.is_lost() => match self.is_committed(&number, &lost)? {
                true => Ok(()),
                false => Err(failed(&self.options, "written", lost.into())),
            },
            Err(error) => Err(failed(&self.options, "written", error.into())),
        }
    }

    fn again(&self) -> Result<Box<dyn Database>, DataError> {
        Ok(Box::new(Self::open(&self.options)?))
    }
}

struct Within<'t> {
    options: &'t PostgresOptions,
    session: &'t mut Session,
}

impl Sql for Within<'_> {
    fn execute(&mut self, sql: &str, values: &[SqlValue]) -> Result<u64, DataError> {
        let values: Vec<Value<'_>> = values.iter().map(|value| value as Value<'_>).collect();
        self.session.execute(sql, &values).map_err(|e| failed(self.options, "written", e.into()))
    }

    fn query(&mut self, sql: &str, values: &[SqlValue]) -> Result<Vec<Vec<SqlValue>>, DataError> {
        let values: Vec<Value<'_>> = values.iter().map(|value| value as Value<'_>).collect();
        let rows = self.session.query(sql, &values).map_err(|e| failed(self.options, "read", e.into()))?;
        let read = |row: Row| (0..row.len()).map(|at| row.try_get(at)).collect::<Result<Vec<SqlValue>, Error>>();
        rows.into_iter().map(read).collect::<Result<_, _>>().map_err(|e| failed(self.options, "read", e.into()))
    }
}

type Wrong = Box<dyn StdError + Sync + Send>;

/// As the type that the server has found for the parameter.
impl ToSql for SqlValue {
    fn to_sql(&self, to: &Type, out: &mut BytesMut) -> Result<IsNull, Wrong> {
        match (self, to) {
            (Self::Null, _) => Ok(IsNull::Yes),
            (Self::Integer(number), &Type::BOOL) => (*number != 0).to_sql(to, out),
            (Self::Integer(number), &Type::INT2) => i16::try_from(*number)?.to_sql(to, out),
            (Self::Integer(number), &Type::INT4) => i32::try_from(*number)?.to_sql(to, out),
            (Self::Integer(number), &Type::INT8) => number.to_sql(to, out),
            (Self::Integer(number), &Type::FLOAT8) => (*number as f64).to_sql(to, out),
            (Self::Real(number), &Type::FLOAT4) => (*number as f32).to_sql(to, out),
            (Self::Real(number), &Type::FLOAT8) => number.to_sql(to, out),
            (Self::Text(text), to) if <&str as ToSql>::accepts(to) => text.to_sql(to, out),
            (Self::Blob(bytes), &Type::BYTEA) => bytes.to_sql(to, out),
            (value, to) => Err(format!("{value:?} is no `{to}`; write the parameter as `$1::text::{to}`").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'r> FromSql<'r> for SqlValue {
    fn from_sql(of: &Type, bytes: &'r [u8]) -> Result<Self, Wrong> {
        Ok(match *of {
            Type::BOOL => Self::Integer(bool::from_sql(of, bytes)?.into()),
            Type::INT2 => Self::Integer(i16::from_sql(of, bytes)?.into()),
            Type::INT4 => Self::Integer(i32::from_sql(of, bytes)?.into()),
            Type::INT8 => Self::Integer(i64::from_sql(of, bytes)?),
            Type::FLOAT4 => Self::Real(f32::from_sql(of, bytes)?.into()),
            Type::FLOAT8 => Self::Real(f64::from_sql(of, bytes)?),
            Type::BYTEA => Self::Blob(Vec::from_sql(of, bytes)?),
            _ if <String as FromSql<'_>>::accepts(of) => Self::Text(String::from_sql(of, bytes)?),
            _ => return Err(format!("a column of type `{of}` is not read; select it as `column::text`").into()),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Wrong> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
