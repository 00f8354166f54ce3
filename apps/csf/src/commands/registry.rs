//! `csf registry`: who can do what on a running node, how well, and how they do.

use std::process::ExitCode;

use serde_json::Value;

use super::{Outcome, nanos, print_json};
use crate::cli::{RegistryAction, RegistryLs};
use crate::client::{Client, encode};

pub(crate) fn run(action: &RegistryAction) -> Outcome {
    match action {
        RegistryAction::Ls(args) => ls(args),
    }
}

/// An empty list is an answer too: nobody offers that now.
fn ls(args: &RegistryLs) -> Outcome {
    let client = Client::connect(args.remote.node.as_deref())?;
    let wanted = args.capability.as_ref().map_or_else(String::new, |name| format!("?capability={}", encode(name)));
    let services = client.get(&format!("/api/v1/registry{wanted}"))?["services"].take();
    if args.remote.json {
        return print_json(&services);
    }
    let services = services.as_array().map_or(&[][..], Vec::as_slice);
    if services.is_empty() {
        match &args.capability {
            Some(name) => println!("nobody offers `{name}` now"),
            None => println!("nobody is registered; `offers = [\"…\"]` at a service or component registers it"),
        }
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{:<16} {:<10} {:>11} {:>10} {:>10} {:>8}  offers",
        "name", "standing", "in flight", "latency", "clock", "lease"
    );
    for service in services {
        let word = |key: &str| service[key].as_str().unwrap_or("?");
        let promised = |key: &str| service[key].as_u64().map_or_else(|| "-".to_owned(), nanos);
        let operations: Vec<&str> =
            service["operations"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        println!(
            "{:<16} {:<10} {:>11} {:>10} {:>10} {:>8}  {}",
            word("name"),
            word("standing"),
            format!("{}/{}", service["in_flight"], service["capacity"]),
            promised("latency_ns"),
            promised("clock_error_ns"),
            format!("{:.1} s", service["lease_left_ms"].as_u64().unwrap_or(0) as f64 / 1e3),
            operations.join(", ")
        );
    }
    Ok(ExitCode::SUCCESS)
}
