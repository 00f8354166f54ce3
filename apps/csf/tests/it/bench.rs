//! `csf bench`: every row has its figures or a reason, and a budget judges the machine it was taken on.

use serde_json::{Value, json};

use crate::scratch::Scratch;
use crate::world::{failure, run, text};

/// Rows of FAB-001 and FAB-100 that are measured.
const MEASURED: [&str; 12] = [
    "latency.task",
    "latency.packet",
    "latency.pinned",
    "latency.free",
    "throughput.single",
    "throughput.batch",
    "memory.lane",
    "memory.packet",
    "cpu.peak",
    "clock.error",
    "clock.cost",
    "routing.match",
];
/// Rows that nothing in the binary serves.
const NOT_YET: [&str; 3] = ["memory.allocated", "scheduling.predictive", "cognitive.modules"];
/// What a machine may lack: two cores, a trusted counter, vector instructions, time enough for a million messages per second.
const MAY_LACK: [&str; 4] = ["latency.pinned", "clock.error", "routing.match", "cpu.peak"];

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"))).collect()
}

fn row<'a>(rows: &'a [Value], id: &str) -> &'a Value {
    rows.iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("no row {id}"))
}

fn reason(row: &Value) -> Option<&str> {
    let reason = row.get("unavailable")?.as_str().filter(|reason| reason.len() > 10);
    Some(reason.unwrap_or_else(|| panic!("no reason in {row}")))
}

#[test]
fn every_headline_goal_has_its_figures_or_a_reason() {
    let state = Scratch::new();
    let (json_file, csv_file) = (state.write("s.json", ""), state.write("s.csv", ""));
    let all = lines(&text(&state, &["bench", "fabric", "--quick", "--json", "--samples", &json_file]));
    let (machine, rows) = all.split_first().unwrap();
    assert_eq!(machine["id"], "machine");
    for field in ["cpu", "cores", "kernel", "load_average", "profile", "instructions", "version"] {
        assert!(!machine[field].is_null(), "{field} is missing in {machine}");
    }
    let is_debug = machine["profile"] == "debug";
    assert_eq!(machine["warning"].as_str().is_some_and(|w| w.contains("FIGURES MEAN NOTHING")), is_debug, "{machine}");
    assert_eq!(rows.len(), MEASURED.len() + NOT_YET.len());
    for id in NOT_YET {
        let row = row(rows, id);
        assert!(reason(row).is_some() && row.get("ours").is_none() && row.get("met").is_none(), "{row}");
    }
    let samples: Value = serde_json::from_slice(&std::fs::read(&json_file).unwrap()).unwrap();
    for id in MEASURED {
        let row = row(rows, id);
        if let Some(reason) = reason(row) {
            assert!(MAY_LACK.contains(&id) && row.get("ours").is_none() && row.get("met").is_none(), "{id}: {reason}");
            continue;
        }
        measured(row);
        let raw = samples["rows"].as_array().unwrap().iter().find(|raw| raw["id"] == id).unwrap();
        let first = &raw["sides"][0]["samples"];
        assert_eq!(first.as_array().unwrap().len() as u64, row["samples"].as_u64().unwrap(), "{id}: {raw}");
    }
    // Counting places finds copies where there are some.
    let memory = row(rows, "memory.lane");
    assert!(
        memory["ours"] == 4096.0 && memory["other_peers"]["std mpsc, by value"].as_f64() > Some(8192.0),
        "{memory}"
    );
    let csv = run(&state, &["bench", "--quick", "--samples", &csv_file]);
    assert!(csv.status.success() && String::from_utf8_lossy(&csv.stdout).contains("cargo xtask bench bus"));
    assert!(std::fs::read_to_string(csv_file).unwrap().starts_with("row,side,round,sample,value,unit\nlatency.task,"));
}

/// A measured row: its distribution is one, and verdict and ratios follow from its figures.
fn measured(row: &Value) {
    let number = |field: &str| row[field].as_f64().unwrap_or_else(|| panic!("{field} is no number in {row}"));
    let [min, p1, p50, p99, max] = ["min", "p1", "p50", "p99", "max"].map(number);
    assert!(min <= p1 && p1 <= p50 && p50 <= p99 && p99 <= max && min >= 0.0, "{row}");
    assert!(row["peer"].is_string() && row["floor_what"].is_string() && row["unit"].is_string(), "{row}");
    let (ours, theirs) = (number("ours"), number("theirs"));
    if theirs > 0.0 {
        // Four digits are printed.
        assert!((number("ratio") - ours / theirs).abs() <= 0.01 * number("ratio"), "{row}");
    }
    let Some(goal) = row["goal"].as_str() else { return };
    let judged = if goal.ends_with("of the peer") { number("ratio") } else { ours };
    let limit = goal.trim_start_matches(['<', '>', '=']).split(' ').next().unwrap().parse::<f64>().unwrap();
    let is_met = match goal.split(|c: char| c.is_ascii_digit()).next().unwrap() {
        "<" => judged < limit,
        ">" => judged > limit,
        "<=" => judged <= limit,
        other => panic!("{other} in {row}"),
    };
    assert_eq!(row["met"], is_met, "{row}");
}

