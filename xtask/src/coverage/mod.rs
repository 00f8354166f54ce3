//! Which lines the tests run (FRM-098), by the compiler's own counters.
//!
//! Only the workspace's crates count (`xtask/coverage/instrumented`), so that compiled dependencies are those of every other build. What tests
//! start counts too, the binary above all, also when it is killed. Lines are those of the libraries and the binary as they are built to be used:
//! tests in their files are none of them.

mod lines;
mod tools;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::Outcome;
use crate::exec::{self, command, output};
use crate::test;
use lines::Lines;
pub(crate) use tools::Tools;

/// What counts for the requirement, and what counts beside it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Tests {
    /// `tests/` of every crate: the public API, as users see it.
    Integration,
    /// What is at the bottom of the files.
    Unit,
}

impl Tests {
    /// How cargo is told of them.
    pub(crate) const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Integration => &["--test", "*"],
            Self::Unit => &["--lib", "--bins"],
        }
    }

    fn counts(self) -> PathBuf {
        folder().join(match self {
            Self::Integration => "integration",
            Self::Unit => "unit",
        })
    }
}

fn folder() -> PathBuf {
    exec::target().join("coverage")
}

/// Has cargo build with counters, and what it runs leave its counts: a file for each binary, which its
/// processes share.
pub(crate) fn instrument(cargo: &mut Command, tests: Tests) -> &mut Command {
    cargo
        .env("RUSTC_WORKSPACE_WRAPPER", exec::root().join("xtask/coverage/instrumented"))
        .env("LLVM_PROFILE_FILE", tests.counts().join("%m%c.profraw"))
}

/// Forgets the counts of earlier runs.
pub(crate) fn forget() {
    for tests in [Tests::Integration, Tests::Unit] {
        // Left over from an earlier run, or not there.
        let _ = std::fs::remove_dir_all(tests.counts());
    }
}

/// Reads `[--html] [--json] [--group G] [--counted]`; the last runs nothing and tells of what was counted before.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let has = |name: &str| arguments.iter().any(|a| a == name);
    let tools = Tools::find()?;
    if !has("--counted") {
        test::run_steps(&["tests".to_owned(), "servers".to_owned()])?;
    }
    let group = arguments.iter().position(|a| a == "--group").and_then(|at| arguments.get(at + 1));
    let report = Report::of(&tools, group.map(String::as_str))?;
    if has("--html") {
        println!("{}", report.html(&tools)?.display());
    }
    if has("--json") {
        println!("{:#}", report.json());
    } else {
        report.print(group.is_some());
    }
    report.verdict()
}

/// The step of the test command, after those that count.
pub(crate) fn check(tools: &Tools) -> Outcome {
    let report = Report::of(tools, None)?;
    report.print(false);
    report.verdict()
}

/// The groups and their limit, as `xtask/coverage/groups.toml` has them.
struct Limits {
    above_percent: f64,
    groups: Vec<(String, Vec<String>)>,
    /// Files that a tool has written.
    generated: Vec<String>,
}

impl Limits {
    fn read() -> Result<Self, String> {
        let file = exec::root().join("xtask/coverage/groups.toml");
        let bad = |reason: &dyn std::fmt::Display| format!("{}: {reason}", file.display());
        let text = std::fs::read_to_string(&file).map_err(|e| bad(&e))?;
        let table: toml::Table = text.parse().map_err(|e| bad(&e))?;
        let above = table.get("above_percent").and_then(|v| v.as_float().or(v.as_integer().map(|n| n as f64)));
        let above_percent = above.ok_or_else(|| bad(&"`above_percent` is no number"))?;
        let groups = table.get("groups").and_then(toml::Value::as_table).ok_or_else(|| bad(&"no [groups]"))?;
        let strings = |folders: &toml::Value| {
            let folders = folders.as_array()?.iter().map(|f| Some(f.as_str()?.to_owned()));
            folders.collect::<Option<Vec<_>>>()
        };
        let groups = groups.iter().map(|(name, folders)| Some((name.clone(), strings(folders)?)));
        let groups = groups.collect::<Option<Vec<_>>>().ok_or_else(|| bad(&"a group is a list of folders"))?;
        let generated = table.get("generated").and_then(strings).ok_or_else(|| bad(&"no list `generated`"))?;
        Ok(Self { above_percent, groups, generated })
    }
}

/// What was counted, by groups.
struct Report {
    above_percent: f64,
    groups: Vec<Group>,
    objects: Vec<PathBuf>,
}

struct Group {
    name: String,
    folders: Vec<String>,
    files: BTreeMap<String, Share>,
}

/// Lines of a file, and how many of them tests have run.
#[derive(Clone, Copy, Default)]
struct Share {
    lines: usize,
    integration: usize,
    all: usize,
}

impl Share {
    fn percent(run: usize, lines: usize) -> f64 {
        if lines == 0 { 0.0 } else { 100.0 * run as f64 / lines as f64 }
    }

    fn integration_percent(self) -> f64 {
        Self::percent(self.integration, self.lines)
    }

    fn all_percent(self) -> f64 {
        Self::percent(self.all, self.lines)
    }
}

impl Group {
    fn share(&self) -> Share {
        self.files.values().fold(Share::default(), |sum, file| Share {
            lines: sum.lines + file.lines,
            integration: sum.integration + file.integration,
            all: sum.all + file.all,
        })
    }
}

