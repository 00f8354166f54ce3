//! What goes wrong, and what is said then. Each error names its place and its page.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::scratch::Scratch;
use crate::world::{Running, failure, recording, run};

/// Flies a damaged recording without a person; returns what was printed, and what was said.
fn fly(state: &Scratch, file: &str) -> (Option<serde_json::Value>, String) {
    let output = run(state, &["up", "--demo", "--flight", file, "--speed", "100", "--json", "--listen", "127.0.0.1:0"]);
    assert!(!output.status.success(), "{file} flew as if it were whole");
    let summary = serde_json::from_slice(&output.stdout).ok();
    (summary, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_truncated_ulog_is_flown_to_its_end_and_the_byte_is_named() {
    let state = Scratch::new();
    let whole = std::fs::read(recording()).unwrap();
    let cut = whole.len() * 2 / 3;
    let (summary, stderr) = fly(&state, &state.write("cut.ulg", &whole[..cut]));
    assert!(stderr.contains("CSF-0402") && stderr.contains("byte"), "{stderr}");
    let byte: usize =
        stderr.split("byte ").nth(1).unwrap().split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    assert!(byte <= cut && byte + 70_000 > cut, "byte {byte} of {cut}");
    assert!(summary.unwrap()["samples"].as_u64().unwrap() > 1000, "what came before stays");
}

#[test]
fn a_corrupt_ulog_names_its_byte_or_is_refused() {
    let state = Scratch::new();
    let mut bytes = std::fs::read(recording()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xff);
    let (_, stderr) = fly(&state, &state.write("corrupt.ulg", &bytes));
    assert!(stderr.contains("CSF-0402") && stderr.contains("byte"), "{stderr}");
    let (_, stderr) = fly(&state, &state.write("empty.ulg", ""));
    assert!(stderr.contains("CSF-040"), "{stderr}");
    let (_, stderr) = fly(&state, &state.write("text.ulg", "this is no log"));
    assert!(stderr.contains("CSF-040"), "{stderr}");
    let (_, stderr) = fly(&state, "/nowhere/flight.ulg");
    assert!(stderr.contains("/nowhere/flight.ulg"), "{stderr}");
}

/// Packs text as the ANSFL files are packed, by the system's gzip.
fn gzip(text: &str) -> Vec<u8> {
    let mut child = Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    child.wait_with_output().unwrap().stdout
}

const TRUTH: &str = "time,North,East,Down\n0.0,0,0,0\n0.1,1,0,0\n0.2,2,0,0\n";
const IMU_HEAD: &str = "time,Euler_X,Euler_Y,Euler_Z,Acc_X,Acc_Y,Acc_Z,Gyr_X,Gyr_Y,Gyr_Z\n";

#[test]
fn a_damaged_table_names_its_line_and_a_missing_column_its_name() {
    let state = Scratch::new();
    let flight = state.write("bad_GT.csv.gz", gzip(TRUTH));
    state.write("bad_IMU_1.csv.gz", gzip(&format!("{IMU_HEAD}0.0,0,0,0,0,0,9.8,0,0,0\n0.01,0,0,zero,0,0,9.8,0,0,0\n")));
    let (_, stderr) = fly(&state, &flight);
    assert!(stderr.contains("CSF-0403") && stderr.contains("line 3"), "{stderr}");
    state.write("bad_IMU_1.csv.gz", gzip("time,Acc_X\n0.0,0\n"));
    let (_, stderr) = fly(&state, &flight);
    assert!(stderr.contains("CSF-0404") && stderr.contains("Acc_Y"), "{stderr}");
    let packed = gzip(&format!("{IMU_HEAD}{}", "0.0,0,0,0,0,0,9.8,0,0,0\n".repeat(500)));
    state.write("bad_IMU_1.csv.gz", &packed[..packed.len() / 2]);
    let (_, stderr) = fly(&state, &flight);
    assert!(stderr.contains("CSF-040"), "{stderr}");
    let alone = state.write("alone_GT.csv.gz", gzip(TRUTH));
    let (_, stderr) = fly(&state, &alone);
    assert!(stderr.contains("IMU"), "{stderr}");
}

#[test]
fn faulty_sensors_are_named_and_the_flight_goes_on() {
    let state = Scratch::new();
    let flight = state.write("faulty_GT.csv.gz", gzip(TRUTH));
    let mut rows = String::from(IMU_HEAD);
    for i in 0..400 {
        let (t, x) = (f64::from(i) * 0.01, f64::from(i % 7) * 0.01);
        let row = match i {
            50 => format!("{t},0,0,0,NaN,0,9.8,0,0,0\n"),
            60 => format!("0.1,0,0,0,{x},0,9.8,0,0,0\n"),
            // The accelerometer hangs.
            100..140 => format!("{t},0,0,0,0.5,0.5,9.8,1,1,1\n"),
            // The logger sleeps.
            200..260 => continue,
            _ => format!("{t},0,0,0,{x},0,9.8,0,{x},0\n"),
        };
        rows.push_str(&row);
    }
    state.write("faulty_IMU_1.csv.gz", gzip(&rows));
    let fly = ["up", "--demo", "--flight", &flight, "--speed", "100", "--for", "1s", "--listen", "127.0.0.1:0"];
    let output = run(&state, &fly);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for fault in ["1 samples are no numbers", "1 samples are older", "repeat the one before", "silent for up to 0.61 s"]
    {
        assert!(text.contains(fault), "{fault} is not in\n{text}");
    }
    assert!(text.contains("CSF-0405"));
}

#[test]
fn every_mistake_in_a_configuration_is_shown_at_once_with_its_line() {
    let state = Scratch::new();
    state.write(
        "csf.toml",
        "[service.machine]\ntype = \"host.telemetri\"\n\n[component.watch]\ntype = \"host.watch\"\nreads = [\"host.cpu\"]\n\n[nod]\nname = \"x\"\n",
    );
    let stderr = failure(&state, &["validate"]);
    for part in ["CSF-0105", "did you mean `host.telemetry`", "csf.toml:2", "CSF-0103", "did you mean `node`"] {
        assert!(stderr.contains(part), "{part} is not in\n{stderr}");
    }
}

#[test]
fn cycles_and_dangling_topics_are_refused_with_their_members() {
    let state = Scratch::new();
    let machine = "[service.machine]\ntype = \"host.telemetry\"\nwrites = { cpu = \"host.cpu\" }\n";
    state.write("csf.toml", format!("{machine}after = [\"watch\"]\n[component.watch]\ntype = \"host.watch\"\nreads = [\"host.cpu\"]\nafter = [\"machine\"]\n"));
    let stderr = failure(&state, &["validate"]);
    assert!(stderr.contains("CSF-0110") && stderr.contains("machine") && stderr.contains("watch"), "{stderr}");
    state.write("csf.toml", format!("{machine}[component.watch]\ntype = \"host.watch\"\nreads = [\"host.cpy\"]\n"));
    let stderr = failure(&state, &["validate"]);
    assert!(stderr.contains("CSF-0107") && stderr.contains("did you mean `host.cpu`"), "{stderr}");
}

#[test]
fn an_address_in_use_is_refused_before_anything_runs() {
    let state = Scratch::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let journal = state.join("journal").display().to_string();
    let stderr = failure(&state, &["up", "--demo", "--for", "1s", "--listen", &address, "--journal", &journal]);
    assert!(stderr.contains("CSF-0201") && stderr.contains(&address), "{stderr}");
    assert!(!state.join("journal/journal.db").exists());
    let open = failure(&state, &["up", "--demo", "--for", "1s", "--listen", "0.0.0.0:0"]);
    assert!(open.contains("CSF-0207"), "{open}");
}

#[test]
fn a_journal_that_cannot_be_written_or_is_taken_is_refused() {
    let state = Scratch::new();
    let file = state.write("file", "in the way");
    let below = format!("{file}/journal");
    let up = |journal: &str| {
        failure(&state, &["up", "--demo", "--for", "1s", "--listen", "127.0.0.1:0", "--journal", journal])
    };
    assert!(up(&below).contains("CSF-0202"));
    assert!(up("/proc/journal").contains("CSF-0202"));

    let journal = state.join("journal").display().to_string();
    let _first = Running::up(&state, &["up", "--demo", "--listen", "127.0.0.1:0", "--journal", &journal]);
    let taken = up(&journal);
    assert!(taken.contains("CSF-0203") && taken.contains(&journal), "{taken}");
}

#[test]
fn a_newer_or_broken_journal_is_refused_and_left_alone() {
    let state = Scratch::new();
    let folder = state.join("journal");
    std::fs::create_dir_all(&folder).unwrap();
    let garbage = "not a database".repeat(100);
    std::fs::write(folder.join("journal.db"), &garbage).unwrap();
    let journal = folder.display().to_string();
    let stderr = failure(&state, &["up", "--demo", "--for", "1s", "--listen", "127.0.0.1:0", "--journal", &journal]);
    assert!(stderr.contains("CSF-0206"), "{stderr}");
    assert_eq!(std::fs::read_to_string(folder.join("journal.db")).unwrap(), garbage);
}

#[test]
fn a_full_disk_stops_the_node_with_its_reason_and_loses_nothing_acknowledged() {
    let state = Scratch::new();
    let mount = state.join("small");
    std::fs::create_dir_all(&mount).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(&mount).output();
    if !mounted.is_ok_and(|o| o.status.success()) {
        println!("skipped: this user cannot mount a small file system");
        return;
    }
    let journal = mount.join("journal").display().to_string();
    let output = run(
        &state,
        &["up", "--demo", "--speed", "100", "--json", "--for", "5s", "--listen", "127.0.0.1:0", "--journal", &journal],
    );
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let replayed = run(&state, &["replay", &journal, "--json"]);
    assert!(Command::new("umount").arg("-l").arg(&mount).status().unwrap().success());
    assert!(!output.status.success() && stderr.contains("CSF-0205"), "{stderr}");
    let replay: serde_json::Value = serde_json::from_slice(&replayed.stdout).unwrap();
    assert_eq!(replay["equal"], true, "what is on the full disk is whole");
}

#[test]
fn one_interrupt_stops_in_order_and_prints_the_summary() {
    let state = Scratch::new();
    let mut node = Running::up(&state, &["up", "--demo", "--for", "60s", "--listen", "127.0.0.1:0"]);
    node.signal("-INT");
    let (code, printed) = node.end();
    assert_eq!(code, Some(0));
    assert!(printed.contains("csf replay"), "{printed}");
}

#[test]
fn further_interrupts_hasten_the_stop_and_the_third_ends_it() {
    let state = Scratch::new();
    let mut node = Running::demo(&state);
    // Signals that arrive together count once: they are sent until the process is gone.
    node.signal("-INT");
    let code = loop {
        if let Some(status) = node.child.try_wait().unwrap() {
            break status.code();
        }
        let _ = Command::new("kill").args(["-INT", &node.child.id().to_string()]).stderr(Stdio::null()).status();
    };
    assert!(code == Some(0) || code == Some(130), "{code:?}");
}
