//! SIGINT and SIGTERM, listened to from before anything is touched, so that none is lost.
//!
//! The first asks for an orderly stop, in the middle of a start too; the second stops waiting for what is under way; the third ends the
//! process. They are heard on a thread of their own: a busy node cannot delay them. Signals that arrive together count once (signal(7)).

use std::io::Write;

use csf_runtime::node::{Interrupt, Urgency};
use tokio::signal::unix::{SignalKind, signal};

use crate::diagnostic::Failure;

/// Exit code after the third signal, as a shell gives it to what SIGINT ended.
const KILLED: i32 = 130;

/// Tells people, if anybody still reads: a listener that panics here would hear nothing any more.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Installs the listeners; when this returns, no signal ends the process by itself any more.
pub(crate) fn listen() -> Result<Interrupt, Failure> {
    let refused = |e: std::io::Error| Failure::new("CSF-0209", format!("signals cannot be listened to: {e}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(refused)?;
    let (mut int, mut term) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt()).map_err(refused)?, signal(SignalKind::terminate()).map_err(refused)?)
    };
    let interrupt = Interrupt::default();
    let raised = interrupt.clone();
    let count = async move {
        loop {
            tokio::select! {
                Some(()) = int.recv() => {}
                Some(()) = term.recv() => {}
                else => return,
            }
            match raised.urgency() {
                Urgency::None => raised.raise(Urgency::Orderly),
                Urgency::Orderly => {
                    eprintln!(
                        "interrupted twice; not waiting for what is under way (what was acknowledged is durable)"
                    );
                    raised.raise(Urgency::Hasty);
                }
                Urgency::Hasty => {
                    say("interrupted three times; gone (the journal is what the last commit left)");
                    std::process::exit(KILLED);
                }
            }
        }
    };
    std::thread::Builder::new()
        .name("csf-signals".to_owned())
        .spawn(move || runtime.block_on(count))
        .map_err(refused)?;
    Ok(interrupt)
}
