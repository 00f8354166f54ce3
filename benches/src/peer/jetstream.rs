//! NATS JetStream that syncs before each answer: a server newer than the distribution's, spoken to in its own protocol.
//!
//! Reference: docs.nats.io, "NATS Client Protocol"; `sync_interval: always` since 2.12.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Once;

use csf_tests::NatsServer;

use super::debian;
use super::process::output;
use crate::load::{EVENT_BYTES, Folder, Missing, durable};
use crate::stats::Figures;

const STREAM: &str = r#"{"name":"bench","subjects":["order.*"],"storage":"file","num_replicas":1}"#;

/// A connection that asks and waits for the answer.
struct Client {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    line: String,
    payload: Vec<u8>,
}

fn fail(error: std::io::Error) -> Missing {
    Missing(format!("nats: {error}"))
}

impl Client {
    /// Answers come to `inbox`.
    fn connect(server: &NatsServer, inbox: &str) -> Result<Self, Missing> {
        let writer = TcpStream::connect(server.address()).map_err(fail)?;
        writer.set_nodelay(true).map_err(fail)?;
        let reader = BufReader::new(writer.try_clone().map_err(fail)?);
        let mut client = Self { reader, writer, line: String::new(), payload: Vec::new() };
        let hello = format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB {inbox} 1\r\n");
        client.writer.write_all(hello.as_bytes()).map_err(fail)?;
        Ok(client)
    }

    /// The answer to a whole `PUB`.
    fn ask(&mut self, request: &[u8]) -> Result<&[u8], Missing> {
        self.writer.write_all(request).map_err(fail)?;
        loop {
            self.line.clear();
            self.reader.read_line(&mut self.line).map_err(fail)?;
            let mut words = self.line.split_ascii_whitespace();
            match words.next() {
                Some("MSG") => break,
                Some("PING") => self.writer.write_all(b"PONG\r\n").map_err(fail)?,
                Some("INFO" | "PONG" | "+OK") => {}
                _ => return Err(Missing(format!("nats: {:?}", self.line))),
            }
        }
        let len = self.line.split_ascii_whitespace().next_back().and_then(|len| len.parse::<usize>().ok());
        self.payload.resize(len.ok_or_else(|| Missing(format!("nats: {:?}", self.line)))? + 2, 0);
        self.reader.read_exact(&mut self.payload).map_err(fail)?;
        let refusal = b"\"error\"";
        if self.payload.windows(refusal.len()).any(|window| window == refusal) {
            return Err(Missing(format!("nats: {}", String::from_utf8_lossy(&self.payload))));
        }
        Ok(&self.payload)
    }
}

fn request(subject: &str, reply: &str, payload: &str) -> Vec<u8> {
    format!("PUB {subject} {reply} {}\r\n{payload}\r\n", payload.len()).into_bytes()
}

/// A server that syncs each message before it answers, and its folder.
pub fn server() -> Result<(NatsServer, Folder), Missing> {
    let program = debian::unstable("nats-server", "usr/sbin/nats-server")?;
    static ONCE: Once = Once::new();
    let version = output(Command::new(&program).arg("--version"))?;
    ONCE.call_once(|| eprintln!("{}, sync_interval: always", version.trim()));
    let folder = Folder::new("nats")?;
    let configuration = "jetstream { sync_interval: always }\n";
    let server =
        NatsServer::start_program(program, folder.path(), configuration).map_err(|e| Missing(e.to_string()))?;
    Ok((server, folder))
}

/// Publishes with an acknowledgement each, on a connection per caller.
pub fn append(callers: usize, count: u64) -> Result<Figures, Missing> {
    let (server, _folder) = server()?;
    let make = request("$JS.API.STREAM.CREATE.bench", "made", STREAM);
    Client::connect(&server, "made")?.ask(&make)?;
    durable(callers, count, |caller| {
        let inbox = format!("answer.{caller}");
        let mut client = Client::connect(&server, &inbox)?;
        let request = request(&format!("order.{caller}"), &inbox, &"x".repeat(EVENT_BYTES));
        Ok(move |_| client.ask(&request).map(drop))
    })
}
