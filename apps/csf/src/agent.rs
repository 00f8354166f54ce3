//! Agents that are programs: one process per task, its input on stdin, its output on stdout, both JSON.
//!
//! The same program serves as a worker of its own (`csf task work`) and, as the service type `task.command`, under the supervisors of a node.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use csf_core::port::Json;
use csf_runtime::{BoxFuture, Manifest, Options, Pack, Registrar, Service, ServiceContext, ServiceError};
use csf_workflow::task::{TaskError, TaskLease, TaskOutcome};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::watch;

use crate::workflows;

/// Longest output, and longest words about a failure, bytes. The API takes no more.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;
const WORDS_BYTES_MAX: usize = 1000;
/// The exit code by which a program says that its input is wrong and no try will mend it: `EX_DATAERR` of sysexits(3).
const WRONG_INPUT: i32 = 65;

/// Runs the program for a task. Dropped, it kills it.
///
/// # Errors
/// When the program cannot be started.
pub(crate) async fn run(program: &[String], lease: &TaskLease) -> std::io::Result<TaskOutcome> {
    let (name, arguments) = program.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(name);
    command.args(arguments).env("CSF_TASK_ID", &lease.id).env("CSF_TASK_KIND", &lease.kind);
    command.env("CSF_TASK_ATTEMPT", lease.attempt.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let input = async {
        if let Some(mut stdin) = stdin {
            // A program need not read its input.
            let _ = stdin.write_all(lease.input.as_str().as_bytes()).await;
        }
    };
    let read = async |pipe: Option<&mut (dyn tokio::io::AsyncRead + Unpin + Send)>| {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What was read counts; the exit code tells the rest.
            let _ = pipe.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut bytes).await;
        }
        bytes
    };
    let (mut stdout, mut stderr) = (stdout, stderr);
    let ((), output, words) = tokio::join!(
        input,
        read(stdout.as_mut().map(|pipe| pipe as &mut (dyn tokio::io::AsyncRead + Unpin + Send))),
        read(stderr.as_mut().map(|pipe| pipe as &mut (dyn tokio::io::AsyncRead + Unpin + Send))),
    );
    drop((stdout, stderr));
    let status = child.wait().await?;
    let words = String::from_utf8_lossy(&words);
    let words: String =
        words.trim().chars().rev().take(WORDS_BYTES_MAX).collect::<Vec<_>>().into_iter().rev().collect();
    let said = || {
        if words.is_empty() {
            format!("{name} ended with {status}")
        } else {
            format!("{name} ended with {status}: {words}")
        }
    };
    Ok(match status.code() {
        Some(0) if output.len() as u64 > OUTPUT_BYTES_MAX => TaskOutcome::Failed(format!(
            "{name} wrote more than {OUTPUT_BYTES_MAX} bytes; write a file and name it instead"
        )),
        Some(0) => TaskOutcome::Done(output_of(&output)),
        Some(WRONG_INPUT) => TaskOutcome::Failed(said()),
        _ => TaskOutcome::Retry(said()),
    })
}

/// JSON as it is, anything else as text.
fn output_of(bytes: &[u8]) -> Json {
    let text = String::from_utf8_lossy(bytes);
    let value = serde_json::from_str(text.trim());
    Json::from(value.unwrap_or_else(|_| serde_json::Value::String(text.trim().to_owned())))
}

/// The pack of tasks.
pub(crate) struct Tasks;

impl Pack for Tasks {
    fn manifest(&self) -> Manifest {
        Manifest { name: "task", doc: "Agents that do tasks" }
    }

    fn register(&self, registrar: &mut Registrar<'_>) {
        let doc = "runs a program for each task of its kinds: input on stdin, output on stdout, as JSON; exit code 65 says that the input is wrong";
        registrar.service::<CommandOptions, _>("command", doc, |options| CommandAgent(options.clone())).done();
    }
}

/// Options of `task.command`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandOptions {
    /// Kinds of task it takes, such as `["thumbnail"]`.
    kinds: Vec<String>,
    /// The program and its arguments, such as `["python3", "thumbnail.py"]`.
    command: Vec<String>,
}

impl Options for CommandOptions {
    fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.kinds.is_empty() || self.kinds.iter().any(String::is_empty) {
            problems.push("`kinds` names at least one kind of task, such as [\"thumbnail\"]".to_owned());
        }
        if self.command.first().is_none_or(String::is_empty) {
            problems.push(
                "`command` names a program and its arguments, such as [\"python3\", \"thumbnail.py\"]".to_owned(),
            );
        }
        problems
    }
}

struct CommandAgent(CommandOptions);

impl Service for CommandAgent {
    fn run(self: Box<Self>, mut cx: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        let CommandOptions { kinds, command } = self.0;
        Box::pin(async move {
            let open = workflows::open_ones();
            let desk = tokio::select! {
                biased;
                () = cx.stopping() => return Ok(()),
                desk = open.desk() => desk,
            };
            let (stop, is_busy) = (watch::Sender::new(false), Arc::new(AtomicBool::new(false)));
            let agent = cx.name().to_owned();
            let serving = desk.serve(&agent, &kinds, |task| {
                let (command, is_busy, mut stopped) = (command.clone(), is_busy.clone(), stop.subscribe());
                async move {
                    is_busy.store(true, Ordering::Relaxed);
                    let outcome = tokio::select! {
                        biased;
                        _ = stopped.wait_for(|is| *is) => TaskOutcome::Unable("the node stops".to_owned()),
                        ran = run(&command, &task.lease) => ran.unwrap_or_else(|error| {
                            TaskOutcome::Unable(format!("{} cannot be started: {error}", command[0]))
                        }),
                    };
                    is_busy.store(false, Ordering::Relaxed);
                    outcome
                }
            });
            tokio::pin!(serving);
            let ended = tokio::select! {
                biased;
                ended = &mut serving => ended,
                () = cx.stopping() => {
                    stop.send_replace(true);
                    // Its task is given back; who has none has nothing to give back.
                    if is_busy.load(Ordering::Relaxed) {
                        let _ = serving.await;
                    }
                    return Ok(());
                }
            };
            ended.map_err(|error: TaskError| ServiceError::Failed { code: "CSF-0305", message: error.to_string() })
        })
    }
}
