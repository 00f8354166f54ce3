//! The emergency stop: a process that cannot go on ends within ten seconds, with an exit code that says why (FRM-084).
//!
//! Everything here runs on threads of its own: it needs no async runtime and blocks none. Invariant: once begun, the process exits
//! within the limit, whatever hangs or panics meanwhile. What was acknowledged is durable before any of this: a procedure only saves
//! what is better saved.

mod hook;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

pub(crate) use hook::escaped;
pub use hook::{PanicRecord, isolate_thread};

/// Longest time for all procedures together.
const LIMIT: Duration = Duration::from_secs(10);
/// Critical errors of one process that end it.
const THRESHOLD: u64 = 10;
/// Exit code when the emergency stop itself failed.
const FAILED: i32 = 1;

/// Why a process cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmergencyReason {
    /// A panic that no supervisor stands above.
    Panic(String),
    /// Critical errors reached their threshold.
    CriticalError(String),
    /// A limit of the machine was reached that the node cannot do without.
    ResourceExhaustion(String),
    /// Somebody is where nobody may be.
    SecurityBreach(String),
}

impl EmergencyReason {
    /// What the process ends with.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Panic(_) => 101,
            Self::CriticalError(_) => 102,
            Self::ResourceExhaustion(_) => 103,
            Self::SecurityBreach(_) => 104,
        }
    }

    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Panic(text) => ("panic", text),
            Self::CriticalError(text) => ("critical errors", text),
            Self::ResourceExhaustion(text) => ("resources exhausted", text),
            Self::SecurityBreach(text) => ("security breach", text),
        }
    }
}

impl std::fmt::Display for EmergencyReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, text) = self.parts();
        write!(f, "{kind}: {text}")
    }
}

/// An emergency stop that cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmergencyError {
    /// The thread that would do it cannot be had.
    #[error("the thread of the emergency stop cannot be started: {0}")]
    Thread(#[from] std::io::Error),
    /// One per process.
    #[error("another emergency stop is installed in this process already")]
    Installed,
}

/// Something to save before the process ends. Runs on a thread of its own, beside the others.
pub trait EmergencyProcedure: Send + Sync {
    /// Shown name.
    fn name(&self) -> &str;

    /// Saves it; says what is the case then.
    ///
    /// # Errors
    /// In its own words; the others go on.
    fn execute(&self, reason: &EmergencyReason) -> Result<String, String>;
}

/// Ends the process; a test's is another.
type Exit = Box<dyn Fn(i32) + Send + Sync>;

/// The emergency stop of a process.
pub struct EmergencyShutdownHandler {
    procedures: Mutex<Vec<Arc<dyn EmergencyProcedure>>>,
    critical_error_count: AtomicU64,
    threshold: u64,
    limit: Duration,
    has_begun: AtomicBool,
    /// To the thread that waits for the emergency; it exists before there is one, because then there may be no threads to be had.
    begin: Mutex<mpsc::Sender<EmergencyReason>>,
    panics: Mutex<Vec<PanicRecord>>,
    exit: Exit,
}

