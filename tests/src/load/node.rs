//! A node to load: `csf up` as a process of its own, with a topic for its users and an agent for their tasks.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

use super::{TOPIC, Target};
use crate::TestError;
use crate::harness::Folder;
use crate::watchdog::Watchdog;

/// How long a node may take to print its address.
const START: Duration = Duration::from_secs(60);

/// A running node; killed when dropped, or when this process is.
pub struct NodeProcess {
    child: Child,
    target: Target,
    watchdog: Watchdog,
    /// Goes last.
    _folder: Folder,
}

impl NodeProcess {
    /// Starts `csf` with its journal in a folder of its own; `recording` is a flight, which brings the type of the topic. `more` goes to the
    /// end of its configuration.
    ///
    /// # Errors
    /// [`TestError::Server`] with what it said, [`TestError::Io`].
    pub fn start(csf: &Path, recording: &Path, more: &str) -> Result<Self, TestError> {
        allow_files();
        let folder = Folder::new()?;
        let home = folder.path();
        let configuration = format!(
            "[node]\nname = \"load\"\n\n\
             [source.flight]\ntype = \"avionics.flight\"\npath = \"{}\"\nduration_s = 0.001\nwrites = {{ land = \"{TOPIC}\" }}\n\n{more}",
            recording.display()
        );
        let file = home.join("csf.toml");
        std::fs::write(&file, configuration).map_err(TestError::io(file.display().to_string()))?;
        let log = std::fs::File::create(home.join("node.log")).map_err(TestError::io("node.log"))?;
        let mut command = Command::new(csf);
        command.args(["up", "--listen", "127.0.0.1:0", "--journal"]).arg(home.join("journal")).current_dir(home);
        command.env("CSF_STATE", home.join("state")).env_remove("CSF_NODE").env_remove("CSF_ENVIRONMENT");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut watchdog = Watchdog::start()?;
        let mut child = command.spawn().map_err(TestError::io(csf.display().to_string()))?;
        watchdog.ends(child.id(), "KILL")?;
        let announced = announced(&mut child, home);
        let target = announced.map_err(|reason| {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            let said = std::fs::read_to_string(home.join("node.log")).unwrap_or_default();
            TestError::Server { server: "csf", reason: format!("{reason}\n{said}") }
        })?;
        Ok(Self { child, target, watchdog, _folder: folder })
    }

    /// Where it is.
    #[must_use]
    pub fn target(&self) -> Target {
        self.target.clone()
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// [`TestError::Server`].
    pub fn get(&self, path: &str) -> Result<Value, TestError> {
        let answer = super::user::NodeUser::new(self.target(), 0).get(path);
        answer.map_err(|reason| TestError::Server { server: "csf", reason })
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.watchdog.spares(self.child.id());
    }
}

/// Waits for the address, then reads the token from the file that only the node's user can read.
fn announced(child: &mut Child, home: &Path) -> Result<Target, String> {
    let stdout = child.stdout.take().ok_or("no output")?;
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Nobody listens any more once the address is known; the pipe is still read, or the node would stand still.
            let _ = send.send(line);
        }
    });
    loop {
        let line = receive.recv_timeout(START).map_err(|_| "it printed no address")?;
        let Some((_, rest)) = line.split_once("http://") else { continue };
        let host = rest.split('/').next().unwrap_or_default().to_owned();
        let address = host.parse().map_err(|e| format!("{host}: {e}"))?;
        let file = home.join("state/nodes").join(format!("{}.json", child.id()));
        let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let node: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        return Ok(Target { address, host, token: node["token"].as_str().unwrap_or_default().to_owned() });
    }
}

/// As many connections as the machine allows, here and in what is started from here: each user has one.
fn allow_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, users say what they could not do.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
