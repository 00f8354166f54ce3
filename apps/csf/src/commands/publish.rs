//! `csf pub`: one packet onto a running node's bus.

use std::io::Read;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Outcome, print_json};
use crate::cli::Pub;
use crate::client::{Client, encode};
use crate::diagnostic::Failure;

/// Largest payload read from stdin; the API's own limit.
const MOST_BYTES: u64 = 1 << 20;

pub(crate) fn run(args: &Pub) -> Outcome {
    let text = match args.payload.as_str() {
        "-" => {
            let mut text = String::new();
            std::io::stdin().take(MOST_BYTES).read_to_string(&mut text)?;
            text
        }
        given => given.to_owned(),
    };
    let payload: Value =
        serde_json::from_str(&text).map_err(|e| Failure::new("CSF-0305", format!("the payload is not JSON: {e}")))?;
    let client = Client::connect(args.remote.node.as_deref())?;
    let body = json!({ "payload": payload, "durable": !args.no_wait, "dry_run": args.dry_run });
    let receipt = client.post(&format!("/api/v1/topics/{}", encode(&args.topic)), &body)?;
    if args.remote.json {
        return print_json(&receipt);
    }
    if args.dry_run {
        println!("the payload fits `{}`; nothing was published", args.topic);
        return Ok(ExitCode::SUCCESS);
    }
    let word = |key: &str| receipt[key].as_str().unwrap_or("?").to_owned();
    println!("{}  stamp {}  durability {}", word("id"), word("stamp"), word("durability"));
    eprintln!("see its causes and effects with `csf trace {}`", word("id"));
    Ok(ExitCode::SUCCESS)
}
