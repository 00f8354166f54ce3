//! `csf doctor`: is this machine fit, is the configuration sound, what ails a running node; each finding with its fix (AVI-112).

mod node;

use std::path::Path;
use std::process::ExitCode;

use csf_runtime::config::Settings;
use csf_time::SystemClock;
use serde_json::json;

use super::{Outcome, bytes, print_json};
use crate::cli::{Doctor, DoctorScope};
use crate::diagnostic::{Failure, render};
use crate::{node as csf_node, packs, paths};
use node::Patient;

struct Finding {
    what: &'static str,
    is_ok: bool,
    detail: String,
    fix: String,
}

impl Finding {
    fn ok(what: &'static str, detail: impl Into<String>) -> Self {
        Self { what, is_ok: true, detail: detail.into(), fix: String::new() }
    }

    fn bad(what: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what, is_ok: false, detail: detail.into(), fix: fix.into() }
    }
}

pub(crate) fn run(args: &Doctor) -> Outcome {
    let patient = || Patient::examine(args.node.as_deref());
    let findings = match args.scope {
        DoctorScope::All => machine().into_iter().chain(configuration(args)).collect(),
        DoctorScope::Machine => machine(),
        DoctorScope::Config => configuration(args),
        DoctorScope::Latency => patient()?.latency(),
        DoctorScope::Memory => patient()?.memory(),
        DoctorScope::Time => patient()?.time(),
    };
    let is_ok = findings.iter().all(|f| f.is_ok);
    if args.config.json {
        let list: Vec<_> = findings
            .iter()
            .map(|f| json!({ "check": f.what, "ok": f.is_ok, "detail": f.detail, "fix": f.fix }))
            .collect();
        print_json(&json!({ "ok": is_ok, "findings": list }))?;
    } else {
        for finding in &findings {
            println!("{} {:<22} {}", if finding.is_ok { "ok  " } else { "FAIL" }, finding.what, finding.detail);
            if !finding.fix.is_empty() {
                println!("     fix: {}", finding.fix);
            }
        }
    }
    Ok(if is_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn machine() -> Vec<Finding> {
    let mut findings = Vec::new();
    match SystemClock::detect() {
        Ok(clock) => {
            let text = match clock.report() {
                Ok(report) => {
                    let source = match (report.tsc_hz, &report.fallback) {
                        (Some(hz), _) => format!("cycle counter at {:.6} GHz", hz / 1e9),
                        (None, Some(reason)) => format!("operating system's, because {reason}"),
                        (None, None) => "operating system's".to_owned(),
                    };
                    let counters = report.counters.map_or(String::new(), |counters| format!("; {counters}"));
                    format!("{source}, within {:.0} ns of the wall clock's reading{counters}", report.uncertainty_ns)
                }
                Err(error) => format!("usable, but says nothing of itself: {error}"),
            };
            findings.push(Finding::ok("clock", text));
        }
        Err(error) => {
            findings.push(Finding::bad("clock", error.to_string(), "use a machine with a working wall clock"))
        }
    }
    match std::thread::available_parallelism() {
        Ok(cores) if cores.get() > 1 => findings.push(Finding::ok("cores", cores.to_string())),
        _ => findings.push(Finding::ok("cores", "1: dispatchers park instead of spinning, latencies are longer")),
    }
    findings.push(state_directory());
    findings.push(disk(&paths::state_directory()));
    findings
}

fn state_directory() -> Finding {
    let directory = paths::state_directory();
    let probe = directory.join(format!("probe-{}", std::process::id()));
    let writes = std::fs::create_dir_all(&directory).and_then(|()| std::fs::write(&probe, b"probe"));
    // The probe may not exist if writing failed.
    let _ = std::fs::remove_file(&probe);
    match writes {
        Ok(()) => Finding::ok("state directory", directory.display().to_string()),
        Err(error) => Finding::bad(
            "state directory",
            format!("{}: {error}", directory.display()),
            "make it writable, or point CSF_STATE at a directory that is",
        ),
    }
}

/// Free space by the journal's need: a day of the demo is about 2 GiB.
fn disk(directory: &Path) -> Finding {
    let output = std::process::Command::new("df").arg("-PB1").arg(directory).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let free = text.lines().nth(1).and_then(|l| l.split_whitespace().nth(3)?.parse::<u64>().ok());
    match free {
        Some(free) if free < 1 << 30 => Finding::bad(
            "disk",
            format!("{} free", bytes(free)),
            "free space, or put the journal elsewhere with --journal",
        ),
        Some(free) => Finding::ok("disk", format!("{} free", bytes(free))),
        None => Finding::ok("disk", "free space unknown (no df here)"),
    }
}

fn configuration(args: &Doctor) -> Vec<Finding> {
    let mut findings = Vec::new();
    let has_file = args.config.config.is_some() || Path::new("csf.toml").exists() || args.config.demo;
    if !has_file {
        findings.push(Finding::ok("configuration", "no csf.toml here; `csf up --demo` needs none"));
        return findings;
    }
    let item = match csf_node::load(&args.config) {
        Ok(item) => item,
        Err(failure) => return vec![failed(&failure)],
    };
    match csf_node::check(&item, &packs::catalogue()) {
        Ok(topology) => {
            findings.push(Finding::ok("configuration", format!("{} components", topology.components.len())))
        }
        Err(failure) => findings.push(failed(&failure)),
    }
    let (settings, _) = Settings::read(&item);
    if !settings.node.journal.is_empty() {
        findings.push(journal(Path::new(&settings.node.journal)));
    }
    findings
}

fn journal(journal: &Path) -> Finding {
    let store = match csf_node::store(journal) {
        Ok(store) => store,
        Err(failure) => return failed(&failure),
    };
    let readable = || match store.is_embedded() {
        true => Ok(()),
        false => store.reader().map(drop),
    };
    match (std::fs::metadata(store.directory()), readable()) {
        (Ok(meta), _) if meta.permissions().readonly() => {
            Finding::bad("journal", store.directory().display().to_string(), "make it writable for this user")
        }
        (_, Err(error)) => Finding::bad(
            "journal",
            error.to_string(),
            "before the first start that is so; `csf up` makes what is missing",
        ),
        (Ok(_), Ok(())) => Finding::ok("journal", store.to_string()),
        (Err(_), Ok(())) => Finding::ok("journal", format!("{store} will be made")),
    }
}

fn failed(failure: &Failure) -> Finding {
    let detail = match failure {
        Failure::Config(problems) => problems.iter().map(|p| format!("\n{}", render(p, false))).collect(),
        Failure::Other { code, message } => format!("[{code}] {message}"),
        Failure::Interrupted { name, .. } => format!("interrupted in {name}"),
    };
    Finding::bad("configuration", detail, "see the places above; `csf explain CODE` tells more")
}
