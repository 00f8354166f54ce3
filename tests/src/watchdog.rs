//! Ends the servers of a test process that was killed: nothing of that process runs any more that could.
//!
//! A shell reads a pipe that only this process holds open. When the pipe ends without a word, whoever held it is gone, and the shell
//! ends what it was told of. It is a process group of its own, so that Ctrl-C leaves it its work.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::TestError;

/// Reads `SIGNAL PROCESS` or `spare PROCESS` per line; `off` means that all have ended in order.
const SCRIPT: &str = r#"
trap "" INT HUP TERM
servers=""
spared=" "
while read -r signal process; do
    [ "$signal" = off ] && exit 0
    if [ "$signal" = spare ]; then spared="$spared$process "; else servers="$servers $signal:$process"; fi
done
for server in $servers; do
    case "$spared" in *" ${server#*:} "*) ;; *) kill -"${server%%:*}" "${server#*:}" 2>/dev/null ;; esac
done
"#;

/// The shell, and the pipe to it.
pub(crate) struct Watchdog {
    shell: Child,
    pipe: ChildStdin,
}

impl Watchdog {
    pub(crate) fn start() -> Result<Self, TestError> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT]).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut shell = command.spawn().map_err(TestError::io("sh"))?;
        let pipe = shell.stdin.take().expect("it was asked for");
        Ok(Self { shell, pipe })
    }

    /// Sends `signal` to the process when this one is gone.
    pub(crate) fn ends(&mut self, process_id: u32, signal: &str) -> Result<(), TestError> {
        writeln!(self.pipe, "{signal} {process_id}").map_err(TestError::io("the watchdog"))
    }

    /// The process has ended: its id may soon be another's.
    pub(crate) fn spares(&mut self, process_id: u32) -> Result<(), TestError> {
        writeln!(self.pipe, "spare {process_id}").map_err(TestError::io("the watchdog"))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // A shell that is gone has nothing to be told.
        let _ = writeln!(self.pipe, "off");
        let _ = self.shell.wait();
    }
}
