//! Reading the configuration of a running node again: on SIGHUP, on a changed file with `--watch`, and on `csf config reload`.

use std::sync::Arc;
use std::time::Duration;

use csf_runtime::Catalogue;
use csf_runtime::config::Problem;
use csf_runtime::node::{ConfigurationSource, Node, ReloadError};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::ConfigArgs;
use crate::diagnostic::{Failure, colours, render};
use crate::node;

/// Time between two looks at the files. A change counts when two looks in a row saw the same.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Reads the layers that a node was started with, once more.
pub(crate) fn source(args: &ConfigArgs, catalogue: &Arc<Catalogue>) -> ConfigurationSource {
    let (args, catalogue) = (args.clone(), catalogue.clone());
    Arc::new(move || {
        let read = || node::check(&node::load(&args)?, &catalogue);
        read().map_err(|failure| match failure {
            Failure::Config(problems) => problems,
            Failure::Other { code, message } => vec![Problem::new(code, message)],
            Failure::Interrupted { .. } => Vec::new(),
        })
    })
}

/// Reloads on SIGHUP, and on changed files where `watches`, until the node stops; `tells` people what happened.
pub(crate) fn attend(node: &Arc<Node>, args: &ConfigArgs, watches: bool, tells: bool) -> Result<(), Failure> {
    let refused = |e: std::io::Error| Failure::new("CSF-0209", format!("SIGHUP cannot be listened to: {e}"));
    let mut hangups = signal(SignalKind::hangup()).map_err(refused)?;
    let (node, args) = (node.clone(), args.clone());
    let mut stop = node.shutdown_signal();
    let mut watch = Watch { seen: node::layer_texts(&args), args, settling: None };
    tokio::spawn(async move {
        loop {
            let why = tokio::select! {
                biased;
                _ = stop.wait_for(Option::is_some) => return,
                Some(()) = hangups.recv() => "SIGHUP",
                () = watch.change(), if watches => "the file changed",
            };
            let outcome = node.reload().await;
            if tells {
                tell(why, &outcome);
            }
        }
    });
    Ok(())
}

fn tell(why: &str, outcome: &Result<csf_runtime::node::ReloadReport, ReloadError>) {
    match outcome {
        Ok(report) if report.plan.steps.is_empty() => eprintln!("{why}: nothing to change"),
        Ok(report) => eprint!("{why}: configuration {} in {:.0} ms\n{}", report.generation, report.ms, report.plan),
        Err(error) => {
            for problem in error.problems() {
                eprintln!("{}", render(problem, colours()));
            }
            Failure::new(error.code(), format!("{why}: {error}")).print();
        }
    }
}

/// The files' contents at the last look that counted, and at the last one that differed.
struct Watch {
    args: ConfigArgs,
    seen: Vec<String>,
    settling: Option<Vec<String>>,
}

impl Watch {
    /// Waits for a change. A file that is gone for a moment is an editor's way to write it. Cancel safe.
    async fn change(&mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = node::layer_texts(&self.args);
            if now == self.seen || now.is_empty() {
                self.settling = None;
            } else if self.settling.as_ref() == Some(&now) {
                self.seen = now;
                self.settling = None;
                return;
            } else {
                self.settling = Some(now);
            }
        }
    }
}
