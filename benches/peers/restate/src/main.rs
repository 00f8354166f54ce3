//! Durable steps on Restate: `csf-bench-restate SERVER FOLDER RUNS IN_FLIGHT STEPS`.
//!
//! Starts the server with its data in the folder, serves the handler it calls, and calls that through the ingress, a connection per run in flight.
//! Prints steps per second, the median and the 99th percentile of the time from one step of a run to its next, ns, on one line.

use std::error::Error;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use restate_sdk::prelude::*;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Longest start of the server.
const START: Duration = Duration::from_secs(30);

struct Sequence {
    steps: usize,
    samples: Arc<Mutex<Vec<u64>>>,
}

#[service]
impl Sequence {
    #[handler]
    async fn go(&self, cx: Context<'_>, run: u64) -> Result<u64, HandlerError> {
        let last = Arc::new(Mutex::new(None::<Instant>));
        for step in 0..self.steps {
            let (last, samples) = (last.clone(), self.samples.clone());
            cx.run(move || async move {
                let now = Instant::now();
                let before = last.lock().map_err(|_| TerminalError::new("poisoned"))?.replace(now);
                if let Some(before) = before {
                    samples
                        .lock()
                        .map_err(|_| TerminalError::new("poisoned"))?
                        .push(now.duration_since(before).as_nanos() as u64);
                }
                Ok(run * 1000 + step as u64)
            })
            .await?;
        }
        Ok(run)
    }
}

/// The server; it goes with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, server, folder, runs, in_flight, steps] = &arguments[..] else {
        return Err("SERVER FOLDER RUNS IN_FLIGHT STEPS".into());
    };
    let measured = measure(server, folder, runs.parse()?, in_flight.parse()?, steps.parse()?);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measured)
}

/// An address that nobody has.
async fn free() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}

async fn measure(server: &str, folder: &str, runs: usize, in_flight: usize, steps: usize) -> Outcome<()> {
    let (node, admin, ingress, service) = (free().await?, free().await?, free().await?, free().await?);
    let samples: Arc<Mutex<Vec<u64>>> = Arc::default();
    let endpoint = Endpoint::builder().bind(Sequence { steps, samples: samples.clone() }).build();
    tokio::spawn(HttpServer::new(endpoint).listen_and_serve(service));
    let process = Command::new(server)
        .current_dir(folder)
        .args(["--no-logo", "--listen-mode", "tcp"])
        .env("RESTATE_BASE_DIR", folder)
        .env("RESTATE_BIND_ADDRESS", node.to_string())
        .env("RESTATE_ADMIN__BIND_ADDRESS", admin.to_string())
        .env("RESTATE_INGRESS__BIND_ADDRESS", ingress.to_string())
        .env("RESTATE_DISABLE_TELEMETRY", "true")
        .env("RESTATE_LOG_FILTER", "warn")
        .stdout(Stdio::null())
        .spawn()?;
    let _server = Server(process);
    register(admin, service).await?;
    // The first runs warm up.
    drive(ingress, in_flight, in_flight).await?;
    samples.lock().map_err(|e| e.to_string())?.clear();
    let began = Instant::now();
    drive(ingress, runs, in_flight).await?;
    let took = began.elapsed().as_secs_f64();
    let mut samples = std::mem::take(&mut *samples.lock().map_err(|e| e.to_string())?);
    samples.sort_unstable();
    let at = |share: f64| samples[((samples.len() - 1) as f64 * share) as usize];
    println!("{} {} {}", (runs * steps) as f64 / took, at(0.5), at(0.99));
    Ok(())
}

/// Tells the server where the handler is, as soon as it listens.
async fn register(admin: SocketAddr, service: SocketAddr) -> Outcome<()> {
    let began = Instant::now();
    loop {
        let told = async {
            let mut admin = BufReader::new(TcpStream::connect(admin).await?);
            post(&mut admin, "/deployments", &format!(r#"{{"uri":"http://{service}"}}"#)).await
        };
        match told.await {
            Ok(_) => return Ok(()),
            Err(error) if began.elapsed() > START => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Calls the handler so often, on as many connections as calls may be in flight.
async fn drive(ingress: SocketAddr, runs: usize, in_flight: usize) -> Outcome<()> {
    let next = Arc::new(AtomicUsize::new(0));
    static RUN: AtomicU64 = AtomicU64::new(0);
    let callers: Vec<_> = (0..in_flight)
        .map(|_| {
            let next = next.clone();
            tokio::spawn(async move {
                let mut ingress = BufReader::new(TcpStream::connect(ingress).await?);
                while next.fetch_add(1, Ordering::Relaxed) < runs {
                    let run = RUN.fetch_add(1, Ordering::Relaxed);
                    post(&mut ingress, "/Sequence/go", &run.to_string()).await?;
                }
                Outcome::Ok(())
            })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    Ok(())
}

/// One request of HTTP/1.1 and its answer, on a connection that stays open.
async fn post(connection: &mut BufReader<TcpStream>, path: &str, body: &str) -> Outcome<Vec<u8>> {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    connection.get_mut().write_all(request.as_bytes()).await?;
    let (mut line, mut length, mut status) = (String::new(), 0, None);
    loop {
        line.clear();
        if connection.read_line(&mut line).await? == 0 {
            return Err("the server closed the connection".into());
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        if status.is_none() {
            status = text.split(' ').nth(1).map(str::to_owned);
        }
        if let Some((name, value)) = text.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut answer = vec![0; length];
    connection.read_exact(&mut answer).await?;
    match status.as_deref() {
        Some(status) if status.starts_with('2') => Ok(answer),
        _ => Err(format!("{path}: {status:?} {}", String::from_utf8_lossy(&answer)).into()),
    }
}