impl Report {
    fn of(tools: &Tools, only: Option<&str>) -> Result<Self, String> {
        let limits = Limits::read()?;
        let built = Built::list()?;
        let integration = lines::run(tools, &[Tests::Integration], &built.used)?;
        // What the unit tests ran is in their own binaries, under names of their own.
        let unit = lines::run(tools, &[Tests::Unit], &built.tests)?;
        let mut groups = Vec::new();
        for (name, folders) in limits.groups.into_iter().filter(|(name, _)| only.is_none_or(|only| only == name)) {
            let is_in = |file: &str| folders.iter().any(|f| file.strip_prefix(f).is_some_and(is_product));
            let files = integration.iter().filter(|(file, _)| is_in(file) && !limits.generated.contains(file));
            let files: BTreeMap<_, _> =
                files.map(|(file, lines)| (file.clone(), share(lines, unit.get(file)))).collect();
            if files.is_empty() {
                return Err(format!("nothing was counted in group `{name}`: {}", folders.join(", ")));
            }
            groups.push(Group { name, folders, files });
        }
        if groups.is_empty() {
            return Err(format!("xtask/coverage/groups.toml has no group `{}`", only.unwrap_or_default()));
        }
        Ok(Self { above_percent: limits.above_percent, groups, objects: built.used })
    }

    fn print(&self, with_files: bool) {
        println!("{:<14} {:>7} {:>13} {:>10}", "group", "lines", "integration %", "all %");
        for group in &self.groups {
            let share = group.share();
            let (integration, all) = (share.integration_percent(), share.all_percent());
            println!("{:<14} {:>7} {integration:>13.1} {all:>10.1}", group.name, share.lines);
            for (file, share) in group.files.iter().filter(|_| with_files) {
                let (integration, all) = (share.integration_percent(), share.all_percent());
                println!("  {:>7} {integration:>6.1} {all:>6.1}  {file}", share.lines);
            }
        }
    }

    fn json(&self) -> Value {
        let group = |group: &Group| {
            let share = group.share();
            json!({
                "group": group.name, "folders": group.folders, "lines": share.lines,
                "integration_percent": share.integration_percent(), "all_percent": share.all_percent(),
                "above_percent": self.above_percent, "met": share.integration_percent() > self.above_percent,
            })
        };
        self.groups.iter().map(group).collect()
    }

    fn html(&self, tools: &Tools) -> Result<PathBuf, String> {
        let folder = folder().join("html");
        let folders: Vec<_> = self.groups.iter().flat_map(|g| &g.folders).map(|f| exec::root().join(f)).collect();
        lines::html(tools, &self.objects, &folders, &folder)?;
        Ok(folder.join("index.html"))
    }

    fn verdict(&self) -> Outcome {
        let is_below = |group: &&Group| group.share().integration_percent() <= self.above_percent;
        let below: Vec<_> = self.groups.iter().filter(is_below).map(|g| g.name.as_str()).collect();
        if below.is_empty() {
            return Ok(());
        }
        let which = below.join(", ");
        Err(format!(
            "integration tests run {} % of the lines of {which} or less; `cargo xtask coverage --counted --html` shows which they \
             leave out",
            self.above_percent,
        ))
    }
}

/// Whether a path behind its group's folder leads to what is built to be used: `/src/…` of a crate, `/NAME/src/…` of a folder of crates.
fn is_product(path: &str) -> bool {
    path.starts_with('/') && path.contains("/src/")
}

fn share(lines: &Lines, unit: Option<&Lines>) -> Share {
    let by_unit = |line: &u32| unit.and_then(|unit| unit.get(line)).is_some_and(|count| *count > 0);
    Share {
        lines: lines.len(),
        integration: lines.values().filter(|count| **count > 0).count(),
        all: lines.iter().filter(|(line, count)| **count > 0 || by_unit(line)).count(),
    }
}

/// What cargo has built with counters.
struct Built {
    /// Libraries, binaries and the integration tests: what integration tests run.
    used: Vec<PathBuf>,
    /// Unit tests.
    tests: Vec<PathBuf>,
}

impl Built {
    fn list() -> Result<Self, String> {
        let arguments =
            ["test", "--workspace", "--lib", "--bins", "--tests", "--no-run", "--quiet", "--message-format", "json"];
        let text = output(instrument(&mut command("cargo", &arguments), Tests::Unit))?;
        let mut built = Self { used: Vec::new(), tests: Vec::new() };
        let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        for artifact in messages.filter(|message| message["reason"] == "compiler-artifact") {
            let is_ours = artifact["manifest_path"]
                .as_str()
                .is_some_and(|path| exec::root().join(path).starts_with(exec::root()));
            let kind = artifact["target"]["kind"][0].as_str().unwrap_or_default();
            if !is_ours || kind == "custom-build" {
                continue;
            }
            let is_unit = artifact["profile"]["test"] == true && kind != "test";
            let files = artifact["filenames"].as_array().into_iter().flatten();
            let binary = artifact["executable"].as_str().map(PathBuf::from);
            let library = files.filter_map(Value::as_str).find(|file| file.ends_with(".rlib")).map(PathBuf::from);
            if let Some(object) = binary.or(library) {
                if is_unit { &mut built.tests } else { &mut built.used }.push(object);
            }
        }
        Ok(built)
    }
}
