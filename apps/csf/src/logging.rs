//! The log, from the first line on (FRM-063).
//!
//! Until the node knows its configuration nobody knows how much is to be said, and where. Lines from before are kept, and handed to the
//! final sink with the first that come after. Invariant: every line that the final level lets through reaches the sink once, in order,
//! unless more than [`KEPT_MAX`] were kept; how many were lost then is a line too.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing::{Level, Metadata};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::cli::{Cli, Command};
use crate::diagnostic::{self, Failure};

/// Lines kept before the final sink is known; a start says a few dozen.
const KEPT_MAX: usize = 1_024;
/// What is kept while nobody knows the level: everything a person may want to read of a start.
const KEPT_LEVEL: &str = "info";

/// The process's log.
static LOG: BootstrapLogger = BootstrapLogger::new();
/// Changes the level.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();
/// Where the log goes in the end: a file, or stderr.
static FILE: OnceLock<PathBuf> = OnceLock::new();

/// Starts keeping lines; the very first thing a process does.
pub(crate) fn begin() {
    let filter = EnvFilter::try_from_env("CSF_LOG").unwrap_or_else(|_| EnvFilter::new(KEPT_LEVEL));
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(&LOG).with_target(false).with_ansi(diagnostic::colours());
    // Both are set once: a process begins once.
    let _ = FILTER.set(handle);
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    // A panic may be the last that is heard of this process; a thread that panics while it writes a line must not wait for itself.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if LOG.0.try_lock().is_ok() {
            hand_over();
        }
        print(panic);
    }));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), process = std::process::id(), "csf begins");
}

/// What the command line says of the log. `csf up` keeps lines until its node has its configuration; nobody else has a reason to wait.
pub(crate) fn configure(cli: &Cli) -> Result<(), Failure> {
    // What goes wrong in a simulation is meant to, and told by its trace.
    let is_simulation = matches!(cli.command, Command::Sim(_));
    let default = match (cli.verbose, is_simulation) {
        (true, _) => "info",
        (false, true) => "off",
        (false, false) => "warn",
    };
    let filter = EnvFilter::try_from_env("CSF_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    LOG.limit(filter.max_level_hint().unwrap_or(LevelFilter::TRACE));
    if let Some(handle) = FILTER.get() {
        // Without the subscriber there is nothing to filter.
        let _ = handle.reload(filter);
    }
    if let Some(file) = &cli.log_file {
        // Found out now, while it can still be said on stderr alone.
        open(file)?;
        let _ = FILE.set(file.clone());
    }
    if !matches!(cli.command, Command::Up(_)) {
        hand_over();
    }
    Ok(())
}

/// From now on the log goes to its final sink, first what was kept. Called again it does nothing.
pub(crate) fn hand_over() {
    let file = FILE.get().and_then(|file| open(file).ok());
    match file {
        Some(file) => LOG.hand_over(Box::new(file)),
        None => LOG.hand_over(Box::new(io::stderr())),
    }
}

fn open(file: &Path) -> Result<File, Failure> {
    let opened = OpenOptions::new().create(true).append(true).open(file);
    opened.map_err(|e| Failure::new("CSF-0220", format!("the log file {} cannot be written: {e}", file.display())))
}

/// Keeps lines until it is told where they go.
pub(crate) struct BootstrapLogger(Mutex<State>);

struct State {
    sink: Sink,
    /// Of kept lines only these are handed over; later ones are filtered before they come here.
    level: LevelFilter,
}

enum Sink {
    Kept { lines: Vec<(Level, Vec<u8>)>, lost: u64 },
    Final(Box<dyn Write + Send>),
}

impl BootstrapLogger {
    const fn new() -> Self {
        Self(Mutex::new(State { sink: Sink::Kept { lines: Vec::new(), lost: 0 }, level: LevelFilter::TRACE }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limit(&self, level: LevelFilter) {
        self.state().level = level;
    }

    fn hand_over(&self, mut sink: Box<dyn Write + Send>) {
        let mut state = self.state();
        let Sink::Kept { lines, lost } = &state.sink else { return };
        // A sink that takes nothing has nobody to tell.
        for (_, line) in lines.iter().filter(|(level, _)| state.level >= *level) {
            let _ = sink.write_all(line);
        }
        if *lost > 0 {
            let _ = writeln!(sink, "{lost} lines of the start were not kept; CSF_LOG says how much is said");
        }
        let _ = sink.flush();
        state.sink = Sink::Final(sink);
    }

    fn write(&self, level: Level, line: &[u8]) -> io::Result<()> {
        match &mut self.state().sink {
            Sink::Kept { lines, .. } if lines.len() < KEPT_MAX => lines.push((level, line.to_vec())),
            Sink::Kept { lost, .. } => *lost += 1,
            Sink::Final(sink) => return sink.write_all(line),
        }
        Ok(())
    }
}

/// Writes one event, which the formatter hands over as one line.
pub(crate) struct LineWriter<'a> {
    log: &'a BootstrapLogger,
    level: Level,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.log.write(self.level, line).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for &'static BootstrapLogger {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter { log: self, level: Level::INFO }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> LineWriter<'a> {
        LineWriter { log: self, level: *metadata.level() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Memory {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn lines_from_before_come_first_and_once_and_only_those_of_the_level() {
        let log = BootstrapLogger::new();
        log.write(Level::INFO, b"reading\n").unwrap();
        log.write(Level::WARN, b"old disk\n").unwrap();
        log.limit(LevelFilter::WARN);
        let (first, second) = (Memory::default(), Memory::default());
        log.hand_over(Box::new(first.clone()));
        log.write(Level::WARN, b"running\n").unwrap();
        log.hand_over(Box::new(second.clone()));
        log.write(Level::ERROR, b"gone\n").unwrap();
        assert_eq!((first.text().as_str(), second.text().as_str()), ("old disk\nrunning\ngone\n", ""));
    }

    #[test]
    fn more_than_can_be_kept_is_counted_and_said() {
        let log = BootstrapLogger::new();
        for _ in 0..KEPT_MAX + 7 {
            log.write(Level::INFO, b"line\n").unwrap();
        }
        let memory = Memory::default();
        log.hand_over(Box::new(memory.clone()));
        let text = memory.text();
        assert_eq!(text.matches("line\n").count(), KEPT_MAX);
        assert!(text.ends_with("7 lines of the start were not kept; CSF_LOG says how much is said\n"), "{text}");
    }
}
