//! `csf config reload`: a running node reads its configuration again.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Outcome, print_json};
use crate::cli::ConfigReload;
use crate::client::Client;
use crate::diagnostic::Failure;

pub(crate) fn run(args: &ConfigReload) -> Outcome {
    let client = Client::connect(args.remote.node.as_deref())?;
    let (status, answer) = client.post_any("/api/v1/configuration/reload", &json!({ "dry_run": args.dry_run }))?;
    // As for every command: 2 for a configuration with problems, 1 for the rest.
    let has_problems = answer["error"]["problems"].as_array().is_some_and(|problems| !problems.is_empty());
    let code = match status.is_success() {
        true => ExitCode::SUCCESS,
        false if has_problems => ExitCode::from(2),
        false => ExitCode::FAILURE,
    };
    if args.remote.json {
        print_json(&answer)?;
        return Ok(code);
    }
    if !status.is_success() {
        refused(&answer).print();
        return Ok(code);
    }
    print!("{}", answer["text"].as_str().unwrap_or_default());
    if args.dry_run {
        eprintln!("nothing was changed; without --dry-run this is done");
    } else if let Some(ms) = answer["ms"].as_f64() {
        eprintln!("configuration {} in force after {ms:.0} ms", answer["generation"]);
    }
    Ok(ExitCode::SUCCESS)
}

fn refused(answer: &Value) -> Failure {
    let error = &answer["error"];
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for problem in error["problems"].as_array().into_iter().flatten() {
        let place = &problem["place"];
        let at = match place["line"].as_u64() {
            Some(line) => format!("{}:{line}:{}: ", word(&place["source"]), place["column"]),
            None => String::new(),
        };
        let more: Vec<String> =
            [&problem["label"], &problem["help"]].into_iter().map(word).filter(|text| !text.is_empty()).collect();
        let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join("; ")) };
        eprintln!("{at}[{}] {}{more}", word(&problem["code"]), word(&problem["message"]));
    }
    Failure::new(super::known_code(&word(&error["code"])), word(&error["message"]))
}