static INSTALLED: OnceLock<Arc<EmergencyShutdownHandler>> = OnceLock::new();

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EmergencyShutdownHandler {
    /// Starts the thread that waits.
    fn start(threshold: u64, limit: Duration, exit: Exit) -> Result<Arc<Self>, EmergencyError> {
        let (begin, reasons) = mpsc::channel();
        let handler = Arc::new(Self {
            procedures: Mutex::default(),
            critical_error_count: AtomicU64::new(0),
            threshold,
            limit,
            has_begun: AtomicBool::new(false),
            begin: Mutex::new(begin),
            panics: Mutex::default(),
            exit,
        });
        let own = handler.clone();
        std::thread::Builder::new().name("csf-emergency".to_owned()).spawn(move || {
            isolate_thread();
            let Ok(reason) = reasons.recv() else { return };
            let ended = catch_unwind(AssertUnwindSafe(|| own.stop(&reason)));
            (own.exit)(ended.map_or(FAILED, |()| reason.exit_code()));
        })?;
        Ok(handler)
    }

    /// Makes the process's emergency stop and sets the panic hook: a panic on a thread that is not isolated begins it, one that a
    /// supervisor will hear of is only recorded.
    ///
    /// # Errors
    /// [`EmergencyError`].
    pub fn install() -> Result<Arc<Self>, EmergencyError> {
        let handler = Self::start(THRESHOLD, LIMIT, Box::new(|code| std::process::exit(code)))?;
        INSTALLED.set(handler.clone()).map_err(|_| EmergencyError::Installed)?;
        hook::install(handler.clone());
        Ok(handler)
    }

    /// The process's own, where there is one.
    #[must_use]
    pub fn installed() -> Option<&'static Arc<Self>> {
        INSTALLED.get()
    }

    /// Adds something to save.
    pub fn add_procedure(&self, procedure: Arc<dyn EmergencyProcedure>) {
        lock(&self.procedures).push(procedure);
    }

    /// Counts an error that the node should not see; the tenth ends the process.
    pub fn critical_error(&self, text: &str) {
        let count = self.critical_error_count.fetch_add(1, Ordering::AcqRel) + 1;
        tracing::error!(count, threshold = self.threshold, text, "critical error");
        if count >= self.threshold {
            self.emergency_shutdown(EmergencyReason::CriticalError(format!("{count} of them, the last: {text}")));
        }
    }

    /// Critical errors so far.
    #[must_use]
    pub fn critical_error_count(&self) -> u64 {
        self.critical_error_count.load(Ordering::Acquire)
    }

    /// Panics that supervisors were left to deal with, oldest first, 64 at most.
    #[must_use]
    pub fn recorded_panics(&self) -> Vec<PanicRecord> {
        lock(&self.panics).clone()
    }

    /// Begins the stop and returns at once; the process exits within ten seconds. The first reason counts.
    pub fn emergency_shutdown(&self, reason: EmergencyReason) {
        if !self.has_begun.swap(true, Ordering::AcqRel) {
            // The thread lives as long as the handler.
            let _ = lock(&self.begin).send(reason);
        }
    }

    /// Whether the process is ending.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Acquire)
    }

    /// Keeps this thread until the process has ended: for one whose return would end it sooner.
    pub fn hold(&self) -> ! {
        loop {
            std::thread::park();
        }
    }

    /// Runs every procedure on a thread of its own and waits for all of them, within the limit.
    fn stop(&self, reason: &EmergencyReason) {
        hook::say(&format!("emergency stop, {reason}"));
        let procedures = lock(&self.procedures).clone();
        let (answer, answers) = mpsc::channel();
        let mut waiting: Vec<String> = Vec::new();
        for (number, procedure) in procedures.iter().enumerate() {
            let (own, why, answer) = (procedure.clone(), reason.clone(), answer.clone());
            let run = move || {
                isolate_thread();
                let ended = catch_unwind(AssertUnwindSafe(|| own.execute(&why)));
                let ended =
                    ended.unwrap_or_else(|p| Err(format!("it panicked: {}", crate::exec::panic_text(p.as_ref()))));
                // Nobody listens any more after the limit.
                let _ = answer.send((number, ended));
            };
            waiting.push(procedure.name().to_owned());
            if let Err(error) = std::thread::Builder::new().name(format!("csf-emergency-{number}")).spawn(run) {
                // No thread is to be had: better late than never.
                hook::say(&format!("  {}: no thread for it: {error}", procedure.name()));
                waiting[number].clear();
            }
        }
        drop(answer);
        self.log_final_state(waiting, &answers);
    }

    /// Says how each procedure ended, and which did not.
    fn log_final_state(&self, mut waiting: Vec<String>, answers: &mpsc::Receiver<(usize, Result<String, String>)>) {
        #[expect(
            clippy::disallowed_methods,
            reason = "the process ends at this time, whatever its clocks and runtimes do"
        )]
        let begun = std::time::Instant::now();
        while waiting.iter().any(|name| !name.is_empty()) {
            match answers.recv_timeout(self.limit.saturating_sub(begun.elapsed())) {
                Ok((number, ended)) => {
                    let name = std::mem::take(&mut waiting[number]);
                    match ended {
                        Ok(state) => hook::say(&format!("  {name}: {state}")),
                        Err(reason) => hook::say(&format!("  {name}: failed: {reason}")),
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        for name in waiting.iter().filter(|name| !name.is_empty()) {
            hook::say(&format!("  {name}: not within {} s; left", self.limit.as_secs_f64()));
        }
        hook::say(&format!(
            "final state: {} critical errors, {} panics left to supervisors",
            self.critical_error_count(),
            lock(&self.panics).len()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does what its name says.
    struct Procedure(&'static str);

    impl EmergencyProcedure for Procedure {
        fn name(&self) -> &str {
            self.0
        }

        fn execute(&self, _reason: &EmergencyReason) -> Result<String, String> {
            match self.0 {
                "panics" => panic!("oh"),
                "fails" => Err("no".to_owned()),
                "hangs" => loop {
                    std::thread::park();
                },
                _ => Ok("saved".to_owned()),
            }
        }
    }

    fn handler(limit: Duration) -> (Arc<EmergencyShutdownHandler>, mpsc::Receiver<i32>) {
        let (exited, exits) = mpsc::channel();
        let exit = Box::new(move |code| exited.send(code).unwrap());
        (EmergencyShutdownHandler::start(3, limit, exit).unwrap(), exits)
    }

    #[test]
    fn whatever_the_procedures_do_the_process_ends_with_its_code() {
        let text = String::new;
        for (reason, code) in [
            (EmergencyReason::Panic(text()), 101),
            (EmergencyReason::CriticalError(text()), 102),
            (EmergencyReason::ResourceExhaustion(text()), 103),
            (EmergencyReason::SecurityBreach(text()), 104),
        ] {
            let (handler, exits) = handler(Duration::from_millis(20));
            for name in ["saves", "panics", "fails", "hangs"] {
                handler.add_procedure(Arc::new(Procedure(name)));
            }
            handler.emergency_shutdown(reason);
            assert_eq!(exits.recv().unwrap(), code);
        }
    }

    #[test]
    fn the_first_reason_counts() {
        let (handler, exits) = handler(LIMIT);
        handler.emergency_shutdown(EmergencyReason::SecurityBreach("first".to_owned()));
        handler.emergency_shutdown(EmergencyReason::Panic("second".to_owned()));
        assert_eq!(exits.recv().unwrap(), 104);
        assert!(exits.try_recv().is_err());
    }

    #[test]
    fn critical_errors_end_the_process_at_their_threshold_and_not_before() {
        let (handler, exits) = handler(LIMIT);
        handler.critical_error("one");
        handler.critical_error("two");
        assert!(!handler.has_begun());
        handler.critical_error("three");
        assert_eq!(exits.recv().unwrap(), 102);
    }

    #[test]
    fn a_stop_that_fails_itself_ends_with_one() {
        struct Nameless;
        impl EmergencyProcedure for Nameless {
            fn name(&self) -> &str {
                panic!("no name")
            }

            fn execute(&self, _reason: &EmergencyReason) -> Result<String, String> {
                Ok(String::new())
            }
        }
        let (handler, exits) = handler(LIMIT);
        handler.add_procedure(Arc::new(Nameless));
        handler.emergency_shutdown(EmergencyReason::Panic(String::new()));
        assert_eq!(exits.recv().unwrap(), FAILED);
    }

    #[test]
    fn it_can_be_begun_inside_an_async_runtime_without_blocking_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (handler, exits) = handler(LIMIT);
        runtime.block_on(async {
            handler.emergency_shutdown(EmergencyReason::ResourceExhaustion("no threads".to_owned()));
            // The runtime's only thread is still ours.
            tokio::spawn(async {}).await.unwrap();
        });
        assert_eq!(exits.recv().unwrap(), 103);
    }
}
