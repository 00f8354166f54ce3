//! PostgreSQL as a private process.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::TestError;
use crate::harness::Folder;
use crate::servers::{TRIES, finish, free_address, postgresql_folder};
use crate::watchdog::Watchdog;

/// A PostgreSQL alone, in a folder that goes with it. User `csf`, no password.
pub struct PostgresServer {
    // The order of the fields is the order of their ends.
    server: PostgreSql,
    watchdog: Watchdog,
    _folder: Folder,
}

impl PostgresServer {
    /// Starts one. `options` are for the server, such as `-c fsync=off`.
    ///
    /// # Errors
    /// [`TestError::NotInstalled`], [`TestError::Server`], [`TestError::Io`].
    pub fn start(options: &str) -> Result<Self, TestError> {
        let missing = TestError::NotInstalled { program: "initdb", package: "postgresql" };
        let programs = postgresql_folder().ok_or(missing)?;
        let folder = Folder::new()?;
        let mut watchdog = Watchdog::start()?;
        let server = PostgreSql::start(&programs, &folder.path().join("postgresql"), options)?;
        watchdog.ends(server.process_id, "QUIT")?;
        Ok(Self { server, watchdog, _folder: folder })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Ends it as a crash would and starts it again, on the same port.
    ///
    /// # Errors
    /// [`TestError::Server`].
    pub fn crash_and_restart(&mut self) -> Result<(), TestError> {
        self.watchdog.spares(self.server.process_id)?;
        self.server.restart()?;
        self.watchdog.ends(self.server.process_id, "QUIT")
    }

    /// Kills its processes, all at once.
    ///
    /// # Errors
    /// [`TestError::Server`].
    pub fn kill(&mut self) -> Result<(), TestError> {
        self.watchdog.spares(self.server.process_id)?;
        self.server.kill()
    }

    /// Starts it again after [`Self::kill`], on the same port and what it has stored.
    ///
    /// # Errors
    /// [`TestError::Server`].
    pub fn start_again(&mut self) -> Result<(), TestError> {
        self.server.start_again()?;
        self.watchdog.ends(self.server.process_id, "QUIT")
    }
}

/// Starts of a server that was killed, until it is an error.
const STARTS: u32 = 50;

/// The processes of a server.
pub(crate) struct PostgreSql {
    pg_ctl: PathBuf,
    data: PathBuf,
    owner: Option<Owner>,
    /// For the server.
    options: String,
    pub(crate) address: SocketAddr,
    pub(crate) process_id: u32,
    pub(crate) version: String,
}

/// Who runs PostgreSQL, which refuses to run as root.
#[derive(Clone, Copy)]
struct Owner {
    user: u32,
    group: u32,
}

impl Owner {
    /// Debian's `postgres` when this is root; nobody else otherwise.
    fn find() -> Result<Option<Self>, TestError> {
        let id = |arguments: &[&str]| {
            let failed = |reason| TestError::Server { server: "PostgreSQL", reason };
            let text = finish(Command::new("id").args(arguments)).map_err(failed)?;
            text.trim().parse::<u32>().map_err(|e| failed(format!("`id` says {text}: {e}")))
        };
        if id(&["-u"])? != 0 {
            return Ok(None);
        }
        Ok(Some(Self { user: id(&["-u", "postgres"])?, group: id(&["-g", "postgres"])? }))
    }

