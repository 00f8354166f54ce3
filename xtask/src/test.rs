//! The whole test command: what CI runs is exactly this.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::coverage::Tests;
use crate::exec::{self, command, output};
use crate::{asm, chaos, coverage, new_pack, otp, repeat, shots, storm, tidy};

struct Step {
    name: &'static str,
    work: fn() -> Result<Counts, String>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    passed: u64,
    skipped: u64,
}

const ONE: Counts = Counts { passed: 1, skipped: 0 };

const STEPS: [Step; 21] = [
    Step { name: "format", work: || exec::run("cargo", &["fmt", "--all", "--check"]).map(|()| ONE) },
    Step { name: "tidy", work: || tidy::run().map(|()| ONE) },
    Step { name: "clippy", work: clippy },
    Step { name: "build", work: || exec::build_csf().map(|()| ONE) },
    Step { name: "tests", work: tests },
    Step { name: "repeat", work: repeated },
    Step { name: "servers", work: on_servers },
    Step { name: "coverage", work: covered },
    Step { name: "doc tests", work: doc_tests },
    Step { name: "asm", work: hot_path },
    Step { name: "valgrind", work: valgrind },
    Step { name: "tsan", work: tsan },
    Step { name: "otp", work: otp_differential },
    Step { name: "simulation", work: simulation },
    Step { name: "reload storm", work: reload_storm },
    Step { name: "chaos", work: chaotic },
    Step { name: "examples", work: examples },
    Step { name: "projects", work: projects },
    Step { name: "mcap reader", work: mcap_reader },
    Step { name: "grpc", work: grpc_agents },
    Step { name: "console", work: console },
];

/// Runs every step, or the ones named with `--only`, and prints what took how long.
pub(crate) fn run_steps(only: &[String]) -> Outcome {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut table = Vec::new();
    for step in STEPS.iter().filter(|s| only.is_empty() || only.iter().any(|o| o == s.name)) {
        println!("── {}", step.name);
        #[expect(clippy::disallowed_methods, reason = "measures how long a step takes")]
        let start = Instant::now();
        let result = (step.work)();
        let took = start.elapsed();
        match &result {
            Ok(counts) => {
                passed += counts.passed;
                skipped += counts.skipped;
            }
            Err(reason) => {
                failed += 1;
                eprintln!("{} failed: {reason}", step.name);
            }
        }
        table.push((step.name, took, result.is_ok()));
    }
    println!("\n{:<12} {:>9}", "step", "seconds");
    let total: Duration = table.iter().map(|(_, took, _)| *took).sum();
    for (name, took, is_ok) in &table {
        println!("{name:<12} {:>9.1}{}", took.as_secs_f64(), if *is_ok { "" } else { "  FAILED" });
    }
    println!("{:<12} {:>9.1}\n", "total", total.as_secs_f64());
    if skipped > 0 {
        println!("{passed} passed, {failed} failed, {skipped} skipped");
    } else {
        println!("{passed} passed, {failed} failed");
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} steps failed")) }
}

/// `--only NAME` may be given several times.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let only: Vec<String> = arguments
        .iter()
        .enumerate()
        .filter(|(i, _)| i.checked_sub(1).is_some_and(|before| arguments[before] == "--only"))
        .map(|(_, name)| name.clone())
        .collect();
    run_steps(&only)
}

