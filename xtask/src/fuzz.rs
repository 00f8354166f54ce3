//! Fuzzes what reads bytes from outside; the targets are in `fuzz/fuzz_targets`.
//!
//! A finding is left in `fuzz/artifacts/TARGET`; once mended, its input belongs into `fuzz/seeds/TARGET`.

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::exec;
use crate::test::cache;

/// Seconds per target.
const SECONDS: u64 = 60;
/// A kilobyte of input has no business with more memory than this.
const MEMORY_MB: u64 = 1024;
/// Longest input, bytes.
const INPUT_BYTES_MAX: u64 = 16 * 1024;
/// One input may take this long, s.
const INPUT_SECONDS_MAX: u64 = 10;

/// Runs one target or all, `--seconds N` each.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let targets = targets()?;
    let mut seconds = SECONDS;
    let mut chosen = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--seconds" {
            let number = rest.next().and_then(|n| n.parse().ok());
            seconds = number.ok_or("--seconds wants a whole number")?;
        } else if targets.contains(argument) {
            chosen.push(argument.clone());
        } else {
            return Err(format!("no fuzz target `{argument}`; there are {}", targets.join(", ")));
        }
    }
    let fuzzer = fuzzer()?;
    let chosen = if chosen.is_empty() { targets } else { chosen };
    let mut failed = Vec::new();
    for target in &chosen {
        println!("── fuzz {target}, {seconds} s");
        if let Err(reason) = fuzz(&fuzzer, target, seconds) {
            eprintln!("{target} failed: {reason}");
            failed.push(target.as_str());
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("findings in {}", failed.join(", "))) }
}

/// `cargo-fuzz`, installed once beside the other test tools.
fn fuzzer() -> Result<PathBuf, String> {
    let root = cache().join("cargo-fuzz");
    let binary = root.join("bin/cargo-fuzz");
    if !binary.exists() {
        let folder = root.display().to_string();
        exec::run("cargo", &["install", "cargo-fuzz", "--locked", "--quiet", "--root", &folder])?;
    }
    Ok(binary)
}

fn fuzz(fuzzer: &Path, target: &str, seconds: u64) -> Outcome {
    // What the fuzzer learns stays out of the repository; the seeds are only read.
    let corpus = exec::target().join("fuzz-corpus").join(target);
    std::fs::create_dir_all(&corpus).map_err(|e| e.to_string())?;
    let corpus = corpus.display().to_string();
    let seeds = format!("fuzz/seeds/{target}");
    let limits = [
        format!("-max_total_time={seconds}"),
        format!("-max_len={INPUT_BYTES_MAX}"),
        format!("-timeout={INPUT_SECONDS_MAX}"),
        format!("-rss_limit_mb={MEMORY_MB}"),
    ];
    // Without a sanitizer: the parsers hold no unsafe code, and panics, hangs and memory are found all the same.
    let mut arguments =
        vec!["fuzz", "run", "--sanitizer", "none", target, &corpus, &seeds, "--", "-print_final_stats=1"];
    arguments.extend(limits.iter().map(String::as_str));
    // The fuzzer's flags need this on a stable toolchain.
    let status = exec::command(fuzzer, &arguments).env("RUSTC_BOOTSTRAP", "1").status().map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("ended with {status}; see fuzz/artifacts/{target}")) }
}

fn targets() -> Result<Vec<String>, String> {
    let folder = exec::root().join("fuzz/fuzz_targets");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .map_err(|e| format!("{}: {e}", folder.display()))?
        .filter_map(|e| e.ok()?.path().file_stem().map(|s| s.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}
