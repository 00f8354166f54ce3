//! `csf sim`: a whole node in a simulated world, from one seed or from thousands.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::{Outcome, print_json};
use crate::cli::{Sim, Speed};
use crate::diagnostic::Failure;
use crate::sim::{Run, Scenario};
use crate::{demo, node, packs, sim};

/// Runs between two progress lines.
const PROGRESS_EVERY: u64 = 100;

pub(crate) fn run(args: &Sim) -> Outcome {
    csf_bus::prefer_symmetric_fences();
    let scenario = scenario(args)?;
    let seeds: Vec<u64> = match (args.seed, args.seeds) {
        (Some(seed), _) => vec![seed],
        (None, Some(count)) => (1..=count).collect(),
        (None, None) => vec![1],
    };
    #[expect(clippy::disallowed_methods, reason = "measures how much faster than real time the simulation is")]
    let begin = std::time::Instant::now();
    let runs = run_all(&scenario, &seeds, args);
    let wall_s = begin.elapsed().as_secs_f64();
    if args.trace {
        for run in &runs {
            run.trace.iter().for_each(|line| println!("{line}"));
            println!("digest {}", run.digest);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let virtual_s: f64 = runs.iter().map(|r| r.virtual_s).sum();
    let broken: Vec<&Run> = runs.iter().filter(|r| !r.violations.is_empty()).collect();
    let sum = |of: fn(&Run) -> u64| runs.iter().map(of).sum::<u64>();
    if args.config.json {
        print_json(&json!({
            "seeds": runs.len(), "broken": broken.len(), "virtual_s": virtual_s, "wall_s": wall_s,
            "speed_factor": virtual_s / wall_s, "steps": sum(|r| r.steps), "packets": sum(|r| r.packets),
            "acknowledged": sum(|r| r.acknowledged), "crashes": sum(|r| r.crashes), "torn_writes": sum(|r| r.torn),
            "lost_messages": sum(|r| r.lost_messages), "reloads": sum(|r| r.reloads), "refused_reloads": sum(|r| r.refused_reloads),
            "service_restarts": sum(|r| r.service_restarts),
            "first_broken": broken.first().map(|r| json!({ "seed": r.seed, "violations": r.violations, "repeat": repeat(args, r.seed) })),
            "run": (runs.len() == 1).then(|| &runs[0]),
        }))?;
    } else {
        println!(
            "{} seeds, {} steps, {} packets: {} acknowledged, {} crashes ({} in a write), {} messages lost, {} restarts of services, \
             {} reloads and {} refused",
            runs.len(),
            sum(|r| r.steps),
            sum(|r| r.packets),
            sum(|r| r.acknowledged),
            sum(|r| r.crashes),
            sum(|r| r.torn),
            sum(|r| r.lost_messages),
            sum(|r| r.service_restarts),
            sum(|r| r.reloads),
            sum(|r| r.refused_reloads),
        );
        println!("{virtual_s:.0} s of virtual time in {wall_s:.1} s: {:.0} times real time", virtual_s / wall_s);
        match broken.first() {
            None => {
                println!("everything held: acknowledged packets, causal order, sources, replay, budgets, no orphan")
            }
            Some(first) => {
                println!("\n{} of {} seeds broke something. Seed {}:", broken.len(), runs.len(), first.seed);
                first.violations.iter().for_each(|v| println!("  {v}"));
                println!("repeat it with: {}", repeat(args, first.seed));
            }
        }
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn scenario(args: &Sim) -> Result<Scenario, Failure> {
    let catalogue = packs::catalogue();
    let mut config = args.config.clone();
    config.demo |= config.config.is_none() && !std::path::Path::new("csf.toml").exists();
    if config.demo {
        let path = demo::recording(None)?;
        config.set.splice(0..0, demo::flight_pairs(&path, Speed::Times(1.0), 1.5, 1, 0.0));
    }
    let item = node::load(&config)?;
    let topology = node::check(&item, &catalogue)?.simulated().map_err(Failure::Config)?;
    let (span, faults) = (args.span, args.faults.clone());
    let scenario = Scenario { topology, catalogue, span, faults, plant: args.plant, measurements: Arc::default() };
    Ok(scenario.with_measurements())
}

/// All seeds on all cores, in order.
fn run_all(scenario: &Scenario, seeds: &[u64], args: &Sim) -> Vec<Run> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(seeds.len());
    let (next, done, broken) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let is_talking = seeds.len() > 1 && !args.config.json;
    let work = || {
        let mut runs = Vec::new();
        while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            let run = sim::run(scenario, seed);
            let broken = broken.fetch_add(u64::from(!run.violations.is_empty()), Ordering::Relaxed);
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if is_talking && done % PROGRESS_EVERY == 0 {
                eprintln!("{done} of {} seeds, {broken} broken", seeds.len());
            }
            runs.push(run);
        }
        runs
    };
    let mut runs: Vec<Run> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|t| t.join().expect("a simulation reports its faults")).collect()
    });
    runs.sort_by_key(|r| r.seed);
    runs
}

/// The line that runs one seed again.
fn repeat(args: &Sim, seed: u64) -> String {
    let config = match &args.config.config {
        Some(path) => format!(" --config {}", path.display()),
        None if args.config.demo => " --demo".to_owned(),
        None => String::new(),
    };
    let sets: String = args.config.set.iter().map(|set| format!(" --set '{set}'")).collect();
    let plant =
        args.plant.and_then(|p| clap::ValueEnum::to_possible_value(&p)).map(|p| format!(" --plant {}", p.get_name()));
    let (plant, faults) = (plant.unwrap_or_default(), &args.faults);
    format!("csf sim{config}{sets} --seed {seed} --for {}ms --faults {faults}{plant} --trace", args.span.as_millis())
}
