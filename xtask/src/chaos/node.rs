//! A real node as a process of its own: started, asked, stopped and killed by its process id and nothing else.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{now, pause};
use crate::exec;

/// How long a node may take to print its address.
const START: Duration = Duration::from_secs(20);
/// How long an orderly stop may take.
const STOP: Duration = Duration::from_secs(10);

/// Where clients find a node and what they show it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Where to connect, the node or a proxy before it.
    pub(super) address: SocketAddr,
    /// The node's own host and port, which it insists on.
    pub(super) host: String,
    pub(super) token: String,
}

/// A running node; killed when dropped.
pub(super) struct Node {
    child: Child,
    home: PathBuf,
    target: Target,
}

/// How much of the machine a node has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Vitals {
    pub(super) resident_kib: u64,
    pub(super) threads: u64,
    pub(super) files: u64,
}

impl Vitals {
    /// The larger of each.
    pub(super) fn most(self, other: Self) -> Self {
        Self {
            resident_kib: self.resident_kib.max(other.resident_kib),
            threads: self.threads.max(other.threads),
            files: self.files.max(other.files),
        }
    }
}

impl Node {
    /// Starts `csf up` in `home`, which holds its csf.toml, with its journal in `journal`, behind these words: such as `ip netns exec NAME`.
    pub(super) fn start(home: &Path, journal: &Path, before: &[&str]) -> Result<Self, String> {
        let csf = exec::csf().canonicalize().map_err(|e| format!("{}: {e}", exec::csf().display()))?;
        let mut command = mortal(before, &csf);
        command.args(["up", "--listen", "127.0.0.1:0", "--journal"]).arg(journal).current_dir(home);
        command.env("CSF_STATE", home.join("state")).env_remove("CSF_NODE").env_remove("CSF_ENVIRONMENT");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(home.join("node.log"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.map_err(|e| e.to_string())?);
        let child = command.spawn().map_err(|e| format!("{command:?} cannot be run: {e}"))?;
        let unknown = Target { address: ([127, 0, 0, 1], 0).into(), host: String::new(), token: String::new() };
        let mut node = Self { child, home: home.to_owned(), target: unknown };
        node.target = node.announced()?;
        Ok(node)
    }

    /// Waits for the address, then reads the token from the file that only the node's user can read.
    fn announced(&mut self) -> Result<Target, String> {
        let stdout = self.child.stdout.take().ok_or("no output of csf up")?;
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody listens any more once the address is known; the pipe is still read, or the node would stand still.
                let _ = send.send(line);
            }
        });
        let log = || std::fs::read_to_string(self.home.join("node.log")).unwrap_or_default();
        loop {
            let line =
                receive.recv_timeout(START).map_err(|_| format!("csf up printed no address; it said\n{}", log()))?;
            let Some((_, rest)) = line.split_once("http://") else { continue };
            let host = rest.split('/').next().unwrap_or_default().to_owned();
            let address = host.parse().map_err(|e| format!("{host}: {e}"))?;
            let file = self.home.join("state/nodes").join(format!("{}.json", self.child.id()));
            let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            let value: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
            let token = value["token"].as_str().unwrap_or_default().to_owned();
            return Ok(Target { address, host, token });
        }
    }

    /// The node itself, with no proxy before it.
    pub(super) fn target(&self) -> Target {
        self.target.clone()
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<(), String> {
        kill_process(self.pid(), signal).map_err(|e| format!("the node cannot be signalled: {e}"))
    }

    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(super) fn kill(mut self) -> Result<(), String> {
        self.child.kill().map_err(|e| e.to_string())?;
        self.child.wait().map(|_| ()).map_err(|e| e.to_string())
    }

    /// An orderly stop; false when it took too long or ended with a failure.
    pub(super) fn stop(mut self) -> Result<bool, String> {
        self.signal(Signal::TERM)?;
        let start = now();
        while start.elapsed() < STOP {
            if let Some(status) = self.child.try_wait().map_err(|e| e.to_string())? {
                return Ok(status.success());
            }
            pause(Duration::from_millis(5));
        }
        Ok(false)
    }

    /// What the kernel says about the process.
    pub(super) fn vitals(&self) -> Vitals {
        let folder = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = std::fs::read_to_string(folder.join("status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        let files = std::fs::read_dir(folder.join("fd")).map_or(0, |files| files.count() as u64);
        Vitals { resident_kib: field("VmRSS:"), threads: field("Threads:"), files }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that the kernel ends when we end without having ended it, behind these words.
pub(super) fn mortal(before: &[&str], program: &Path) -> Command {
    let leash: &[&str] = if exec::has("setpriv") { &["setpriv", "--pdeathsig", "KILL"] } else { &[] };
    // Each of these becomes the next one: the process keeps its id.
    let mut words = leash.iter().chain(before);
    let Some(first) = words.next() else { return Command::new(program) };
    let mut command = Command::new(first);
    command.args(words).arg(program);
    command
}

/// Looks every few milliseconds until it is so; the time it took, `None` when it was not so in time.
pub(super) fn until(limit: Duration, mut is_so: impl FnMut() -> bool) -> Option<Duration> {
    let start: Instant = now();
    loop {
        if is_so() {
            return Some(start.elapsed());
        }
        if start.elapsed() > limit {
            return None;
        }
        pause(Duration::from_millis(2));
    }
}
