//! `csf task`: tasks for agents, and an agent that runs a program for each.

use std::process::ExitCode;
use std::time::Duration;

use csf_workflow::task::{TaskLease, TaskOutcome};
use serde_json::{Value, json};

use super::follow::clock_time;
use super::{Outcome, json_argument, print_json};
use crate::agent;
use crate::cli::{TaskAction, TaskCancel, TaskLs, TaskOne, TaskSubmit, TaskWork};
use crate::client::{Client, encode};
use crate::diagnostic::Failure;

/// Longest wait of one question for work.
const WAIT_MS: u64 = 20_000;
/// Pause after a node that does not answer.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) fn run(action: &TaskAction) -> Outcome {
    match action {
        TaskAction::Submit(args) => submit(args),
        TaskAction::Ls(args) => ls(args),
        TaskAction::Show(args) => show(args),
        TaskAction::Cancel(args) => cancel(args),
        TaskAction::Work(args) => work(args),
    }
}

fn path(id: &str, rest: &str) -> String {
    format!("/api/v1/tasks/{}{rest}", encode(id))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn submit(args: &TaskSubmit) -> Outcome {
    let body = json!({
        "id": args.id, "kind": args.kind, "input": json_argument("input", &args.input)?, "lease_ms": millis(args.lease),
        "attempts": args.attempts, "timeout_ms": args.timeout.map(millis), "priority": args.priority,
        "fairness_key": args.fairness_key, "fairness_weight": args.fairness_weight,
    });
    let client = Client::connect(args.remote.node.as_deref())?;
    let answer = client.post("/api/v1/tasks", &body)?;
    if args.remote.json {
        return print_json(&answer);
    }
    println!("{}", answer["id"].as_str().unwrap_or("?"));
    Ok(ExitCode::SUCCESS)
}

fn ls(args: &TaskLs) -> Outcome {
    let words = [("state", &args.state), ("kind", &args.kind)];
    let words = words.into_iter().filter_map(|(key, word)| Some(format!("&{key}={}", encode(word.as_deref()?))));
    let query: String = words.collect();
    let client = Client::connect(args.remote.node.as_deref())?;
    let tasks = client.get(&format!("/api/v1/tasks?limit={}{query}", args.limit))?["tasks"].take();
    if args.remote.json {
        return print_json(&tasks);
    }
    let tasks = tasks.as_array().map_or(&[][..], Vec::as_slice);
    if tasks.is_empty() {
        println!("no task fits");
    }
    tasks.iter().for_each(|task| println!("{}", line(task)));
    Ok(ExitCode::SUCCESS)
}

fn line(task: &Value) -> String {
    let text = |key: &str| task[key].as_str().unwrap_or("?");
    let agent = task["assigned_agent"].as_str().map_or_else(String::new, |agent| format!("  by {agent}"));
    let (state, id, kind, at) = (text("state"), text("id"), text("kind"), clock_time(text("submitted_at")));
    format!("{state:<9} {id}  {kind}  submitted {at}{agent}")
}

fn show(args: &TaskOne) -> Outcome {
    let client = Client::connect(args.remote.node.as_deref())?;
    let task = client.get(&path(&args.id, ""))?;
    if args.remote.json {
        return print_json(&task);
    }
    println!("{}", line(&task));
    println!("attempt {} of {}, lease {} ms", task["attempt"], task["attempts"], task["lease_ms"]);
    for key in ["progress", "last_failure"] {
        if !task[key].is_null() {
            println!("{}: {}", key.replace('_', " "), task[key]);
        }
    }
    match (&task["result"]["output"], task["result"]["error"].as_str()) {
        (_, Some(error)) => println!("not done: {error}"),
        (Value::Null, None) => {}
        (output, None) => println!("{}", serde_json::to_string_pretty(output).unwrap_or_default()),
    }
    Ok(ExitCode::SUCCESS)
}

fn cancel(args: &TaskCancel) -> Outcome {
    let client = Client::connect(args.remote.node.as_deref())?;
    let answer = client.post(&path(&args.id, "/cancel"), &json!({ "reason": args.reason }))?;
    if args.remote.json {
        return print_json(&answer);
    }
    println!("`{}` is not wanted any more", args.id);
    Ok(ExitCode::SUCCESS)
}

/// An agent. A node that is away is asked again until it is back; what was done meanwhile is handed in then, if the lease still holds.
fn work(args: &TaskWork) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let name = args.agent.clone().unwrap_or_else(|| format!("worker-{}", std::process::id()));
    // The first look is not patient: who mistypes an address should hear of it.
    Client::connect(args.remote.node.as_deref())?.get("/api/v1/tasks?limit=1")?;
    runtime.block_on(async {
        let mut left = args.count.unwrap_or(u64::MAX);
        while left > 0 {
            let ask = json!({ "agent": name, "kinds": args.kind, "max": 1, "wait_ms": WAIT_MS });
            let answer = match call(args, "/api/v1/tasks/poll".to_owned(), ask).await? {
                Called::Answer(answer) => answer,
                Called::Refused(failure) => return Err(failure),
                Called::Away => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            for lease in answer["tasks"].as_array().into_iter().flatten() {
                let lease = lease_of(lease)?;
                do_one(args, &lease).await?;
                left -= 1;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn lease_of(value: &Value) -> Result<TaskLease, Failure> {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let lease = || {
        Some(TaskLease {
            id: text("id")?,
            kind: text("kind")?,
            input: value["input"].clone().into(),
            token: text("token")?,
            attempt: u32::try_from(value["attempt"].as_u64()?).ok()?,
            lease_ms: value["lease_ms"].as_u64()?,
        })
    };
    lease().ok_or_else(|| Failure::new("CSF-0308", format!("the node answers with no task: {value}")))
}

/// What became of a call.
enum Called {
    Answer(Value),
    /// The node says no.
    Refused(Failure),
    /// The node does not answer, or cannot do it now.
    Away,
}

/// Calls the node that is there now: one that was started again has another address and token.
async fn call(args: &TaskWork, path: String, body: Value) -> Result<Called, Failure> {
    let node = args.remote.node.clone();
    let called = tokio::task::spawn_blocking(move || {
        let Ok(client) = Client::connect(node.as_deref()) else { return Ok(Called::Away) };
        match client.post_any(&path, &body) {
            Ok((status, answer)) if status.is_success() => Ok(Called::Answer(answer)),
            Ok((status, _)) if status.is_server_error() => Ok(Called::Away),
            Ok((_, answer)) => {
                let code = super::known_code(answer["error"]["code"].as_str().unwrap_or_default());
                let text = answer["error"]["message"].as_str().unwrap_or("it says no");
                Ok(Called::Refused(Failure::new(code, text)))
            }
            Err(_) => Ok(Called::Away),
        }
    });
    called.await.map_err(|e| Failure::new("CSF-0299", e.to_string()))?
}

/// Runs the program for a task, and hands in what came of it. A task that is lost meanwhile ends the program.
async fn do_one(args: &TaskWork, lease: &TaskLease) -> Result<(), Failure> {
    let TaskLease { id, token, lease_ms, .. } = lease;
    eprintln!("task {id}, attempt {}", lease.attempt);
    let beat = Duration::from_millis((lease_ms / 3).max(1));
    let beats = async {
        loop {
            tokio::time::sleep(beat).await;
            let beat = call(args, path(id, "/heartbeat"), json!({ "token": token })).await;
            if let Ok(Called::Refused(failure)) = beat {
                return failure;
            }
        }
    };
    let ran = tokio::select! {
        biased;
        ran = agent::run(&args.program, lease) => ran,
        lost = beats => {
            lost.print();
            return Ok(());
        }
    };
    let (end, body) = match &ran {
        Ok(TaskOutcome::Done(output)) => ("/complete", json!({ "token": token, "output": output })),
        Ok(TaskOutcome::Failed(reason)) => ("/fail", json!({ "token": token, "reason": reason, "is_final": true })),
        Ok(TaskOutcome::Retry(reason)) => ("/fail", json!({ "token": token, "reason": reason })),
        Ok(TaskOutcome::Unable(_)) | Err(_) => ("/release", json!({ "token": token })),
    };
    loop {
        match call(args, path(id, end), body.clone()).await? {
            Called::Away => tokio::time::sleep(PAUSE).await,
            Called::Answer(_) => break,
            Called::Refused(failure) => {
                failure.print();
                break;
            }
        }
    }
    match ran {
        Err(error) => Err(Failure::new("CSF-0104", format!("{} cannot be started: {error}", args.program[0]))),
        Ok(_) => Ok(()),
    }
}
