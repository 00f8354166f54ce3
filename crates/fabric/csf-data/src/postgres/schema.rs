//! The tables, how they come into being, and what the server promises of a commit.

use csf_core::Incarnation;
use csf_core::port::{Durability, JournalError};

use super::error::Failure;
use super::options::PostgresOptions;
use super::session::Session;

/// The newest format this build reads and the one it writes.
const FORMAT: i64 = 1;
/// Which journal it is: 64 random bits, in `meta`.
const JOURNAL: &str =
    "INSERT INTO meta SELECT 'journal', ('x' || left(md5(gen_random_uuid()::text), 16))::bit(64)::bigint
                       ON CONFLICT (name) DO NOTHING";
/// The category of a stream, as the index has it.
pub(super) const CATEGORY: &str = "split_part(stream, '-', 1)";

/// Names and words are compared by their bytes, whatever the database's language.
const TABLES: &str = r#"
CREATE TABLE meta (name text PRIMARY KEY, value bigint NOT NULL);
CREATE TABLE head (
  only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  position    bigint NOT NULL,
  incarnation bigint NOT NULL
);
CREATE TABLE block (
  last_position  bigint PRIMARY KEY,
  first_position bigint NOT NULL,
  append_end     bigint NOT NULL,
  node           bigint NOT NULL,
  incarnation    bigint NOT NULL,
  lane           bigint NOT NULL,
  first_seq      bigint NOT NULL,
  packets        bigint NOT NULL,
  stamp_min      bigint NOT NULL,
  stamp_max      bigint NOT NULL,
  body           bytea NOT NULL
);
CREATE INDEX block_by_sequence ON block (node, incarnation, lane, first_seq);
CREATE INDEX block_by_position ON block (node, incarnation, lane, last_position);
CREATE INDEX block_by_stamp ON block (stamp_max, first_position);
CREATE TABLE event (
  position bigint PRIMARY KEY,
  id       uuid,
  stream   text COLLATE "C" NOT NULL,
  version  bigint NOT NULL,
  kind     text COLLATE "C" NOT NULL,
  stamp    bigint NOT NULL,
  tags     text[] COLLATE "C",
  origin   text,
  data     text NOT NULL,
  checksum bigint NOT NULL
);
CREATE UNIQUE INDEX event_by_stream ON event (stream, version);
CREATE UNIQUE INDEX event_by_id ON event (id) WHERE id IS NOT NULL;
CREATE INDEX event_by_kind ON event (kind, position);
CREATE INDEX event_by_category ON event (split_part(stream, '-', 1), position);
CREATE INDEX event_by_tag ON event USING gin (tags) WHERE tags IS NOT NULL;
CREATE TABLE stream (
  stream    text COLLATE "C" PRIMARY KEY,
  version   bigint NOT NULL,
  first     bigint NOT NULL,
  is_closed boolean NOT NULL
);
"#;

/// Where the log stands and who wrote it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) position: u64,
    pub(super) incarnation: Incarnation,
}

pub(super) const HEAD: &str = "SELECT position, incarnation FROM head";

pub(super) fn head(session: &mut Session) -> Result<Head, Failure> {
    session.maybe(HEAD, &[])?.map_or_else(|| Err(no_head()), |row| head_of(&row))
}

pub(super) fn head_of(row: &tokio_postgres::Row) -> Result<Head, Failure> {
    let (position, incarnation): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let incarnation = Incarnation::try_from(incarnation)
        .map_err(|_| Failure::damaged("head", format!("incarnation {incarnation} is no 32-bit number")))?;
    Ok(Head { position: position.cast_unsigned(), incarnation })
}

pub(super) fn no_head() -> Failure {
    Failure::damaged("head", "the row is missing")
}

/// Creates what is absent and begins the next incarnation, in one transaction. The writer's lock is held.
pub(super) fn begin(session: &mut Session, options: &PostgresOptions) -> Result<Head, Failure> {
    session.batch("BEGIN READ WRITE")?;
    let begun = begin_within(session, options);
    let end = if begun.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = session.batch(end);
    let head = begun?;
    ended?;
    Ok(head)
}

