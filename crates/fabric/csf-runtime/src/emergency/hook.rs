//! The panic hook: a panic that something will hear of is written down, any other begins the emergency stop.
//!
//! It takes no lock of the node, waits for nothing on a thread of an async runtime, and never panics itself.

use std::cell::Cell;
use std::io::Write;
use std::sync::Arc;

use super::{EmergencyReason, EmergencyShutdownHandler, lock};

/// Panics remembered.
const MOST: usize = 64;

thread_local! {
    /// Something above every panic of this thread hears of it.
    static IS_ISOLATED: Cell<bool> = const { Cell::new(false) };
}

/// Says that something hears of every panic on this thread and deals with it: tokio's workers do for tasks, a dispatcher for its
/// components. Panics here are recorded, and end nothing but what panicked.
pub fn isolate_thread() {
    IS_ISOLATED.with(|is_isolated| is_isolated.set(true));
}

/// A panic that a supervisor was left to deal with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicRecord {
    /// Name of its thread.
    pub thread: String,
    /// File, line and column.
    pub place: String,
    /// Its words.
    pub text: String,
}

/// A line on stderr, whoever reads it; a broken pipe is no reason not to stop.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Sets the hook. What was set before prints the panics that begin the stop.
pub(super) fn install(handler: Arc<EmergencyShutdownHandler>) {
    let print = std::panic::take_hook();
    let main = std::thread::current().id();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let record = PanicRecord {
            thread: thread.name().unwrap_or("unnamed").to_owned(),
            place: panic.location().map_or_else(|| "?".to_owned(), ToString::to_string),
            text: panic.payload_as_str().unwrap_or("(no text)").to_owned(),
        };
        let PanicRecord { thread: name, place, text } = &record;
        // Without thread-locals the thread is ending: whatever it was for, it is over.
        if IS_ISOLATED.try_with(Cell::get).unwrap_or(true) {
            say(&format!("panic on {name} at {place}, left to its supervisor: {text}"));
            let mut panics = lock(&handler.panics);
            if panics.len() < MOST {
                panics.push(record);
            }
            return;
        }
        print(panic);
        handler.emergency_shutdown(EmergencyReason::Panic(format!("on {name} at {place}: {text}")));
        if thread.id() == main {
            // Its unwinding would end the process before anything is saved.
            handler.hold();
        }
    }));
}

/// A panic came out of code on an isolated thread that only seemed to be under supervision: begins the stop, where one is installed.
pub(crate) fn escaped(what: &str, text: &str) {
    match EmergencyShutdownHandler::installed() {
        Some(handler) => handler.emergency_shutdown(EmergencyReason::Panic(format!("in {what}: {text}"))),
        None => tracing::error!(what, text, "panicked outside any supervision"),
    }
}
