//! The load test as a program: a node of the binary that `CSF_BIN` names, and more and more users.
//!
//! `cargo xtask load [--users 10,50] [--seconds N] [--ramp N] [--rate R] [--json]`. Ends with 1 when too much failed.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program of its own")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use csf_tests::load::{LEVELS, LoadScenario, NodeProcess, NodeUser, load_test_concurrency};

struct Options {
    scenarios: Vec<LoadScenario>,
    json: bool,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::from(2)
        }
    }
}

fn options() -> Result<Options, String> {
    let mut users = LEVELS.to_vec();
    let (mut like, mut json) = (LoadScenario::of(0), false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        let number = |text: String| {
            let number = text.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
            number.ok_or(format!("`{text}` is no number of {argument}"))
        };
        match argument.as_str() {
            "--users" => {
                let text = value()?;
                let levels = text.split(',').map(str::parse).collect::<Result<_, _>>();
                users = levels.map_err(|_| format!("--users wants numbers such as 10,50, not `{text}`"))?;
            }
            "--seconds" => like.duration = Duration::from_secs_f64(number(value()?)?),
            "--ramp" => like.ramp_up = Duration::from_secs_f64(number(value()?)?),
            "--rate" => like.user_rate_hz = number(value()?)?.max(1e-3),
            "--json" => json = true,
            _ => return Err(format!("`{argument}` is none of --users, --seconds, --ramp, --rate, --json")),
        }
    }
    let scenario = |concurrent_users| LoadScenario { concurrent_users, ..like.clone() };
    Ok(Options { scenarios: users.into_iter().map(scenario).collect(), json })
}

/// Whether every level went well.
fn run(options: &Options) -> Result<bool, String> {
    let csf = std::env::var_os("CSF_BIN").map(PathBuf::from).ok_or("CSF_BIN is to name the binary of csf")?;
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/px4_hover_fmu_v5.ulg");
    let node = NodeProcess::start(&csf, &recording, "").map_err(|e| e.to_string())?;
    let user = |number| Ok(NodeUser::new(node.target(), number));
    let report = load_test_concurrency(&options.scenarios, user, |so_far| {
        if let (false, Some(level)) = (options.json, so_far.results.last()) {
            eprintln!("{} users: {} requests, {} failed", level.concurrent_users, level.requests(), level.errors());
        }
    })?;
    if options.json {
        println!("{:#}", report.to_json());
    } else {
        println!("{report}");
    }
    Ok(report.warning.is_none())
}
