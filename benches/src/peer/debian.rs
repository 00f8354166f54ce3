//! Programs of a newer Debian than this one, unpacked into a folder of the user's cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::output;
use crate::load::Missing;

/// A program of a package of Debian's unstable suite; it is fetched from where this machine gets its packages when it is not there yet.
pub fn unstable(package: &str, program: &str) -> Result<PathBuf, Missing> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let cache = cache.ok_or_else(|| Missing("no folder for a cache: set HOME".to_owned()))?;
    let root = cache.join("csf-bench").join("debian-unstable").join(package);
    let wanted = root.join("root").join(program);
    if !wanted.exists() {
        fetch(package, &root)?;
    }
    Ok(wanted)
}

fn fetch(package: &str, root: &Path) -> Result<(), Missing> {
    let io = |what: &Path| {
        let what = what.display().to_string();
        move |e: std::io::Error| Missing(format!("{what}: {e}"))
    };
    fs::create_dir_all(root.join("lists/partial")).map_err(io(root))?;
    let sources = root.join("unstable.sources");
    fs::write(&sources, of_unstable()?).map_err(io(&sources))?;
    let option = |name: &str, value: &Path| format!("-o{name}={}", value.display());
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.current_dir(root).args(["-qq", "-oDir::Etc::sourceparts=/dev/null"]);
        apt.arg(option("Dir::Etc::sourcelist", &sources)).arg(option("Dir::State::lists", &root.join("lists")));
        apt.arg(option("Dir::Cache", root)).args(arguments);
        output(&mut apt)
    };
    apt(&["update"])?;
    apt(&["download", package])?;
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let files = fs::read_dir(root).map_err(io(root))?;
    let file = files.filter_map(|entry| Some(entry.ok()?.path())).find(is_package);
    let file = file.ok_or_else(|| Missing(format!("apt-get downloaded no package {package}")))?;
    output(Command::new("dpkg").arg("--extract").arg(file).arg(root.join("root")))?;
    Ok(())
}

/// The first source of this machine, its suite replaced.
fn of_unstable() -> Result<String, Missing> {
    let file = "/etc/apt/sources.list.d/debian.sources";
    let text = fs::read_to_string(file).map_err(|e| Missing(format!("{file}: {e}")))?;
    let first = text.split("\n\n").next().unwrap_or_default();
    let line = |line: &str| if line.starts_with("Suites:") { "Suites: sid".to_owned() } else { line.to_owned() };
    Ok(first.lines().map(line).collect::<Vec<_>>().join("\n") + "\n")
}
