//! PostgreSQL, Redis and NATS as private processes in one folder.
//!
//! The ports are free ones that the machine chooses; a port that somebody takes in between costs another try. A server counts as started
//! when it says so itself, and is ended by its own process id.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::TestError;
use crate::postgresql::PostgreSql;
use crate::watchdog::Watchdog;

/// Longest a server may take to start.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Free ports that may be taken by somebody else before it is an error.
pub(crate) const TRIES: u32 = 3;
/// Where Debian puts PostgreSQL's programs, besides the path.
const POSTGRESQL: &str = "/usr/lib/postgresql";

/// The three servers of one harness.
pub struct Servers {
    postgresql: PostgreSql,
    redis: Listening,
    nats: Listening,
    /// Dropped last: the others have ended by then.
    _watchdog: Watchdog,
}

impl Servers {
    /// The packages that bring what a test needs, or what is missing of them.
    ///
    /// # Errors
    /// [`TestError::NotInstalled`], of the first that is missing.
    pub fn installed() -> Result<(), TestError> {
        Programs::find().map(drop)
    }

    /// Starts all three below `folder`.
    ///
    /// # Errors
    /// [`TestError::NotInstalled`], [`TestError::Server`], [`TestError::Io`].
    pub fn start(folder: &Path) -> Result<Self, TestError> {
        let programs = Programs::find()?;
        let mut watchdog = Watchdog::start()?;
        let postgresql = PostgreSql::start(&programs.postgresql, &folder.join("postgresql"), "-c fsync=off")?;
        // Its immediate shutdown: killed, it would leave its own processes to find out.
        watchdog.ends(postgresql.process_id, "QUIT")?;
        let redis = start_redis(&programs.redis, &folder.join("redis"), &mut watchdog)?;
        let nats = start_nats(&programs.nats, &folder.join("nats"), &mut watchdog)?;
        Ok(Self { postgresql, redis, nats, _watchdog: watchdog })
    }

    /// Where PostgreSQL listens; user `csf`, no password.
    #[must_use]
    pub const fn postgresql(&self) -> SocketAddr {
        self.postgresql.address
    }

    /// Where Redis listens.
    #[must_use]
    pub const fn redis(&self) -> SocketAddr {
        self.redis.address
    }

    /// Where NATS listens.
    #[must_use]
    pub const fn nats(&self) -> SocketAddr {
        self.nats.address
    }

    /// The processes, of PostgreSQL the first one.
    #[must_use]
    pub fn process_ids(&self) -> [u32; 3] {
        [self.postgresql.process_id, self.redis.child.id(), self.nats.child.id()]
    }

    /// What runs where, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let Self { postgresql, redis, nats, .. } = self;
        format!(
            "{} on {}, {} on {}, {} on {}",
            postgresql.version, postgresql.address, redis.version, redis.address, nats.version, nats.address
        )
    }
}

struct Programs {
    /// The folder of `initdb` and `pg_ctl`.
    postgresql: PathBuf,
    redis: PathBuf,
    nats: PathBuf,
}

impl Programs {
    fn find() -> Result<Self, TestError> {
        let missing = |program, package| move || TestError::NotInstalled { program, package };
        on_path("psql").ok_or_else(missing("psql", "postgresql"))?;
        Ok(Self {
            postgresql: postgresql_folder().ok_or_else(missing("initdb", "postgresql"))?,
            redis: on_path("redis-server").ok_or_else(missing("redis-server", "redis-server"))?,
            nats: on_path("nats-server").ok_or_else(missing("nats-server", "nats-server"))?,
        })
    }
}

pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where the path of a plain user does not lead.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(program)).find(|p| p.is_file())
}

pub(crate) fn postgresql_folder() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> =
        fs::read_dir(POSTGRESQL).into_iter().flatten().flatten().map(|e| e.path().join("bin")).collect();
    versions.sort();
    let has_all = |folder: &Path| ["initdb", "pg_ctl"].iter().all(|p| folder.join(p).is_file());
    versions.into_iter().rev().find(|f| has_all(f)).or_else(|| Some(on_path("initdb")?.parent()?.to_path_buf()))
}

