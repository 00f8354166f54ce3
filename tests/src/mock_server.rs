//! An outside service that answers as it was told and remembers what it was asked: HTTP/1.1 on a free port.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::TestError;

/// Longest body a request may have.
const BODY_MAX: usize = 1 << 20;

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MockRequest {
    /// `GET`, `POST` …
    pub method: String,
    /// With its query.
    pub path: String,
    /// As text.
    pub body: String,
}

#[derive(Default)]
struct Script {
    /// By method and path: status and body.
    answers: BTreeMap<(String, String), (u16, String)>,
    requests: Vec<MockRequest>,
}

/// An outside service under the test's control.
pub struct MockServer {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    task: Option<JoinHandle<()>>,
}

impl MockServer {
    /// Listens on a free port of this machine; answers `404` to what it was not told.
    ///
    /// # Errors
    /// [`TestError::Io`].
    pub async fn start() -> Result<Self, TestError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(TestError::io("a mock server"))?;
        let address = listener.local_addr().map_err(TestError::io("a mock server"))?;
        let script = Arc::<Mutex<Script>>::default();
        let own = script.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(BufStream::new(stream), own.clone()));
            }
        });
        Ok(Self { address, script, task: Some(task) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this request has this answer.
    pub fn answers(&self, method: &str, path: &str, status: u16, body: &str) {
        self.script().answers.insert((method.to_owned(), path.to_owned()), (status, body.to_owned()));
    }

    /// What it was asked, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<MockRequest> {
        self.script().requests.clone()
    }

    /// Stops listening; once this returns, the port is free.
    pub async fn stop(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // It ends as one that was aborted.
            let _ = task.await;
        }
    }
}

impl Drop for MockServer {
    fn drop(&mut self) {
        self.task.iter().for_each(JoinHandle::abort);
    }
}

async fn answer(mut stream: BufStream<TcpStream>, script: Arc<Mutex<Script>>) {
    let Some(request) = read(&mut stream).await else { return };
    let (status, body) = {
        let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (request.method.clone(), request.path.clone());
        script.requests.push(request);
        script.answers.get(&key).cloned().unwrap_or((404, String::new()))
    };
    let head = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    // A client that has gone does not want its answer.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body.as_bytes()).await;
    let _ = stream.flush().await;
}

async fn read(stream: &mut BufStream<TcpStream>) -> Option<MockRequest> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let header = header.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse::<usize>().ok()?.min(BODY_MAX);
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(MockRequest { method, path, body: String::from_utf8_lossy(&body).into_owned() })
}
