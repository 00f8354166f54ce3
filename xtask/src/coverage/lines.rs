//! From counters to lines.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::exec::{self, command, output};

use super::{Tests, Tools, folder};

/// How often each line of a file was run.
pub(super) type Lines = BTreeMap<u32, u64>;

/// The lines of the repository's files in `objects`, by the counts of these tests.
pub(super) fn run(tools: &Tools, tests: &[Tests], objects: &[PathBuf]) -> Result<BTreeMap<String, Lines>, String> {
    let mut export = command(&tools.cov, &["export", "--format", "lcov", "--instr-profile"]);
    export.arg(merged(tools, tests)?);
    Ok(read(&output(naming(&mut export, objects))?))
}

/// The same as pages, of these folders alone.
pub(super) fn html(tools: &Tools, objects: &[PathBuf], folders: &[PathBuf], to: &Path) -> Result<(), String> {
    let mut show = command(&tools.cov, &["show", "--format", "html", "--instr-profile"]);
    show.arg(merged(tools, &[Tests::Integration])?).arg("--output-dir").arg(to);
    output(naming(&mut show, objects).arg("--sources").args(folders)).map(|_| ())
}

/// The counts of all processes in one file.
fn merged(tools: &Tools, tests: &[Tests]) -> Result<PathBuf, String> {
    let mut counts = Vec::new();
    for folder in tests.iter().map(|tests| tests.counts()) {
        let files =
            std::fs::read_dir(&folder).map_err(|e| format!("nothing was counted: {}: {e}", folder.display()))?;
        counts.extend(
            files.flatten().map(|file| file.path()).filter(|path| path.extension() == Some(OsStr::new("profraw"))),
        );
    }
    let to = folder().join("merged.profdata");
    // A process may be killed while it writes its counts.
    let mut merge = command(&tools.profdata, &["merge", "--sparse", "--failure-mode", "all", "--output"]);
    output(merge.arg(&to).args(counts))?;
    Ok(to)
}

fn naming<'c>(tool: &'c mut Command, objects: &[PathBuf]) -> &'c mut Command {
    let (first, others) = objects.split_first().map_or((None, &[][..]), |(first, others)| (Some(first), others));
    tool.args(first);
    for object in others {
        tool.arg("--object").arg(object);
    }
    tool
}

/// Reads what `lcov` calls a tracefile: `SF:path`, then `DA:line,count` for each of its lines.
fn read(text: &str) -> BTreeMap<String, Lines> {
    let mut files: BTreeMap<String, Lines> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            let path = Path::new(path).strip_prefix(exec::root()).ok();
            current = path.map(|path| files.entry(path.display().to_string()).or_default());
        } else if let (Some(lines), Some(counted)) = (&mut current, line.strip_prefix("DA:")) {
            let mut numbers = counted.split(',');
            let line = numbers.next().and_then(|n| n.parse().ok());
            let count = numbers.next().and_then(|n| n.parse::<u64>().ok());
            if let (Some(line), Some(count)) = (line, count) {
                let sum: &mut u64 = lines.entry(line).or_default();
                *sum = sum.saturating_add(count);
            }
        }
    }
    files
}
