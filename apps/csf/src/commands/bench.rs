//! `csf bench`: this machine measured, beside the peers the binary carries and the physical limits; and its budget (FAB-001, FAB-100).

use std::process::ExitCode;

use csf_runtime::requirement::{Judgement, PerformanceRequirements};
use serde_json::json;

use super::{Outcome, print_json};
use crate::bench::{self, Budget, Effort, Machine, Row};
use crate::cli::{Bench, BenchName, EnvironmentName};
use crate::diagnostic::Failure;

/// Rounds of a full run.
const ROUNDS: u32 = 5;
/// Share of a full round's work in a quick one.
const QUICK: f64 = 0.05;

const PEERS: &str =
    "peers here are what the binary carries; `cargo xtask bench bus` and `cargo xtask bench time` have the full list";

pub(crate) fn run(args: &Bench) -> Outcome {
    let experiments = match args.name {
        BenchName::Fabric => bench::fabric(),
    };
    if args.list {
        return list(args, &experiments);
    }
    let machine = Machine::here();
    // Before the minute that the measuring takes.
    let samples = args.samples.as_deref().map(|path| bench::Form::of(path).map(|form| (path, form)));
    let samples = samples.transpose().map_err(|text| Failure::new("CSF-0210", text))?;
    let budget =
        args.budget.as_deref().map(|path| Budget::read(path, &machine.identity)).transpose().map_err(unusable)?;
    if let Some(warning) = Machine::warning() {
        eprintln!("WARNING: {warning}");
    }
    if args.json {
        print_json(&machine.json())?;
    } else {
        eprintln!("{}", machine.text());
    }
    let (rounds, effort) = if args.quick { (1, Effort(QUICK)) } else { (ROUNDS, Effort(1.0)) };
    let mut rows: Vec<Row> = Vec::new();
    for experiment in &experiments {
        let finished = experiment.run(args.rounds.unwrap_or(rounds), effort);
        if args.json {
            finished.iter().try_for_each(|row| print_json(&row.json()).map(drop))?;
        }
        rows.extend(finished);
    }
    if !args.json {
        println!("{}\n{}\n{PEERS}", machine.text(), bench::table(&rows));
        if let Some(warning) = Machine::warning() {
            println!("WARNING: {warning}");
        }
    }
    if let Some((path, form)) = samples {
        form.write(path, &machine.json(), &rows).map_err(|text| Failure::new("CSF-0210", text))?;
    }
    if let Some(path) = &args.save_budget {
        Budget::of(machine.identity, &rows, args.tolerance)
            .write(path)
            .map_err(|text| Failure::new("CSF-0210", text))?;
    }
    let broken = args.env.map(|environment| required(args, environment, &rows)).transpose()?.unwrap_or_default();
    match budget.map(|budget| budget.regressions(&rows)) {
        Some(worse) if !worse.is_empty() => Err(Failure::new("CSF-0602", worse.join("\n       "))),
        _ if args.strict && !broken.is_empty() => Err(Failure::new("CSF-0603", broken.join("\n       "))),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Says how the bus keeps the environment's requirements; returns those that are broken, in words.
fn required(args: &Bench, environment: EnvironmentName, rows: &[Row]) -> Result<Vec<String>, Failure> {
    let requirements = match environment {
        EnvironmentName::Development => PerformanceRequirements::DEVELOPMENT,
        EnvironmentName::Staging => PerformanceRequirements::STAGING,
        EnvironmentName::Production => PerformanceRequirements::PRODUCTION,
    };
    let judgements = bench::judge(&requirements, rows);
    if args.json {
        judgements.iter().try_for_each(|judgement| print_json(&json!(judgement)).map(drop))?;
    } else {
        judgements.iter().for_each(|judgement| println!("{judgement}"));
    }
    Ok(judgements.iter().filter(|judgement| judgement.is_broken()).map(Judgement::to_string).collect())
}

fn unusable(text: String) -> Failure {
    Failure::new("CSF-0601", text)
}

fn list(args: &Bench, experiments: &[bench::Experiment]) -> Outcome {
    for spec in experiments.iter().flat_map(bench::Experiment::specs) {
        if args.json {
            print_json(&json!({ "id": spec.id, "what": spec.what }))?;
        } else {
            println!("{:<22} {}", spec.id, spec.what);
        }
    }
    Ok(ExitCode::SUCCESS)
}