fn begin_within(session: &mut Session, options: &PostgresOptions) -> Result<Head, Failure> {
    if !exists(session, "meta", options)? {
        // Only where it is absent: to create it takes a right that its owner may lack.
        let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)";
        if !session.one(sql, &[&options.schema])?.try_get::<_, bool>(0)? {
            session.batch(&format!("CREATE SCHEMA \"{}\"", options.schema))?;
        }
        session.batch(TABLES)?;
        session
            .batch(&format!("INSERT INTO meta VALUES ('format', {FORMAT}); INSERT INTO head VALUES (true, 0, 0)"))?;
    }
    check_format(session, options)?;
    session.execute(JOURNAL, &[])?;
    let sql = "UPDATE head SET incarnation = incarnation + 1 RETURNING position, incarnation";
    session.maybe(sql, &[])?.map_or_else(|| Err(no_head()), |row| head_of(&row))
}

/// Whether the schema has this table.
fn exists(session: &mut Session, table: &str, options: &PostgresOptions) -> Result<bool, Failure> {
    let sql = "SELECT to_regclass($1) IS NOT NULL";
    Ok(session.one(sql, &[&format!("{}.{table}", options.schema)])?.try_get(0)?)
}

/// Which journal it is.
pub(super) fn journal(session: &mut Session) -> Result<u64, Failure> {
    let row = session.one("SELECT value FROM meta WHERE name = 'journal'", &[])?;
    Ok(row.try_get::<_, i64>(0)?.cast_unsigned())
}

/// That there is a log, and one this build can read.
pub(super) fn check(session: &mut Session, options: &PostgresOptions) -> Result<(), Failure> {
    if !exists(session, "meta", options)? {
        return Err(Failure::Unfit("there is no journal; start a node on it once, which creates it".into()));
    }
    check_format(session, options)
}

fn check_format(session: &mut Session, options: &PostgresOptions) -> Result<(), Failure> {
    let row = session.maybe("SELECT value FROM meta WHERE name = 'format'", &[])?;
    let found: i64 = match row {
        None => return Err(Failure::damaged("meta", "the row `format` is missing")),
        Some(row) => row.try_get(0)?,
    };
    let number = u32::try_from(found).unwrap_or(u32::MAX);
    let directory = options.place();
    match found {
        FORMAT => Ok(()),
        _ if found > FORMAT => {
            let supported = FORMAT as u32;
            Err(Failure::Said(Box::new(JournalError::NewerFormat { directory, found: number, supported })))
        }
        _ => Err(Failure::damaged("meta", format!("format {found} never was"))),
    }
}

/// How safe a commit of this session is, and keeps being: the setting is pinned to the session.
pub(super) fn durability(session: &mut Session) -> Result<Durability, Failure> {
    let sql = "SELECT current_setting('fsync') = 'on', current_setting('synchronous_standby_names') <> '',
                      set_config('synchronous_commit', current_setting('synchronous_commit'), false)";
    let row = session.one(sql, &[])?;
    let (syncs, has_standbys): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    let commit: String = row.try_get(2)?;
    Ok(promised(syncs, has_standbys, &commit))
}

fn promised(syncs: bool, has_standbys: bool, commit: &str) -> Durability {
    match (commit, syncs) {
        // The server answers before anything has left its own memory: its crash loses the newest commits.
        ("off", _) => Durability::Memory,
        (_, false) => Durability::Os,
        // `remote_write` is in a standby's memory only.
        ("on" | "remote_apply", true) if has_standbys => Durability::Quorum,
        _ => Durability::Disk,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_promises_what_the_server_does() {
        assert_eq!(promised(true, false, "on"), Durability::Disk);
        assert_eq!(promised(true, true, "on"), Durability::Quorum);
        assert_eq!(promised(true, true, "remote_apply"), Durability::Quorum);
        assert_eq!(promised(true, true, "remote_write"), Durability::Disk);
        assert_eq!(promised(true, true, "local"), Durability::Disk);
        assert_eq!(promised(false, true, "on"), Durability::Os);
        assert_eq!(promised(true, true, "off"), Durability::Memory);
    }
}
