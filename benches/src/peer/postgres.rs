//! PostgreSQL as it is used without thinking: an insert for each event, a connection for each caller.

use std::sync::Once;

use csf_tests::PostgresServer;
use tokio_postgres::{Client, NoTls};

use crate::load::{EVENT_BYTES, Missing, durable};
use crate::stats::Figures;

/// What an event store has at least.
const TABLE: &str = "CREATE TABLE event (
  position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stream text NOT NULL, version bigint NOT NULL, kind text NOT NULL, stamp bigint NOT NULL, data text NOT NULL,
  UNIQUE (stream, version)
)";
const INSERT: &str = "INSERT INTO event (stream, version, kind, stamp, data) VALUES ($1, $2, 'placed', $2, $3)";

fn missing(error: impl std::fmt::Display) -> Missing {
    Missing(format!("PostgreSQL: {error}"))
}

/// A server with its defaults but for connections, said once.
pub fn server() -> Result<PostgresServer, Missing> {
    let server = PostgresServer::start("-c max_connections=200").map_err(|e| Missing(e.to_string()))?;
    static ONCE: Once = Once::new();
    let version =
        connected(&server, |client| Box::pin(async move { client.query_one("SHOW server_version", &[]).await }))?;
    ONCE.call_once(|| eprintln!("PostgreSQL {}, fsync on", version.get::<_, String>(0)));
    Ok(server)
}

/// Where the server is, as clients say it.
pub fn url(server: &PostgresServer) -> String {
    format!("postgresql://csf@{}/postgres", server.address())
}

type Asked<'c, T> = std::pin::Pin<Box<dyn Future<Output = Result<T, tokio_postgres::Error>> + 'c>>;

fn runtime() -> Result<tokio::runtime::Runtime, Missing> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(missing)
}

fn connected<T>(server: &PostgresServer, ask: impl for<'c> FnOnce(&'c Client) -> Asked<'c, T>) -> Result<T, Missing> {
    runtime()?.block_on(async {
        let (client, connection) = tokio_postgres::connect(&url(server), NoTls).await.map_err(missing)?;
        let driver = tokio::spawn(connection);
        let asked = ask(&client).await.map_err(missing);
        driver.abort();
        asked
    })
}

/// An insert, which is a transaction, for each event.
pub fn insert(callers: usize, count: u64) -> Result<Figures, Missing> {
    let server = server()?;
    connected(&server, |client| Box::pin(client.batch_execute(TABLE)))?;
    let url = url(&server);
    durable(callers, count, |caller| {
        let runtime = runtime()?;
        let connect = async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.map_err(missing)?;
            tokio::spawn(connection);
            let insert = client.prepare(INSERT).await.map_err(missing)?;
            Ok::<_, Missing>((client, insert))
        };
        let (client, insert) = runtime.block_on(connect)?;
        let (stream, content, mut version) = (format!("order-{caller}"), "x".repeat(EVENT_BYTES), 0i64);
        Ok(move |_| {
            version += 1;
            runtime.block_on(client.execute(&insert, &[&stream, &version, &content])).map(drop).map_err(missing)
        })
    })
}
