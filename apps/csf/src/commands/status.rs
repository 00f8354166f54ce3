//! `csf status`: a running node in one screen.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Outcome, bytes, nanos, print_json};
use crate::cli::Remote;
use crate::client::Client;

/// Changes of health on the screen; the API has more.
const CHANGES_SHOWN: usize = 5;

pub(crate) fn run(args: &Remote) -> Outcome {
    let client = Client::connect(args.node.as_deref())?;
    let node = client.get("/api/v1/node")?;
    let health = client.get("/api/v1/health")?;
    let components = client.get("/api/v1/components")?;
    let paths = client.get("/api/v1/latencies")?;
    let changes = client.get("/api/v1/health/history")?["changes"].take();
    let guards = client.get("/api/v1/resilience")?["guards"].take();
    if args.json {
        return print_json(&json!({
            "node": node, "health": health, "components": components, "latencies": paths, "health_changes": changes, "guards": guards,
        }));
    }
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let uptime = node["uptime_ns"].as_str().and_then(|s| s.parse().ok()).unwrap_or(0);
    println!("{} at {}  {}  up {}", text(&node["name"]), client.address(), text(&node["state"]), nanos(uptime));
    println!("health {}  booted in {:.0} ms", text(&health["overall_status"]), node["boot_ms"].as_f64().unwrap_or(0.0));
    println!(
        "journal {}  {}  durable position {}",
        text(&node["journal"]["place"]),
        bytes(node["journal"]["bytes"].as_u64().unwrap_or(0)),
        node["journal"]["durable_position"]
    );
    println!(
        "\n{:<16} {:<20} {:<9} {:>10} {:>10} {:>10} {:>10}",
        "name", "type", "state", "rate/s", "queue", "p50", "p99"
    );
    for component in components.as_array().into_iter().flatten() {
        let latency = &component["latency_ns"];
        let shown = |key: &str| latency[key].as_u64().filter(|n| *n > 0).map_or_else(String::new, nanos);
        println!(
            "{:<16} {:<20} {:<9} {:>10.1} {:>10} {:>10} {:>10}",
            text(&component["name"]),
            text(&component["type"]),
            text(&component["state"]),
            component["rate_hz"].as_f64().unwrap_or(0.0),
            component["queue"],
            shown("p50"),
            shown("p99"),
        );
    }
    print_changes(changes.as_array().map_or(&[], Vec::as_slice), &node);
    Ok(ExitCode::SUCCESS)
}

/// The newest changes of health, with their age.
fn print_changes(changes: &[Value], node: &Value) {
    let number = |value: &Value| value.as_str().and_then(|s| s.parse::<u64>().ok()).unwrap_or(0);
    let now = number(&node["started_at"]) + number(&node["uptime_ns"]);
    let newest = &changes[changes.len().saturating_sub(CHANGES_SHOWN)..];
    if !newest.is_empty() {
        println!("\nhealth changes, newest last ({} of {} kept)", newest.len(), changes.len());
    }
    for change in newest {
        let word = |key: &str| change[key].as_str().unwrap_or("?");
        let age = nanos(now.saturating_sub(number(&change["at"])));
        println!("{:<16} {} → {}  {age} ago  {}", word("component"), word("from"), word("to"), word("message"));
    }
}
