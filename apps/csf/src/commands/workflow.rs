//! `csf workflow`: the runs of a node, what happened to them, and what they are told.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::follow::clock_time;
use super::{Outcome, json_argument, print_json};
use crate::cli::{
    WorkflowAction, WorkflowDiff, WorkflowEnd, WorkflowLs, WorkflowOne, WorkflowQuery, WorkflowReset, WorkflowSignal,
    WorkflowStart, WorkflowUpdate,
};
use crate::client::{Client, encode};
use crate::diagnostic::Failure;

pub(crate) fn run(action: &WorkflowAction) -> Outcome {
    match action {
        WorkflowAction::Ls(args) => ls(args),
        WorkflowAction::Show(args) => show(args),
        WorkflowAction::History(args) => history(args),
        WorkflowAction::Start(args) => start(args),
        WorkflowAction::Signal(args) => signal(args),
        WorkflowAction::Query(args) => query(args),
        WorkflowAction::Update(args) => update(args),
        WorkflowAction::Cancel(args) => end(args, "cancel", "was asked to end"),
        WorkflowAction::Terminate(args) => end(args, "terminate", "was ended"),
        WorkflowAction::Reset(args) => reset(args),
        WorkflowAction::Diff(args) => diff(args),
    }
}

fn path(id: &str, rest: &str) -> String {
    format!("/api/v1/workflows/{}{rest}", encode(id))
}

/// The runs that fit, and the names of the workflows that the node has.
fn runs(
    client: &Client,
    status: Option<&str>,
    workflow: Option<&str>,
    conditions: &[String],
    limit: usize,
) -> Result<Value, Failure> {
    let conditions = conditions.join("\n");
    let conditions = Some(conditions.as_str()).filter(|conditions| !conditions.is_empty());
    let words = [("status", status), ("workflow", workflow), ("where", conditions)];
    let words = words.into_iter().filter_map(|(key, word)| Some(format!("&{key}={}", encode(word?))));
    client.get(&format!("/api/v1/workflows?limit={limit}{}", words.collect::<String>()))
}

