//! The main job, without a person: fly, judge, replay, ask why.

use serde_json::Value;

use crate::scratch::Scratch;
use crate::world::{csf_path, failure, json, run, text};

const PROMISED: [&str; 15] = [
    "flight",
    "samples",
    "packets",
    "position_error_rms_m",
    "position_error_max_m",
    "tilt_error_rms_deg",
    "reference",
    "nis_in_band_share",
    "latency_ns_p50",
    "latency_ns_p99",
    "journal_bytes",
    "speed_factor",
    "boot_ms",
    "peak_memory_bytes",
    "journal",
];

#[test]
fn the_demo_flies_within_its_goals_and_replays_bit_for_bit() {
    let state = Scratch::new();
    let journal = state.join("journal").display().to_string();
    let fly = ["up", "--demo", "--speed", "max", "--json", "--listen", "127.0.0.1:0", "--journal", &journal];
    let summary = json(&state, &fly);
    for field in PROMISED {
        assert!(!summary[field].is_null(), "`{field}` is missing in {summary}");
    }
    let number = |field: &str| summary[field].as_f64().unwrap();
    assert_eq!(
        (summary["flight"].as_str(), summary["reference"].as_str()),
        (Some("px4_hover_fmu_v5.ulg"), Some("ekf2"))
    );
    assert_eq!(number("samples"), 3627.0);
    assert!(number("position_error_rms_m") <= 0.25 && number("height_error_rms_m") <= 0.25);
    assert!(number("tilt_error_rms_deg") <= 1.0);
    assert!((number("reference_valid_until_s") - 10.6).abs() < 0.1);
    assert!(number("takeoff_difference_s").abs() <= 1.0 && number("landing_difference_s").abs() <= 1.0);
    assert!(number("held_fix_rms_m") > 0.0 && number("constant_velocity_rms_m") > 0.0);
    if !csf_path().display().to_string().contains("debug") {
        assert!(number("peak_memory_bytes") < 100e6);
    }

    let replay = json(&state, &["replay", &journal, "--json"]);
    assert_eq!(
        (&replay["equal"], &replay["report"]["first_difference"]),
        (&Value::Bool(true), &Value::Null),
        "{replay}"
    );
    assert_eq!(replay["report"]["equal"], replay["report"]["compared"]);
    assert!(replay["report"]["compared"].as_u64().unwrap() > 7000);

    let why = json(&state, &["why", "nav.state", "--journal", &journal, "--json"]);
    let causes: Vec<(&str, &str)> = why["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["relation"].as_str().unwrap(), c["packet"]["topic"].as_str().unwrap()))
        .collect();
    assert_eq!(causes[0], ("trigger", "nav.imu"));
    for sensor in ["nav.gnss", "nav.mag", "nav.baro"] {
        assert!(causes.iter().any(|c| c.1 == sensor), "{sensor} is behind no state: {causes:?}");
    }
    let stamp = |v: &Value| v["packet"]["stamp"].as_str().unwrap().parse::<u64>().unwrap();
    assert!(why["causes"].as_array().unwrap().iter().all(|c| stamp(c) < stamp(&why)));
    assert!(text(&state, &["trace", "nav.phase", "--journal", &journal]).contains("hops to here"));
    an_altered_input_is_found(&state, &journal);
}

/// Flips bits of recorded packets: replay must end at the damage, and name it.
fn an_altered_input_is_found(state: &Scratch, journal: &str) {
    let file = std::path::Path::new(journal).join("journal.db");
    let mut bytes = std::fs::read(&file).unwrap();
    // Blocks of packets fill the file behind its first pages; some of these bits are in unused space.
    bytes.iter_mut().skip(300_000).step_by(20_011).for_each(|byte| *byte ^= 1);
    std::fs::write(&file, bytes).unwrap();
    let output = run(state, &["replay", journal]);
    assert!(!output.status.success(), "an altered journal replayed as if it were whole");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("error[CSF-"), "{stderr}");
}

#[test]
fn an_ansfl_flight_is_judged_against_rtk_over_noise_seeds() {
    let state = Scratch::new();
    let flight = crate::world::repository().join("../shared/data/flight/ansfl_p4rtk_path1_GT.csv.gz");
    if !flight.exists() {
        println!("skipped: {} is not here", flight.display());
        return;
    }
    let flight = flight.display().to_string();
    let fly =
        ["up", "--demo", "--flight", &flight, "--seeds", "2", "--speed", "max", "--json", "--listen", "127.0.0.1:0"];
    let summary = json(&state, &fly);
    assert_eq!(summary["reference"], "rtk");
    let number = |field: &str| summary[field].as_f64().unwrap_or_else(|| panic!("`{field}` is missing in {summary}"));
    assert!(number("position_error_rms_m") < number("held_fix_rms_m"));
    assert!(number("position_error_rms_m") < number("constant_velocity_rms_m"));
    assert!(number("outage_10s_windows") > 0.0 && number("outage_10s_median_m") > number("position_error_rms_m"));
}

#[test]
fn a_run_can_end_by_itself_before_the_flight_does() {
    let state = Scratch::new();
    let summary = json(&state, &["up", "--demo", "--for", "1500ms", "--json", "--listen", "127.0.0.1:0"]);
    assert_eq!(summary["complete"], false);
    assert!(summary["samples"].as_u64().unwrap() < 3627);
}

#[test]
fn a_journal_is_continued_where_the_flight_stopped() {
    let state = Scratch::new();
    let journal = state.join("journal").display().to_string();
    let first = ["up", "--demo", "--for", "1s", "--json", "--listen", "127.0.0.1:0", "--journal", &journal];
    let before = json(&state, &first)["samples"].as_u64().unwrap();
    let second = ["up", "--demo", "--speed", "100", "--json", "--listen", "127.0.0.1:0", "--journal", &journal];
    let after = json(&state, &second)["samples"].as_u64().unwrap();
    assert!(before > 0);
    assert_eq!(before + after, 3627, "each sample is recorded once");
    let replay = json(&state, &["replay", &journal, "--json"]);
    assert_eq!(replay["equal"], true, "{replay}");
}

#[test]
fn no_journal_is_said_so() {
    let state = Scratch::new();
    let stderr = failure(&state, &["replay", &state.join("nothing").display().to_string()]);
    assert!(stderr.contains("nothing"), "{stderr}");
}
