//! `csf replay`: the recorded run through the same components on virtual time, every output compared bit for bit.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use csf_core::Stamp;
use csf_runtime::replay::replay;
use serde_json::json;

use super::{Outcome, print_json};
use crate::cli::Replay;
use crate::{node, packs, paths};

pub(crate) fn run(args: Replay) -> Outcome {
    let directory = node::journal_or_newest(args.journal)?;
    let mut reader = node::open_journal(&directory)?;
    let run = node::last_chapter(&mut *reader, &directory)?;
    let catalogue = packs::catalogue();
    let total = reader.size()?.position.max(1);
    let shows_progress = std::io::stderr().is_terminal() && !args.json;
    let mut progress = |position: u64| {
        if shows_progress {
            eprint!("\rreplaying {:>3} %", position * 100 / total);
            let _ = std::io::stderr().flush();
        }
    };
    let until = args.until.map(Stamp);
    let resumption = replay(&mut *reader, &catalogue, until, &mut progress)
        .map_err(|e| crate::diagnostic::Failure::new("CSF-0501", e.to_string()))?;
    if shows_progress {
        eprint!("\r                    \r");
    }
    let report = resumption.report;
    let same_build = run.build_id == paths::build_id();
    let is_equal = report.first_difference.is_none() && report.equal == report.compared;
    if args.json {
        print_json(&json!({
            "journal": directory, "equal": is_equal, "build_id": run.build_id, "same_build": same_build, "report": report,
        }))?;
    } else {
        println!("journal     {}", directory.display());
        println!("build       {} ({})", run.build_id, if same_build { "this one" } else { "another one" });
        println!("packets     {} of which {} inputs", report.packets, report.inputs);
        println!("deliveries  {} repeated", report.deliveries);
        println!("outputs     {} of {} equal bit for bit", report.equal, report.compared);
        if report.unrecorded > 0 {
            println!(
                "unrecorded  {} outputs were made that the journal no longer got before it ended",
                report.unrecorded
            );
        }
        if let Some(difference) = &report.first_difference {
            println!(
                "first difference: {} on `{}` by {}, {}",
                difference.id, difference.topic, difference.author, difference.what
            );
            println!("  recorded  {}", difference.recorded);
            println!("  replayed  {}", difference.replayed);
            if !same_build {
                println!("the run was recorded by another build; equality is promised for one build only");
            }
        }
    }
    Ok(if is_equal { ExitCode::SUCCESS } else { ExitCode::from(3) })
}
