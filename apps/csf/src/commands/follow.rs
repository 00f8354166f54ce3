//! `csf sub` and `csf tap`: packets of a running node as they become durable, last value first.

use std::process::ExitCode;

use serde_json::Value;

use super::{Outcome, nanos};
use crate::cli::Sub;
use crate::client::{Client, encode};

pub(crate) fn sub(args: &Sub, filter: Option<&str>) -> Outcome {
    let client = Client::connect(args.remote.node.as_deref())?;
    let mut path = format!("/api/v1/subscribe?topics={}", encode(&args.topics.join(",")));
    if let Some(filter) = filter {
        path += &format!("&where={}", encode(filter));
    }
    if let Some(rate) = args.max_hz {
        path += &format!("&max_hz={rate}");
    }
    let mut left = args.count.unwrap_or(u64::MAX);
    if left == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    client.events(&path, |name, data| {
        if name == "lagged" {
            eprintln!("too slow, packets were left out: {data}");
            return true;
        }
        if name != "packet" {
            return true;
        }
        if args.remote.json {
            println!("{data}");
        } else {
            print_packet(data);
        }
        left -= 1;
        left > 0
    })?;
    Ok(ExitCode::SUCCESS)
}

fn print_packet(data: &str) {
    let Ok(packet) = serde_json::from_str::<Value>(data) else { return println!("{data}") };
    let word = |key: &str| packet[key].as_str().unwrap_or("?");
    println!(
        "{} {:<14} {:<12} {}  {}",
        clock_time(word("stamp")),
        word("topic"),
        word("author"),
        word("id"),
        packet["payload"]
    );
}

/// Time of day in UTC with microseconds, from a stamp.
pub(crate) fn clock_time(stamp: &str) -> String {
    let Ok(ns) = stamp.parse::<u64>() else { return nanos(0) };
    let of_day = ns / 1_000 % 86_400_000_000;
    let seconds = of_day / 1_000_000;
    format!("{:02}:{:02}:{:02}.{:06}", seconds / 3600, seconds / 60 % 60, seconds % 60, of_day % 1_000_000)
}