fn clippy() -> Result<Counts, String> {
    exec::run("cargo", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    Ok(ONE)
}

/// Counts which lines they run, for the step `coverage`, where that can be told.
fn tests() -> Result<Counts, String> {
    coverage::forget();
    let mut sum = Counts::default();
    for which in [Tests::Unit, Tests::Integration] {
        let mut test = command("cargo", &["test", "--workspace", "--quiet", "--no-fail-fast"]);
        let text = output(counted_by(test.args(which.arguments()), which))?;
        print!("{text}");
        let told = counted(&text);
        sum = Counts { passed: sum.passed + told.passed, skipped: sum.skipped + told.skipped };
    }
    Ok(sum)
}

/// Without LLVM's tools nobody could read the counts: what was built without counters does as well.
fn counted_by(test: &mut Command, which: Tests) -> &mut Command {
    if coverage::Tools::find().is_ok() { coverage::instrument(test, which) } else { test.env("CSF_BIN", exec::csf()) }
}

/// A taste of `cargo xtask repeat`: the crates whose tests have threads, twice. The seeds are always the same, so that what fails here
/// fails again; other ones are for the whole command.
fn repeated() -> Result<Counts, String> {
    let suites = repeat::suites(&["csf-core", "csf-time", "csf-bus"])?;
    repeat::repeat(&suites, 2, 100).map(|passed| Counts { passed, skipped: 0 })
}

/// The integration tests with PostgreSQL, Redis and NATS; the step before ran them on what is here.
fn on_servers() -> Result<Counts, String> {
    // `pg_ctlcluster` comes with the server, `psql` with the client alone too.
    let programs = ["psql", "pg_ctlcluster", "redis-server", "nats-server"];
    if let Err(reason) = exec::install(&programs, &["postgresql", "redis-server", "nats-server"]) {
        println!("skipped: {reason}");
        return Ok(Counts { passed: 0, skipped: 1 });
    }
    let mut text = String::new();
    // The second by way of the workspace: for the package alone half of it would be built anew, with other features.
    for which in [&["--package", "csf-tests", "--test", "it"][..], &["--workspace", "--test", "it", "stores::"]] {
        let mut test = command("cargo", &["test", "--quiet"]);
        test.args(which).env("CSF_TEST_SERVERS", "required");
        text.push_str(&output(counted_by(&mut test, Tests::Integration))?);
    }
    Ok(counted(&text))
}

/// What the steps `tests` and `servers` have run.
fn covered() -> Result<Counts, String> {
    match coverage::Tools::find() {
        Ok(tools) => coverage::check(&tools).map(|()| ONE),
        Err(reason) => {
            println!("skipped: {reason}");
            Ok(Counts { passed: 0, skipped: 1 })
        }
    }
}

fn doc_tests() -> Result<Counts, String> {
    let text = output(&mut command("cargo", &["test", "--workspace", "--quiet", "--doc"]))?;
    Ok(counted(&text))
}

fn hot_path() -> Result<Counts, String> {
    if let Some(reason) = asm::missing() {
        println!("skipped: {reason}");
        return Ok(Counts { passed: 0, skipped: 1 });
    }
    asm::run(&[]).map(|()| ONE)
}

/// The ring's unit tests under memcheck: every slot is in bounds, alive and freed once. The models and random schedules
/// are left out, which switch stacks, and the stress test: memcheck runs one thread at a time.
fn valgrind() -> Result<Counts, String> {
    if let Err(reason) = exec::install(&["valgrind"], &["valgrind"]) {
        println!("skipped: {reason}");
        return Ok(Counts { passed: 0, skipped: 1 });
    }
    let runner = format!("CARGO_TARGET_{}_RUNNER", exec::host()?.to_uppercase().replace('-', "_"));
    let mut test = command("cargo", &["test", "--quiet", "--package", "csf-bus", "--lib", "ring::", "--"]);
    test.args(["--skip", "::model::", "--skip", "::schedules::", "--skip", "::stress::"]);
    let options =
        "--quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite";
    let text = output(test.env(runner, format!("valgrind {options}")).env("PROPTEST_CASES", "64"))?;
    Ok(counted(&text))
}

/// The ring's stress test under ThreadSanitizer, on a platform without std's locks: std is not instrumented, so it supplements the
/// models and replaces none. What is left of std is in `tsan.supp`.
fn tsan() -> Result<Counts, String> {
    let host = exec::host()?;
    let sysroot = output(&mut command("rustc", &["--print", "sysroot"]))?;
    let folder = format!("{}/lib/rustlib/{host}/lib", sysroot.trim());
    let mut files = std::fs::read_dir(&folder).map_err(|e| format!("{folder}: {e}"))?.flatten();
    if !files.any(|file| file.file_name().to_string_lossy().contains("rt.tsan")) {
        println!("skipped: this toolchain has no ThreadSanitizer runtime in {folder}");
        return Ok(Counts { passed: 0, skipped: 1 });
    }
    let suppressions = exec::root().join("xtask/tsan.supp").display().to_string();
    let text = output(
        command("cargo", &["test", "--quiet", "--package", "csf-bus", "--lib", "--target", &host, "ring::stress::"])
            // The sanitizer is unstable, and so is its runtime beside a std without it (rustc book, "Sanitizers").
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer")
            .env("CARGO_TARGET_DIR", exec::target().join("tsan"))
            .env("TSAN_OPTIONS", format!("exitcode=66 suppressions={suppressions}"))
            .env("CSF_STRESS_PACKETS", "20000"),
    )?;
    Ok(counted(&text))
}

/// The bounded form of `cargo xtask otp --scenarios 10000`.
fn otp_differential() -> Result<Counts, String> {
    match otp::prepare() {
        Ok(oracle) => {
            print!("{}", otp::compare(&oracle, &["--scenarios", "2000", "--seed", "1"])?);
            Ok(ONE)
        }
        Err(otp::Unready::Absent(reason)) => {
            println!("skipped: {reason}");
            Ok(Counts { passed: 0, skipped: 1 })
        }
        Err(otp::Unready::Broken(reason)) => Err(reason),
    }
}

/// Two thousand seeds of the demo with every fault; then two bugs put in on purpose, which must be found; then one seed twice.
fn simulation() -> Result<Counts, String> {
    let csf = exec::csf().display().to_string();
    let sim = |arguments: &[&str]| output(command(&csf, &["sim", "--demo"]).args(arguments));
    print!("{}", sim(&["--seeds", "2000", "--for", "4s"])?);
    for plant in ["open-cut", "lying-disk"] {
        if let Ok(text) = sim(&["--seeds", "100", "--for", "4s", "--plant", plant]) {
            return Err(format!("the planted `{plant}` was not found in 100 seeds:\n{text}"));
        }
    }
    let trace = ["--seed", "7", "--trace"];
    if sim(&trace)? != sim(&trace)? {
        return Err("seed 7 gave two traces".to_owned());
    }
    Ok(Counts { passed: 4, skipped: 0 })
}

/// A third of `cargo xtask reload-storm`.
fn reload_storm() -> Result<Counts, String> {
    print!("{}", storm::storm(&["--changes", "350", "--rate", "3500", "--seed", "1"])?);
    Ok(ONE)
}

/// Tests that passed, by libtest's own words.
pub(crate) fn passed(text: &str) -> u64 {
    counted(text).passed
}

/// One round of each experiment, always of one seed; `cargo xtask chaos` goes on for longer.
fn chaotic() -> Result<Counts, String> {
    chaos::bounded().map(|told| Counts { passed: told.passed, skipped: told.skipped })
}

/// Sums `test result:` lines.
fn counted(text: &str) -> Counts {
    let mut counts = Counts::default();
    for line in text.lines().filter(|l| l.starts_with("test result:")) {
        for part in line.split([';', '.']) {
            let mut words = part.split_whitespace();
            if let (Some(number), Some(word)) = (words.next().and_then(|n| n.parse::<u64>().ok()), words.next()) {
                match word {
                    "passed" => counts.passed += number,
                    "ignored" => counts.skipped += number,
                    _ => {}
                }
            }
        }
    }
    counts
}

/// Every example runs to its end and says what its first lines promise.
fn examples() -> Result<Counts, String> {
    exec::run("cargo", &["build", "--quiet", "--package", "csf-examples", "--bins"])?;
    let mut counts = Counts::default();
    let folder = exec::root().join("examples/src/bin");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .map_err(|e| e.to_string())?
        .filter_map(|e| e.ok()?.path().file_stem().map(|s| s.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    for name in names {
        let text = output(&mut command(exec::target().join("debug").join(&name), &[]))?;
        let source = std::fs::read_to_string(folder.join(format!("{name}.rs"))).map_err(|e| e.to_string())?;
        for promised in source.lines().filter_map(|l| l.strip_prefix("//! > ")) {
            if !text.contains(promised) {
                return Err(format!("example {name} promises `{promised}` and says\n{text}"));
            }
        }
        counts.passed += 1;
    }
    Ok(counts)
}

/// What `csf new` and `cargo xtask new-pack` write builds, passes its tests and runs.
fn projects() -> Result<Counts, String> {
    let folder = exec::target().join("projects");
    // Left over from an earlier run, or not there.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;

    let own = folder.join("busy-alarm");
    output(&mut command(exec::csf(), &["new", "busy-alarm", "--path", &own.display().to_string()]))?;
    // The same versions as here, so that nothing is downloaded or built twice.
    std::fs::copy(exec::root().join("Cargo.lock"), own.join("Cargo.lock")).map_err(|e| e.to_string())?;
    let run = |arguments: &[&str]| {
        output(command("cargo", arguments).current_dir(&own).env("CSF_STATE", folder.join("state")))
    };
    run(&["test", "--quiet"])?;
    run(&["run", "--quiet", "--", "validate"])?;
    run(&["run", "--quiet", "--", "up", "--for", "3s", "--listen", "127.0.0.1:0"])?;
    let why = run(&["run", "--quiet", "--", "why", "busy-alarm.busy", "--journal", "../state/journal/busy-alarm"])?;
    if !why.contains("host.cpu") {
        return Err(format!("the new component's output has no cause:\n{why}"));
    }

    let copy = folder.join("repository");
    let listed = output(&mut command("git", &["ls-files", "-co", "--exclude-standard"]))?;
    for file in listed.lines().filter(|f| !f.starts_with("data/") && !f.starts_with("docs/")) {
        let to = copy.join(file);
        std::fs::create_dir_all(to.parent().unwrap_or(&copy)).map_err(|e| e.to_string())?;
        // A file that was removed and not yet committed is listed too.
        if exec::root().join(file).exists() {
            std::fs::copy(exec::root().join(file), &to).map_err(|e| e.to_string())?;
        }
    }
    new_pack::write(&copy, "sample")?;
    // Not in our target directory: two workspaces with packages of one name would take each other's for fresh.
    let mut test = command("cargo", &["test", "--quiet", "--package", "csf-sample"]);
    output(test.current_dir(&copy).env("CARGO_TARGET_DIR", exec::target().join("new-pack")))?;
    Ok(Counts { passed: 2, skipped: 0 })
}

/// A Python of its own with these packages, kept between runs; nothing where there is no Python, and then it says so.
fn python(name: &str, packages: &[&str]) -> Result<Option<std::path::PathBuf>, String> {
    let cache = cache().join(name);
    let python = cache.join("bin/python3");
    if !python.exists() {
        if let Err(reason) = exec::install(&["python3"], &["python3", "python3-venv"]) {
            println!("skipped: {reason}");
            return Ok(None);
        }
        let folder = cache.display().to_string();
        output(&mut command("python3", &["-m", "venv", &folder]))?;
        let words: Vec<&str> = ["install", "--quiet"].into_iter().chain(packages.iter().copied()).collect();
        output(&mut command(cache.join("bin/pip"), &words))?;
    }
    Ok(Some(python))
}

/// Agents with the public gRPC client of Python do tasks of the real binary.
fn grpc_agents() -> Result<Counts, String> {
    let packages = ["grpcio==1.85.1", "grpcio-tools==1.85.1"];
    let Some(python) = python("python-grpc", &packages)? else { return Ok(Counts { passed: 0, skipped: 1 }) };
    let folder = exec::target().join("grpc-test");
    // Left over from an earlier run, or not there.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let words = ["xtask/grpc_agents.py", &exec::csf().display().to_string(), &folder.display().to_string()];
    let text = output(command(&python, &words).env("PYTHONPATH", "crates/services/csf-gateway/proto"))?;
    print!("{text}");
    Ok(ONE)
}

/// The public Python reader reads what `csf export --mcap` writes.
fn mcap_reader() -> Result<Counts, String> {
    let Some(python) = python("python", &["mcap==1.6.0"])? else { return Ok(Counts { passed: 0, skipped: 1 }) };
    let folder = exec::target().join("mcap-test");
    // Left over from an earlier run, or not there.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let (journal, file) =
        (folder.join("journal").display().to_string(), folder.join("flight.mcap").display().to_string());
    let csf = exec::csf();
    let text = output(&mut command(
        &csf,
        &["up", "--demo", "--speed", "max", "--json", "--listen", "127.0.0.1:0", "--journal", &journal],
    ))?;
    let summary: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let text = output(&mut command(&csf, &["export", &journal, "--mcap", &file, "--json"]))?;
    let export: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let text = output(&mut command(&python, &["xtask/read_mcap.py", &file]))?;
    let read: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    if read["messages"] != export["messages"] || read["topics"]["nav.imu"] != summary["samples"] {
        return Err(format!("written {export}, flown {summary}, read {read}"));
    }
    Ok(ONE)
}

/// Where tools for tests are kept between runs.
pub(crate) fn cache() -> std::path::PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(std::path::PathBuf::from);
    base.or_else(|| Some(std::env::home_dir()?.join(".cache"))).unwrap_or_else(std::env::temp_dir).join("chronofabric")
}

fn console() -> Result<Counts, String> {
    let folder = exec::target().join("shots").display().to_string();
    match shots::prepare() {
        Ok(()) => {}
        Err(reason) => {
            println!("skipped: {reason}");
            return Ok(Counts { passed: 0, skipped: 1 });
        }
    }
    let mut tests: Vec<String> = std::fs::read_dir(exec::root().join("console/tests"))
        .map_err(|e| e.to_string())?
        .filter_map(|e| Some(e.ok()?.path().display().to_string()))
        .filter(|p| p.ends_with(".test.js"))
        .collect();
    tests.sort();
    let arguments: Vec<&str> = std::iter::once("--test").chain(tests.iter().map(String::as_str)).collect();
    exec::run("node", &arguments)?;
    shots::run(&[folder]).map(|()| Counts { passed: 2, skipped: 0 })
}
