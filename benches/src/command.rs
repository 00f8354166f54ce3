//! The command line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::experiment::Experiment;
use crate::load::Effort;
use crate::machine::Machine;
use crate::neighbours::Neighbours;
use crate::plot::svg;
use crate::row::Row;
use crate::suite;
use crate::table::{details, table};

const HELP: &str = "csf-bench bus|time|guard|runtime|journal|workflow [OPTION ...]\n
  --only G1,G3     these rows and those below them (G3 is G3.message and G3.batch)
  --rounds N       rounds, of which the median counts (default 5)
  --quick          one short round: shows that it runs, not how fast
  --json           one object per line: the machine, each row, what others took of the machine
  --list           the rows, without running them
  --growth         bus: over 1 to 4096 subscribers and 1 to 64 topics, instead of the table
  --plot FILE      with --growth: its picture, as SVG";

/// Rounds of a full run.
const ROUNDS: u32 = 5;
/// Share of a full round's work in a quick one.
const QUICK: f64 = 0.1;

struct Options {
    table: String,
    only: Vec<String>,
    rounds: Option<u32>,
    is_quick: bool,
    is_json: bool,
    is_list: bool,
    is_growth: bool,
    plot: Option<PathBuf>,
}

impl Options {
    fn read() -> Result<Self, String> {
        let mut arguments = pico_args::Arguments::from_env();
        let fault = |e: pico_args::Error| format!("{e}\n\n{HELP}");
        let only: Option<String> = arguments.opt_value_from_str("--only").map_err(fault)?;
        let options = Self {
            only: only.iter().flat_map(|list| list.split(',')).map(str::to_owned).collect(),
            rounds: arguments.opt_value_from_str("--rounds").map_err(fault)?,
            is_quick: arguments.contains("--quick"),
            is_json: arguments.contains("--json"),
            is_list: arguments.contains("--list"),
            is_growth: arguments.contains("--growth"),
            plot: arguments.opt_value_from_str("--plot").map_err(fault)?,
            table: arguments.subcommand().map_err(fault)?.ok_or(HELP)?,
        };
        let rest = arguments.finish();
        if !rest.is_empty() {
            return Err(format!("unknown: {rest:?}\n\n{HELP}"));
        }
        if options.plot.is_some() && !options.is_growth {
            return Err("--plot draws what --growth measures".to_owned());
        }
        if options.rounds == Some(0) {
            return Err("--rounds wants at least 1".to_owned());
        }
        Ok(options)
    }
}

/// Runs what the arguments ask for.
pub fn run() -> Result<(), String> {
    if let [_, command, folder, count] = &std::env::args().collect::<Vec<_>>()[..]
        && command == suite::SLEEP
    {
        return suite::sleep(Path::new(folder), count.parse().map_err(|e| format!("{count}: {e}"))?);
    }
    let options = Options::read()?;
    let experiments = match options.table.as_str() {
        "bus" if options.is_growth => suite::growth(),
        "bus" => suite::bus(),
        "time" => suite::time(),
        "guard" => suite::guard(),
        "runtime" => suite::runtime(),
        "journal" => suite::journal(),
        "workflow" => suite::workflow(),
        other => return Err(format!("no table `{other}`\n\n{HELP}")),
    };
    let wanted = wanted(&experiments, &options.only)?;
    if options.is_list {
        for spec in experiments.iter().flat_map(Experiment::specs).filter(|spec| wanted.contains(&spec.id)) {
            println!("{:<22} {}", spec.id, spec.what);
        }
        return Ok(());
    }
    let (rounds, effort) = if options.is_quick { (1, Effort(QUICK)) } else { (ROUNDS, Effort(1.0)) };
    let rounds = options.rounds.unwrap_or(rounds);
    let (machine, neighbours) = (Machine::here(), Neighbours::watch());
    if options.is_json {
        println!("{}", machine.json());
    } else {
        eprintln!("{}", machine.text());
    }
    let mut rows: Vec<Row> = Vec::new();
    for experiment in &experiments {
        let finished = experiment.run(&wanted, rounds, effort);
        if options.is_json {
            finished.iter().for_each(|row| println!("{}", row.json()));
        }
        rows.extend(finished);
    }
    if let Some(path) = &options.plot {
        let picture = svg(&rows, &machine.line());
        std::fs::write(path, picture).map_err(|e| format!("{} cannot be written: {e}", path.display()))?;
    }
    if options.is_json {
        println!("{}", neighbours.json());
    } else {
        println!("{}{}\n{}\n{}", machine.text(), neighbours.text(), table(&rows), details(&rows));
    }
    Ok(())
}

/// Ids of the rows that `only` names, and of the floors; everything when it names none.
fn wanted(experiments: &[Experiment], only: &[String]) -> Result<BTreeSet<String>, String> {
    let ids: BTreeSet<String> = experiments.iter().flat_map(Experiment::specs).map(|spec| spec.id.clone()).collect();
    let is_below =
        |id: &str, name: &str| id.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if let Some(unknown) = only.iter().find(|name| !ids.iter().any(|id| is_below(id, name))) {
        let known: Vec<&str> = ids.iter().map(String::as_str).collect();
        return Err(format!("no row `{unknown}`; there are {}", known.join(", ")));
    }
    let is_wanted =
        |id: &String| only.is_empty() || id.starts_with(suite::FLOORS) || only.iter().any(|name| is_below(id, name));
    Ok(ids.into_iter().filter(is_wanted).collect())
}