fn ls(args: &WorkflowLs) -> Outcome {
    let client = Client::connect(args.remote.node.as_deref())?;
    let answer = runs(&client, args.status.as_deref(), args.workflow.as_deref(), &args.conditions, args.limit)?;
    if args.remote.json {
        return print_json(&answer["runs"]);
    }
    let runs = answer["runs"].as_array().map_or(&[][..], Vec::as_slice);
    if runs.is_empty() {
        let known: Vec<&str> = answer["workflows"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        println!("no run fits; `csf workflow start` starts one of {}", known.join(", "));
    }
    runs.iter().for_each(|run| println!("{}", line(run)));
    let left = answer["total"].as_u64().unwrap_or(0).saturating_sub(runs.len() as u64);
    if left > 0 {
        eprintln!("{left} more; -n shows them");
    }
    Ok(ExitCode::SUCCESS)
}

/// A run in one line.
fn line(run: &Value) -> String {
    let text = |key: &str| run[key].as_str().unwrap_or("?");
    let number = run["run"].as_u64().filter(|run| *run > 0).map_or_else(String::new, |run| format!(" (run {run})"));
    let ended = run["ended_at"].as_str().map_or_else(String::new, |at| format!(", ended {}", clock_time(at)));
    let detail = match text("status") {
        "blocked" => format!("  {}", text("reason")),
        "completed" => format!("  {}", run["result"]),
        "failed" => format!("  {}", run["failure"]["message"].as_str().unwrap_or("?")),
        _ => String::new(),
    };
    let (id, workflow, status, started) =
        (text("id"), text("workflow"), text("status"), clock_time(text("started_at")));
    format!("{status:<9} {id}{number}  {workflow}  started {started}{ended}{detail}")
}

fn show(args: &WorkflowOne) -> Outcome {
    let client = Client::connect(args.remote.node.as_deref())?;
    let run = client.get(&path(&args.id, ""))?;
    if args.remote.json {
        return print_json(&run);
    }
    println!("{}", line(&run));
    Ok(ExitCode::SUCCESS)
}

fn history(args: &WorkflowOne) -> Outcome {
    let client = Client::connect(args.remote.node.as_deref())?;
    let history = client.get(&path(&args.id, "/history"))?;
    if args.remote.json {
        return print_json(&history["entries"]);
    }
    for entry in history["entries"].as_array().into_iter().flatten() {
        let text = |key: &str| entry[key].as_str().unwrap_or("?");
        println!("{:>5}  {}  {:<18} {}", entry["version"], clock_time(text("stamp")), text("type"), detail(entry));
    }
    Ok(ExitCode::SUCCESS)
}

/// What an entry says beside its type.
fn detail(entry: &Value) -> String {
    let known = ["version", "position", "stamp", "type", "options"];
    let fields = entry.as_object().into_iter().flatten().filter(|(key, _)| !known.contains(&key.as_str()));
    fields.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

fn start(args: &WorkflowStart) -> Outcome {
    let input = json_argument("input", &args.input)?;
    let timeout_ms = args.timeout.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    let attributes: serde_json::Map<String, Value> = args.attribute.iter().cloned().collect();
    let body = json!({
        "workflow": args.workflow, "id": args.id, "input": input, "timeout_ms": timeout_ms, "request": args.request,
        "attributes": attributes,
    });
    let client = Client::connect(args.remote.node.as_deref())?;
    let answer = client.post("/api/v1/workflows", &body)?;
    if args.remote.json {
        return print_json(&answer);
    }
    println!("`{}` has begun; `csf workflow show {0}` tells how it is", args.id);
    Ok(ExitCode::SUCCESS)
}

fn signal(args: &WorkflowSignal) -> Outcome {
    let payload = json_argument("payload", &args.payload)?;
    let body = json!({ "name": args.name, "payload": payload, "request": args.request });
    let client = Client::connect(args.remote.node.as_deref())?;
    let run = client.post(&path(&args.id, "/signal"), &body)?;
    if args.remote.json {
        return print_json(&run);
    }
    println!("`{}` has been told `{}`", args.id, args.name);
    Ok(ExitCode::SUCCESS)
}

fn query(args: &WorkflowQuery) -> Outcome {
    let body = json!({ "name": args.name, "input": json_argument("input", &args.input)? });
    let client = Client::connect(args.remote.node.as_deref())?;
    print_json(&client.post(&path(&args.id, "/query"), &body)?["answer"])
}

fn update(args: &WorkflowUpdate) -> Outcome {
    let wait_ms = u64::try_from(args.wait.as_millis()).unwrap_or(u64::MAX);
    let input = json_argument("input", &args.input)?;
    let body = json!({ "name": args.name, "input": input, "request": args.request, "wait_ms": wait_ms });
    let client = Client::connect(args.remote.node.as_deref())?;
    let answer = client.post(&path(&args.id, "/update"), &body)?;
    if args.remote.json {
        return print_json(&answer);
    }
    if answer.get("answer").is_none() {
        let request = answer["request"].as_str().unwrap_or("?");
        eprintln!("`{}` has not answered yet; ask again with --request {request}", args.id);
        return Ok(ExitCode::FAILURE);
    }
    print_json(&answer["answer"])
}

fn end(args: &WorkflowEnd, how: &str, told: &str) -> Outcome {
    let client = Client::connect(args.remote.node.as_deref())?;
    let run = client.post(&path(&args.id, &format!("/{how}")), &json!({ "reason": args.reason }))?;
    if args.remote.json {
        return print_json(&run);
    }
    println!("`{}` {told}; it is {} now", args.id, run["status"].as_str().unwrap_or("?"));
    Ok(ExitCode::SUCCESS)
}

fn reset(args: &WorkflowReset) -> Outcome {
    let client = Client::connect(args.remote.node.as_deref())?;
    let run = client.post(&path(&args.id, "/reset"), &json!({ "to": args.to, "reason": args.reason }))?;
    if args.remote.json {
        return print_json(&run);
    }
    println!("`{}` goes on from entry {} as run {}", args.id, args.to, run["run"]);
    Ok(ExitCode::SUCCESS)
}

/// Ends with 1 when a history and the code part, so that it can stand before a deployment.
fn diff(args: &WorkflowDiff) -> Outcome {
    let client = Client::connect(args.remote.node.as_deref())?;
    let ids = if args.ids.is_empty() {
        let answer = runs(&client, args.status.as_deref(), args.workflow.as_deref(), &[], args.limit)?;
        let runs = answer["runs"].as_array().into_iter().flatten();
        runs.filter_map(|run| run["id"].as_str().map(str::to_owned)).collect()
    } else {
        args.ids.clone()
    };
    let mut parted = 0;
    let mut answers = Vec::new();
    for id in &ids {
        let answer = client.get(&path(id, "/diff"))?;
        let fits = answer["fits"] == true;
        parted += u32::from(!fits);
        if !fits && !args.remote.json {
            let text = |key: &str| answer[key].as_str().unwrap_or("?");
            println!("{id}: entry {} is {}, the code decides {}", answer["entry"], text("expected"), text("got"));
        }
        answers.push(answer);
    }
    if args.remote.json {
        print_json(&answers)?;
    } else {
        println!("{} histories replayed, {parted} part from the code", ids.len());
    }
    Ok(ExitCode::from(u8::from(parted > 0)))
}
