//! The binary under test, and nodes of it that live as long as a test.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::scratch::Scratch;

/// The release binary where the test command built one: debug builds are an order slower.
pub(crate) fn csf_path() -> PathBuf {
    std::env::var_os("CSF_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_csf")), PathBuf::from)
}

pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn recording() -> PathBuf {
    repository().join("data/px4_hover_fmu_v5.ulg")
}

/// `csf` with its state in this folder.
pub(crate) fn csf(state: &Scratch, arguments: &[&str]) -> Command {
    let mut command = Command::new(csf_path());
    command.args(arguments).env("CSF_STATE", state.path()).env_remove("CSF_NODE").current_dir(state.path());
    command
}

pub(crate) fn run(state: &Scratch, arguments: &[&str]) -> Output {
    csf(state, arguments).output().unwrap()
}

/// Standard output of a command that must succeed.
pub(crate) fn text(state: &Scratch, arguments: &[&str]) -> String {
    let output = run(state, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} ended with {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The one JSON document that a command prints.
pub(crate) fn json(state: &Scratch, arguments: &[&str]) -> Value {
    let text = text(state, arguments);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?} printed no JSON: {e}\n{text}"))
}

/// Standard error of a command that must fail, after a look that the page it names exists.
pub(crate) fn failure(state: &Scratch, arguments: &[&str]) -> String {
    let output = run(state, arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{arguments:?} succeeded");
    let code = stderr.split("error[").nth(1).and_then(|t| t.split(']').next()).unwrap_or_default().to_owned();
    let page = repository().join(format!("docs/errors/{code}.md"));
    assert!(page.exists(), "no page for `{code}` in\n{stderr}");
    stderr
}

/// A node that runs until it is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) address: String,
    pub(crate) login: String,
    rest: BufReader<std::process::ChildStdout>,
}

impl Running {
    /// The demo at full speed, once its summary is printed.
    pub(crate) fn demo(state: &Scratch) -> Self {
        let mut running = Self::up(state, &["up", "--demo", "--speed", "20", "--listen", "127.0.0.1:0"]);
        while !running.line().starts_with("prove it") {}
        running
    }

    /// A node, once it has printed the console's address.
    pub(crate) fn up(state: &Scratch, arguments: &[&str]) -> Self {
        let mut child = csf(state, arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let rest = BufReader::new(child.stdout.take().unwrap());
        let mut running = Self { child, address: String::new(), login: String::new(), rest };
        running.login = running.line().trim_start_matches("console").trim().to_owned();
        let after = running.login.strip_prefix("http://").expect("the console's address comes first");
        running.address = after.split('/').next().unwrap().to_owned();
        running
    }

    /// The next line it prints; panics when it ends instead.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.rest.read_line(&mut line).unwrap() > 0, "the node ended early");
        line.trim_end().to_owned()
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end; returns the exit code and what was printed since.
    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        self.rest.read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap().code(), text)
    }

    /// The node's token, from the file that only its user can read.
    pub(crate) fn token(&self, state: &Scratch) -> String {
        let file = state.join("nodes").join(format!("{}.json", self.child.id()));
        let node: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        node["token"].as_str().unwrap().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
