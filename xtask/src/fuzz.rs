//! Fuzzes the parsers of outside bytes with libFuzzer, from the seeds in `fuzz/seeds` and a real log.

use std::path::PathBuf;

use crate::Outcome;
use crate::exec::{self, command, output};
use crate::test::cache;

const TARGETS: [&str; 6] = ["ulog", "ansfl", "filter", "journal_block", "config", "message_id"];
/// Bytes of the real log that fuzzing starts from: formats, subscriptions and some seconds of data.
const SEED_BYTES: usize = 120_000;

/// Reads `[TARGET] [--seconds N]`; without a target each is run in turn.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let at = arguments.iter().position(|a| a == "--seconds");
    let seconds: u64 = match at {
        Some(i) => arguments.get(i + 1).and_then(|n| n.parse().ok()).ok_or("--seconds wants a number")?,
        None => 60,
    };
    let named = arguments.first().filter(|a| !a.starts_with("--"));
    let targets: Vec<&str> = match named {
        Some(name) if TARGETS.contains(&name.as_str()) => vec![name],
        Some(name) => return Err(format!("no fuzz target `{name}`; there are {TARGETS:?}")),
        None => TARGETS.to_vec(),
    };
    let fuzzer = fuzzer()?;
    for target in targets {
        println!("── {target}, {seconds} s");
        let corpus = seeds(target)?;
        let limit = format!("-max_total_time={seconds}");
        let mut run =
            command(&fuzzer, &["fuzz", "run", "--sanitizer", "none", target, &corpus.display().to_string(), "--"]);
        run.args([&limit, "-timeout=10", "-rss_limit_mb=2048", "-max_len=200000", "-print_final_stats=1"]);
        // libFuzzer's coverage needs compiler flags that are not stable yet; the code under test does not use them.
        run.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", exec::target().join("fuzz"));
        let status = run.status().map_err(|e| e.to_string())?;
        if !status.success() {
            return Err(format!("{target} found something; the input is in fuzz/artifacts/{target}"));
        }
    }
    Ok(())
}

/// `cargo-fuzz`, installed once beside the other test tools.
fn fuzzer() -> Result<PathBuf, String> {
    let root = cache().join("cargo-fuzz");
    let binary = root.join("bin/cargo-fuzz");
    if !binary.exists() {
        output(&mut command(
            "cargo",
            &["install", "cargo-fuzz", "--locked", "--quiet", "--root", &root.display().to_string()],
        ))?;
    }
    Ok(binary)
}

/// The target's corpus, with the seeds that ship.
fn seeds(target: &str) -> Result<PathBuf, String> {
    let corpus = exec::target().join("fuzz-corpus").join(target);
    std::fs::create_dir_all(&corpus).map_err(|e| e.to_string())?;
    if let Ok(entries) = std::fs::read_dir(exec::root().join("fuzz/seeds").join(target)) {
        for entry in entries.flatten() {
            std::fs::copy(entry.path(), corpus.join(entry.file_name())).map_err(|e| e.to_string())?;
        }
    }
    if target == "ulog" {
        let log = std::fs::read(exec::root().join("data/px4_hover_fmu_v5.ulg")).map_err(|e| e.to_string())?;
        std::fs::write(corpus.join("flight"), &log[..SEED_BYTES.min(log.len())]).map_err(|e| e.to_string())?;
    }
    Ok(corpus)
}
