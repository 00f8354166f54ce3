//! Kills a node with -9 in mid flight, again and again on one journal, and counts what was lost.
//!
//! Acknowledged is what left the node: every packet a subscriber saw on the API. After each
//! kill the journal must hold all of them, and the flight must go on exactly where its recorded packets end.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Outcome;
use crate::exec;

/// Reads `--kills N --seed S --json --demo` and prints one object.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|a| a == name);
        at.and_then(|i| arguments.get(i + 1)?.parse().ok()).unwrap_or(default)
    };
    let (kills, seed) = (number("--kills", 5), number("--seed", 1));
    exec::build_csf()?;
    let folder = exec::target().join("crash");
    // Left over from an earlier run, or not there.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let journal = folder.join("journal");
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut acknowledged: BTreeSet<String> = BTreeSet::new();
    for kill in 1..=kills {
        // xorshift64 (Marsaglia, 2003): anything that repeats from its seed will do.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let life = Duration::from_millis(150 + random % 900);
        let seen = one_life(&folder, &journal, life)?;
        let lost = missing(&journal, &seen)?;
        if !arguments.iter().any(|a| a == "--json") {
            println!("kill {kill}: after {life:?}, {} acknowledged, {} lost", seen.len(), lost.len());
        }
        acknowledged.extend(seen);
    }
    let lost = missing(&journal, &acknowledged)?;
    let (continued, replay) = aftermath(&folder, &journal)?;
    let result = json!({
        "kills": kills, "seed": seed, "acknowledged": acknowledged.len(), "lost": lost.len(), "lost_ids": lost,
        "flight_packets": continued["got"], "flight_packets_expected": continued["expected"],
        "continued_exactly": continued["exact"], "replay_equal": replay,
    });
    println!("{result}");
    let is_fine = lost.is_empty() && continued["exact"] == json!(true) && replay == json!(true);
    if is_fine {
        Ok(())
    } else {
        Err("acknowledged packets were lost, or the flight did not go on where it was".to_owned())
    }
}

fn node(folder: &Path, journal: &Path, speed: &str) -> Command {
    let mut command = Command::new(exec::csf());
    command.args(["up", "--demo", "--speed", speed, "--listen", "127.0.0.1:0", "--journal"]).arg(journal);
    command.env("CSF_STATE", folder.join("state")).stdin(Stdio::null()).stderr(Stdio::inherit());
    command
}

/// One life of the node: subscribes to everything and publishes until the kill; returns the ids that left the node.
fn one_life(folder: &Path, journal: &Path, life: Duration) -> Result<BTreeSet<String>, String> {
    let mut node = node(folder, journal, "1").stdout(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
    let address = wait_for_address(&mut node)?;
    let client = |arguments: &[&str]| {
        let mut command = Command::new(exec::csf());
        command.args(arguments).args(["--json", "--node", &address]).env("CSF_STATE", folder.join("state"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().map_err(|e| e.to_string())
    };
    let mut subscriber = client(&["sub", ">"])?;
    let lines = subscriber.stdout.take().ok_or("no output of csf sub")?;
    let reader = std::thread::spawn(move || {
        let ids = BufReader::new(lines).lines().map_while(Result::ok);
        ids.filter_map(|line| Some(serde_json::from_str::<Value>(&line).ok()?["id"].as_str()?.to_owned()))
            .collect::<BTreeSet<String>>()
    });
    pause(life);
    node.kill().map_err(|e| e.to_string())?;
    node.wait().map_err(|e| e.to_string())?;
    subscriber.wait().map_err(|e| e.to_string())?;
    reader.join().map_err(|_| "the reader panicked".to_owned())
}

fn wait_for_address(node: &mut Child) -> Result<String, String> {
    let stdout = node.stdout.take().ok_or("no output of csf up")?;
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if let Some((_, rest)) = line.split_once("http://") {
            return Ok(rest.split('/').next().unwrap_or_default().to_owned());
        }
    }
    Err("csf up ended before it printed its address".to_owned())
}

fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "the node lives in real time until it is killed")]
    std::thread::sleep(time);
}

/// Ids that the journal does not hold.
fn missing(journal: &Path, ids: &BTreeSet<String>) -> Result<Vec<String>, String> {
    let mcap = journal.with_extension("ids.mcap");
    let held = held_ids(journal, &mcap)?;
    Ok(ids.difference(&held).cloned().collect())
}

/// Ids that the journal holds, by `csf export`.
pub(crate) fn held_ids(journal: &Path, mcap: &Path) -> Result<BTreeSet<String>, String> {
    let mut export = Command::new(exec::csf());
    export.args(["export", "--json", "--mcap"]).arg(mcap).arg(journal).stdin(Stdio::null());
    exec::output(&mut export)?;
    let bytes = std::fs::read(mcap).map_err(|e| e.to_string())?;
    // Every message carries `"_id":"1.2.3-4"`; the file is not compressed.
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.split("\"_id\":\"").skip(1).filter_map(|rest| rest.split('"').next().map(str::to_owned)).collect())
}

/// Lets the flight end undisturbed, then compares its recorded packets with a flight that was never killed.
fn aftermath(folder: &Path, journal: &Path) -> Result<(Value, Value), String> {
    let fly = |journal: &Path| exec::output(node(folder, journal, "max").arg("--json"));
    fly(journal)?;
    let untouched = folder.join("untouched");
    fly(&untouched)?;
    let count = |journal: &Path| -> Result<Value, String> {
        let mut counts = serde_json::Map::new();
        for topic in ["nav.imu", "nav.gnss", "nav.mag", "nav.baro"] {
            let mut export = Command::new(exec::csf());
            export.args(["export", "--json", "--topics", topic, "--mcap"]).arg(folder.join("count.mcap")).arg(journal);
            let text = exec::output(&mut export)?;
            let value: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
            counts.insert(topic.to_owned(), value["messages"].clone());
        }
        Ok(Value::Object(counts))
    };
    let (got, expected) = (count(journal)?, count(&untouched)?);
    let mut replay = Command::new(exec::csf());
    let text = exec::output(replay.args(["replay", "--json"]).arg(journal))?;
    let report: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let exact = got == expected;
    Ok((json!({ "got": got, "expected": expected, "exact": exact }), report["equal"].clone()))
}
