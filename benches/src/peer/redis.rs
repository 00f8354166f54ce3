//! Redis with its append-only file synced before each answer, on a socket of its own. Spoken to in its own protocol (RESP 2).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::load::{EVENT_BYTES, Folder, Missing, durable};
use crate::stats::Figures;

/// Longest start of the server.
const START: Duration = Duration::from_secs(10);

/// A server and its folder; both go with this.
struct Server {
    process: Child,
    socket: PathBuf,
    _folder: Folder,
}

impl Server {
    fn start() -> Result<Self, Missing> {
        let folder = Folder::new("redis")?;
        let socket = folder.path().join("redis.sock");
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| Missing(format!("redis-server: {e}")))?;
        let server = Self { process, socket, _folder: folder };
        let began = Instant::now();
        while UnixStream::connect(&server.socket).is_err() {
            if began.elapsed() > START {
                return Err(Missing("redis-server did not start".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `XADD` of one field each, on a connection per caller.
pub fn append(callers: usize, count: u64) -> Result<Figures, Missing> {
    let server = Server::start()?;
    let fail = |e: std::io::Error| Missing(format!("redis: {e}"));
    durable(callers, count, |caller| {
        let stream = UnixStream::connect(&server.socket).map_err(fail)?;
        let mut reader = BufReader::new(stream.try_clone().map_err(fail)?);
        let (mut writer, key, content) = (stream, format!("order-{caller}"), "x".repeat(EVENT_BYTES));
        let parts = ["XADD", &key, "*", "data", &content];
        let mut request = format!("*{}\r\n", parts.len());
        parts.iter().for_each(|part| request.push_str(&format!("${}\r\n{part}\r\n", part.len())));
        let mut line = String::new();
        Ok(move |_| {
            writer.write_all(request.as_bytes()).map_err(fail)?;
            // A length, then the entry's id.
            for _ in 0..2 {
                line.clear();
                reader.read_line(&mut line).map_err(fail)?;
                if line.starts_with('-') {
                    return Err(Missing(format!("redis: {line}")));
                }
            }
            Ok(())
        })
    })
}