    fn command(owner: Option<Self>, program: &Path, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(folder);
        if let Some(Self { user, group }) = owner {
            command.uid(user).gid(group);
        }
        command
    }
}

impl PostgreSql {
    pub(crate) fn start(programs: &Path, folder: &Path, more: &str) -> Result<Self, TestError> {
        let failed = |reason| TestError::Server { server: "PostgreSQL", reason };
        let owner = Owner::find()?;
        fs::create_dir_all(folder).map_err(TestError::io(folder.display().to_string()))?;
        if let Some(Owner { user, group }) = owner {
            std::os::unix::fs::chown(folder, Some(user), Some(group)).map_err(TestError::io("chown"))?;
        }
        let data = folder.join("data");
        let mut initdb = Owner::command(owner, &programs.join("initdb"), folder);
        initdb.args(["--username=csf", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"]);
        finish(initdb.arg(&data)).map_err(failed)?;
        let pg_ctl = programs.join("pg_ctl");
        let mut reason = String::new();
        for _ in 0..TRIES {
            let address = free_address()?;
            let options = format!(
                "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories='' {more}",
                address.port()
            );
            let status = pg_ctl_start(owner, &pg_ctl, &data, &options)?;
            if status.success() {
                let version = finish(Command::new(&pg_ctl).arg("--version")).map_err(failed)?;
                let version = version.split_whitespace().nth(2).unwrap_or_default();
                let process_id = process_of(&data)?;
                let version = format!("PostgreSQL {version}");
                return Ok(Self { pg_ctl, data, owner, options, address, process_id, version });
            }
            reason = fs::read_to_string(folder.join("log")).unwrap_or_else(|e| e.to_string());
        }
        Err(failed(reason))
    }

    /// SIGKILL to the first process and those it has started.
    fn kill(&self) -> Result<(), TestError> {
        let first = self.process_id;
        let file = format!("/proc/{first}/task/{first}/children");
        let others = fs::read_to_string(&file).map_err(TestError::io(file))?;
        let mut kill = Command::new("kill");
        kill.arg("-KILL").arg(first.to_string()).args(others.split_whitespace());
        // One of the others may have ended meanwhile; then `kill` complains, and the rest are dead.
        let _ = finish(&mut kill);
        Ok(())
    }

    /// The address stays. Processes that die give back what they share a moment later.
    fn start_again(&mut self) -> Result<(), TestError> {
        for _ in 0..STARTS {
            if pg_ctl_start(self.owner, &self.pg_ctl, &self.data, &self.options)?.success() {
                self.process_id = process_of(&self.data)?;
                return Ok(());
            }
        }
        let reason = fs::read_to_string(self.data.with_file_name("log")).unwrap_or_else(|e| e.to_string());
        Err(TestError::Server { server: "PostgreSQL", reason })
    }

    /// Immediate shutdown, as a crash: what was not written ahead is gone.
    fn restart(&mut self) -> Result<(), TestError> {
        let mut restart = Owner::command(self.owner, &self.pg_ctl, Path::new("/"));
        restart.args(["restart", "--silent", "--wait", "--timeout=60", "--mode=immediate", "--pgdata"]).arg(&self.data);
        restart.arg("--log").arg(self.data.with_file_name("log"));
        restart.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = restart.status().map_err(TestError::io("pg_ctl"))?;
        if !status.success() {
            let reason = fs::read_to_string(self.data.with_file_name("log")).unwrap_or_else(|e| e.to_string());
            return Err(TestError::Server { server: "PostgreSQL", reason });
        }
        self.process_id = process_of(&self.data)?;
        Ok(())
    }
}

fn pg_ctl_start(owner: Option<Owner>, pg_ctl: &Path, data: &Path, options: &str) -> Result<ExitStatus, TestError> {
    let mut start = Owner::command(owner, pg_ctl, Path::new("/"));
    start.args(["start", "--silent", "--wait", "--timeout=60", "--pgdata"]).arg(data);
    start.arg("--log").arg(data.with_file_name("log")).arg("--options").arg(options);
    // The server inherits these: it must not hold on to pipes of ours.
    start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    start.status().map_err(TestError::io("pg_ctl"))
}

/// The first line of `postmaster.pid`.
fn process_of(data: &Path) -> Result<u32, TestError> {
    let file = data.join("postmaster.pid");
    let text = fs::read_to_string(&file).map_err(TestError::io(file.display().to_string()))?;
    let first = text.lines().next().and_then(|line| line.trim().parse().ok());
    first.ok_or_else(|| TestError::Server { server: "PostgreSQL", reason: format!("{} says {text}", file.display()) })
}

impl Drop for PostgreSql {
    fn drop(&mut self) {
        let mut stop = Owner::command(self.owner, &self.pg_ctl, Path::new("/"));
        stop.args(["stop", "--silent", "--wait", "--mode=immediate", "--pgdata"]).arg(&self.data);
        // A server that cannot be stopped is found by the test that looks for what is left behind.
        let _ = finish(&mut stop);
    }
}
