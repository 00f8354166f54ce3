//! The log: shared by callers, on each store, and on nothing but a file.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use csf_core::Stamp;
use csf_core::port::{EventLog, Json, NewEvent};
use csf_data::{
    JetStreamOptions, MirroredJournal, JournalOptions, PostgresJournal, PostgresOptions, ServerSync, SharedLog,
    SqliteJournal,
};

use crate::load::{EVENT_BYTES, Folder, Missing, durable};
use crate::peer;
use crate::peer::rows::{Rows, RowsJournal};
use crate::stats::Figures;

fn missing(error: impl std::fmt::Display) -> Missing {
    Missing(error.to_string())
}

/// An event's content of [`EVENT_BYTES`].
pub fn content() -> Json {
    Json::of(&"x".repeat(EVENT_BYTES - 2)).expect("a text has a JSON form")
}

fn append_on(log: Arc<SharedLog>, callers: usize, count: u64) -> Result<Figures, Missing> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(missing)?;
    let handle = runtime.handle().clone();
    durable(callers, count, |caller| {
        let (log, handle, data) = (log.clone(), handle.clone(), content());
        let stream = format!("order-{caller}");
        Ok(move |number| {
            let event = NewEvent::new(stream.clone(), "placed", Stamp(number), data.clone());
            handle.block_on(log.append(event.into())).map(drop).map_err(missing)
        })
    })
}

/// Appends on SQLite.
pub fn sqlite(callers: usize, count: u64) -> Result<Figures, Missing> {
    let folder = Folder::new("journal")?;
    let journal = SqliteJournal::open(folder.path(), &JournalOptions::default()).map_err(missing)?;
    append_on(Arc::new(SharedLog::start(Box::new(journal)).map_err(missing)?), callers, count)
}

/// Appends on PostgreSQL, whose answers are as durable as it makes them: on disk.
pub fn postgres(callers: usize, count: u64) -> Result<Figures, Missing> {
    let server = peer::postgres::server()?;
    let options = PostgresOptions::new(&peer::postgres::url(&server)).map_err(missing)?;
    let journal = PostgresJournal::open(&options).map_err(missing)?;
    append_on(Arc::new(SharedLog::start(Box::new(journal)).map_err(missing)?), callers, count)
}

/// Appends in JetStream, on a server that syncs before it answers.
pub fn jetstream(callers: usize, count: u64) -> Result<Figures, Missing> {
    let ((server, _folder), index) = (peer::jetstream::server()?, Folder::new("index")?);
    let options = JetStreamOptions::new(format!("nats://{}", server.address()), "bench");
    let options = JetStreamOptions { sync: ServerSync::Always, ..options };
    let journal = MirroredJournal::on_jetstream(index.path(), &options).map_err(missing)?;
    append_on(Arc::new(SharedLog::start(Box::new(journal)).map_err(missing)?), callers, count)
}

/// The same callers and the same writer on nothing but numbered contents.
pub fn rows(
    make: impl FnOnce(&Path) -> Result<Box<dyn Rows>, Missing>,
    callers: usize,
    count: u64,
) -> Result<Figures, Missing> {
    let folder = Folder::new("rows")?;
    let journal = RowsJournal::new(make(folder.path())?);
    append_on(Arc::new(SharedLog::start(Box::new(journal)).map_err(missing)?), callers, count)
}

/// One caller and nothing else: append and `fdatasync` of one event.
pub fn disk(count: u64) -> Result<Figures, Missing> {
    let folder = Folder::new("disk")?;
    let file = File::create(folder.path().join("log")).map_err(missing)?;
    durable(1, count, |_| {
        let mut file = file.try_clone().map_err(missing)?;
        let content = vec![b'x'; EVENT_BYTES];
        Ok(move |_| file.write_all(&content).and_then(|()| file.sync_data()).map_err(missing))
    })
}
