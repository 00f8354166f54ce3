//! `csf status`: a running node in one screen.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Outcome, bytes, nanos, print_json};
use crate::cli::Remote;
use crate::client::Client;

pub(crate) fn run(args: &Remote) -> Outcome {
    let client = Client::connect(args.node.as_deref())?;
    let node = client.get("/api/v1/node")?;
    let health = client.get("/api/v1/health")?;
    let components = client.get("/api/v1/components")?;
    let paths = client.get("/api/v1/latencies")?;
    if args.json {
        return print_json(&json!({ "node": node, "health": health, "components": components, "latencies": paths }));
    }
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let uptime = node["uptime_ns"].as_str().and_then(|s| s.parse().ok()).unwrap_or(0);
    println!("{} at {}  {}  up {}", text(&node["name"]), client.address(), text(&node["state"]), nanos(uptime));
    println!("health {}  booted in {:.0} ms", text(&health["overall_status"]), node["boot_ms"].as_f64().unwrap_or(0.0));
    println!(
        "journal {}  {}  durable position {}",
        text(&node["journal"]["directory"]),
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
    Ok(ExitCode::SUCCESS)
}
