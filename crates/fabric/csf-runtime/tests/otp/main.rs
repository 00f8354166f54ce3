//! Our supervisors beside Erlang/OTP's: the same scenarios, the same traces.
//!
//! `cargo xtask otp --scenarios N --seed S --json` prepares the oracle and runs this; alone it is skipped aloud.
#![expect(clippy::print_stdout, reason = "a program of its own, without the test harness")]

mod generate;
mod ours;
mod scenario;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use scenario::Scenario;

/// Runs on OTP's module as it is shipped, at the front of every run.
const UNMODIFIED: u64 = 50;

struct Options {
    scenarios: u64,
    seed: u64,
    only: Option<u64>,
    json: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options { scenarios: 500, seed: 1, only: None, json: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let text = arguments.next().ok_or(format!("{argument} needs a number"))?;
            text.parse::<u64>().map_err(|_| format!("{argument} needs a number, not `{text}`"))
        };
        match argument.as_str() {
            "--scenarios" => options.scenarios = number()?,
            "--seed" => options.seed = number()?,
            "--only" => options.only = Some(number()?),
            "--json" => options.json = true,
            // What `cargo test` passes to every test program.
            _ => {}
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let Some(oracle) = std::env::var_os("CSF_OTP").map(PathBuf::from) else {
        println!("skipped: no OTP oracle; `cargo xtask otp` prepares one and runs this");
        return ExitCode::SUCCESS;
    };
    // Starts that panic are part of the scenarios.
    std::panic::set_hook(Box::new(|_| {}));
    match options().and_then(|options| compare(&options, &oracle)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options, oracle: &Path) -> Result<bool, String> {
    let numbers = match options.only {
        Some(number) => number..=number,
        None => 1..=options.scenarios,
    };
    let scenarios: Vec<Scenario> =
        numbers.map(|n| generate::scenario(options.seed, n, n <= UNMODIFIED.min(options.scenarios / 2))).collect();
    let theirs = run_oracle(&scenarios, oracle)?;
    let mut different = 0;
    let mut first: Option<String> = None;
    let mut steps = 0;
    for scenario in &scenarios {
        let theirs = theirs.get(&scenario.number).ok_or(format!("the oracle lost scenario {}", scenario.number))?;
        let (theirs, ours) = (normalised(theirs.clone()), normalised(ours::run(scenario, options.seed)));
        steps += theirs.iter().filter(|line| line.starts_with("step")).count();
        if options.only.is_some() {
            println!("{scenario}\n{}\n", ours.join("\n"));
        }
        if theirs == ours {
            continue;
        }
        different += 1;
        first.get_or_insert_with(|| difference(options, scenario, &theirs, &ours));
    }
    let total = scenarios.len();
    if options.json {
        let row = serde_json::json!({
            "scenarios": total, "steps": steps, "unmodified": scenarios.iter().filter(|s| s.is_unmodified).count(),
            "seed": options.seed, "different": different, "first_difference": first,
        });
        println!("{row}");
    } else {
        println!("{total} scenarios, {steps} steps, {different} different");
        if let Some(first) = &first {
            println!("{first}");
        }
    }
    Ok(different == 0)
}

fn run_oracle(scenarios: &[Scenario], oracle: &Path) -> Result<BTreeMap<u64, Vec<String>>, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (input, output) = (folder.join("scenarios.txt"), folder.join("traces.txt"));
    let text: String = scenarios.iter().map(ToString::to_string).collect();
    std::fs::write(&input, text).map_err(|e| format!("{}: {e}", input.display()))?;
    let status = Command::new("erl")
        .args(["+S", "1", "-noshell", "-pa"])
        .arg(oracle)
        .args(["-run", "oracle", "main"])
        .args([&input, &output])
        .status()
        .map_err(|e| format!("erl: {e}"))?;
    if !status.success() {
        return Err(format!("the oracle ended with {status}"));
    }
    let text = std::fs::read_to_string(&output).map_err(|e| format!("{}: {e}", output.display()))?;
    let mut traces: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut current = Vec::new();
    let mut number = None;
    for line in text.lines().chain(["scenario 0"]) {
        if let Some(next) = line.strip_prefix("scenario ") {
            if let Some(number) = number {
                traces.insert(number, std::mem::take(&mut current));
            }
            number = Some(next.parse().map_err(|_| format!("not a scenario: {line}"))?);
        } else {
            current.push(line.to_owned());
        }
    }
    Ok(traces)
}

/// Alike children stop in no order: their lines are sorted within a run of them.
fn normalised(mut lines: Vec<String>) -> Vec<String> {
    let kind = |line: &str| {
        let is_dynamic = line.contains("dynamic");
        ["asked ", "report shutdown_failed "].iter().position(|prefix| is_dynamic && line.starts_with(prefix))
    };
    lines.chunk_by_mut(|a, b| kind(a).is_some() && kind(a) == kind(b)).for_each(<[String]>::sort);
    lines
}

fn difference(options: &Options, scenario: &Scenario, theirs: &[String], ours: &[String]) -> String {
    let at = theirs.iter().zip(ours).take_while(|(a, b)| a == b).count();
    let around = |lines: &[String]| {
        lines.iter().skip(at.saturating_sub(12)).take(20).map(|l| format!("    {l}")).collect::<Vec<_>>().join("\n")
    };
    format!(
        "scenario {n}, line {at}\n  OTP:\n{}\n  ours:\n{}\n  {scenario}repeat it with: cargo xtask otp --seed {} --only {n}",
        around(theirs),
        around(ours),
        options.seed,
        n = scenario.number,
    )
}