/// A port nobody listens on now.
pub(crate) fn free_address() -> Result<SocketAddr, TestError> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(TestError::io("a free port"))?;
    listener.local_addr().map_err(TestError::io("a free port"))
}

/// Runs to the end; its words when it fails.
pub(crate) fn finish(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(format!("{text}{}", String::from_utf8_lossy(&output.stderr)).trim().to_owned())
}

/// A server that is a child of ours.
pub(crate) struct Listening {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    version: String,
}

impl Drop for Listening {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start_redis(program: &Path, folder: &Path, watchdog: &mut Watchdog) -> Result<Listening, TestError> {
    start_redis_at(None, program, folder, "", watchdog)
}

/// A Redis at this address or a free one, which saves its keys as `save` says.
pub(crate) fn start_redis_at(
    address: Option<SocketAddr>,
    program: &Path,
    folder: &Path,
    save: &str,
    watchdog: &mut Watchdog,
) -> Result<Listening, TestError> {
    let version = finish(Command::new(program).arg("--version")).unwrap_or_default();
    let version = version.split("v=").nth(1).and_then(|v| v.split_whitespace().next()).unwrap_or_default();
    until_listening("Redis", format!("Redis {version}"), folder, watchdog, address, |address| {
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--save", save, "--appendonly", "no", "--daemonize", "no"]);
        command.args(["--port", &address.port().to_string(), "--dir"]).arg(folder);
        (command, "Ready to accept connections")
    })
}

fn start_nats(program: &Path, folder: &Path, watchdog: &mut Watchdog) -> Result<Listening, TestError> {
    start_nats_at(None, program, folder, &[], watchdog)
}

/// A NATS with JetStream at this address or a free one, with more arguments.
pub(crate) fn start_nats_at(
    address: Option<SocketAddr>,
    program: &Path,
    folder: &Path,
    arguments: &[OsString],
    watchdog: &mut Watchdog,
) -> Result<Listening, TestError> {
    let version = finish(Command::new(program).arg("--version")).unwrap_or_default();
    let version = version.trim().rsplit(' ').next().unwrap_or_default().to_owned();
    until_listening("NATS", format!("NATS {version}"), folder, watchdog, address, |address| {
        let mut command = Command::new(program);
        command.args(["--addr", "127.0.0.1", "--port", &address.port().to_string(), "--jetstream", "--store_dir"]);
        command.arg(folder).args(arguments);
        (command, "Server is ready")
    })
}

/// Starts a server and waits for the line in which it says that it is ready.
fn until_listening(
    server: &'static str,
    version: String,
    folder: &Path,
    watchdog: &mut Watchdog,
    address: Option<SocketAddr>,
    command: impl Fn(SocketAddr) -> (Command, &'static str),
) -> Result<Listening, TestError> {
    fs::create_dir_all(folder).map_err(TestError::io(folder.display().to_string()))?;
    let mut reason = String::new();
    for _ in 0..TRIES {
        let address = address.map_or_else(free_address, Ok)?;
        let (mut command, ready) = command(address);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(TestError::io(server))?;
        let lines = lines_of(&mut child);
        let mut listening = Listening { child, address, version: version.clone() };
        watchdog.ends(listening.child.id(), "KILL")?;
        reason.clear();
        loop {
            match lines.recv_timeout(START_LIMIT) {
                Ok(line) if line.contains(ready) => return Ok(listening),
                Ok(line) => reason.push_str(&format!("{line}\n")),
                Err(_) => break,
            }
        }
        // It ended or hangs; the next try has another port.
        watchdog.spares(listening.child.id())?;
        let _ = listening.child.kill();
    }
    Err(TestError::Server { server, reason })
}

/// What a child says on both streams, read to their ends so that it never waits for us.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let (told, lines) = channel();
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|s| Box::new(s) as Box<dyn Read + Send>),
        child.stderr.take().map(|s| Box::new(s) as Box<dyn Read + Send>),
    ];
    for stream in streams.into_iter().flatten() {
        let told = told.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                // Nobody listens once the server is ready.
                let _ = told.send(line);
            }
        });
    }
    lines
}