/// FAB-101: a budget that nobody can miss passes; one that nobody can meet fails, and says where.
#[test]
fn a_regression_beyond_the_budget_fails_and_names_the_row() {
    let state = Scratch::new();
    let file = state.write("budget.json", "");
    text(&state, &["bench", "--quick", "--json", "--save-budget", &file, "--tolerance", "0.5"]);
    let saved: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(saved["rows"]["latency.task"]["tolerance"], 0.5);

    let with = |ours: f64, change: &dyn Fn(&mut Value)| {
        let task = json!({ "ours": ours, "unit": "ns", "is_more_better": false, "tolerance": 0.5 });
        let mut budget = json!({ "machine": saved["machine"], "rows": { "latency.task": task } });
        change(&mut budget);
        state.write("budget.json", budget.to_string())
    };
    let arguments = ["bench", "--quick", "--json", "--budget", &file];
    with(1e12, &|_| ());
    assert!(run(&state, &arguments).status.success());

    with(0.001, &|_| ());
    let output = run(&state, &arguments);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(lines(&String::from_utf8(output.stdout).unwrap()).len(), 1 + MEASURED.len() + NOT_YET.len());
    let told = String::from_utf8(output.stderr).unwrap();
    let said = "the budget has 0.0010 ns and allows at most 0.0015 (50 % worse)";
    assert!(told.contains("CSF-0602") && told.contains("latency.task is ") && told.contains(said), "{told}");

    with(1e12, &|budget| budget["machine"]["cores"] = json!(4_000));
    let refusal = failure(&state, &arguments);
    assert!(refusal.contains("CSF-0601") && refusal.contains("cores: 4000 there"), "{refusal}");
    with(1e12, &|budget| budget["rows"]["latency.task"]["tolerance"] = json!(-1));
    assert!(failure(&state, &arguments).contains("`tolerance` of latency.task is -1"));
    state.write("budget.json", "{}");
    assert!(failure(&state, &arguments).contains("is no budget"));
}

/// INT-086: whatever this machine reaches, the exit code follows the rulings, and only with `--strict`.
#[test]
fn a_broken_requirement_is_a_report_and_with_strict_a_failure() {
    let state = Scratch::new();
    let rulings = |stdout: &[u8]| -> Vec<Value> {
        let all = lines(std::str::from_utf8(stdout).unwrap());
        all.into_iter().filter(|line| line.get("ruling").is_some()).collect()
    };
    let lenient = run(&state, &["bench", "--quick", "--json", "--env", "production"]);
    assert!(lenient.status.success());
    let judged = rulings(&lenient.stdout);
    let asked: Vec<_> =
        judged.iter().map(|line| (line["requirement"].as_str().unwrap(), line["limit"].as_f64())).collect();
    assert_eq!(asked, [("max_latency_us", Some(1.0)), ("min_throughput_msg_per_sec", Some(1e6))]);
    for line in &judged {
        assert!(line["path"].as_str().unwrap().contains("latency.task, throughput.single"), "{line}");
        let (limit, value) = (line["limit"].as_f64().unwrap(), line["figure"]["measured"]["value"].as_f64().unwrap());
        let is_latency = line["requirement"] == "max_latency_us";
        let is_broken = if is_latency { value > limit } else { value < limit };
        assert_eq!(line["ruling"], if is_broken { "broken" } else { "kept" }, "{line}");
    }
    let strict = run(&state, &["bench", "--quick", "--json", "--env", "production", "--strict"]);
    let is_broken = rulings(&strict.stdout).iter().any(|line| line["ruling"] == "broken");
    assert_eq!(strict.status.code(), Some(i32::from(is_broken)));
    let told = String::from_utf8(strict.stderr).unwrap();
    assert_eq!(told.contains("CSF-0603"), is_broken, "{told}");
    assert!(!run(&state, &["bench", "--strict"]).status.success(), "strict about which environment?");
}

#[test]
fn what_can_be_measured_can_be_listed_and_a_wrong_file_is_refused_first() {
    let state = Scratch::new();
    let listed = text(&state, &["bench", "fabric", "--list"]);
    for id in MEASURED.iter().chain(&NOT_YET) {
        assert!(listed.lines().any(|line| line.starts_with(id)), "{id} is not in\n{listed}");
    }
    assert_eq!(lines(&text(&state, &["bench", "--list", "--json"])).len(), MEASURED.len() + NOT_YET.len());
    assert!(failure(&state, &["bench", "--samples", "samples.txt"]).contains(".json or .csv"));
    assert!(!run(&state, &["bench", "no-such-bench"]).status.success());
    assert!(!run(&state, &["bench", "--tolerance", "0.5"]).status.success(), "a tolerance is part of a budget");
}
