//! Our supervisors beside Erlang/OTP's: prepares the real one from the distribution's packages and compares traces.
//!
//! OTP's `supervisor.erl` is fetched as source and compiled under another name with its clock call replaced, so that scenarios script
//! time; nothing of it is kept in the repository. The comparison itself is the test program `otp` of `csf-runtime`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::exec::{self, command, output};

const RUNNER: &str = "crates/fabric/csf-runtime/tests/otp/oracle.erl";
/// What is replaced in OTP's source: its name, where it starts itself, and its clock.
const REPLACED: [(&str, &str); 4] = [
    ("-module(supervisor).", "-module(scripted_supervisor)."),
    ("gen_server:start_link(supervisor,", "gen_server:start_link(scripted_supervisor,"),
    ("gen_server:start_link(SupName, supervisor,", "gen_server:start_link(SupName, scripted_supervisor,"),
    ("erlang:monotonic_time(1)", "oracle:now_s()"),
];

/// `--scenarios N --seed S --only N --json` go to the comparison.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let oracle = prepare().map_err(Unready::reason)?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    print!("{}", compare(&oracle, &arguments)?);
    Ok(())
}

/// Runs the comparison and returns what it prints.
pub(crate) fn compare(oracle: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut test = command("cargo", &["test", "--quiet", "--package", "csf-runtime", "--test", "otp", "--"]);
    output(test.args(arguments).env("CSF_OTP", oracle))
}

/// Why there is no oracle.
pub(crate) enum Unready {
    /// Something of the distribution's cannot be had here.
    Absent(String),
    /// It can, and does not fit.
    Broken(String),
}

impl Unready {
    fn reason(self) -> String {
        match self {
            Self::Absent(reason) | Self::Broken(reason) => reason,
        }
    }
}

/// The folder with the compiled oracle; made when it is not there.
pub(crate) fn prepare() -> Result<PathBuf, Unready> {
    exec::install(&["erl", "erlc"], &["erlang-base"]).map_err(Unready::Absent)?;
    let folder = exec::target().join("otp");
    let folder = if folder.is_absolute() { folder } else { exec::root().join(folder) };
    fs::create_dir_all(&folder).map_err(|e| Unready::Broken(format!("{}: {e}", folder.display())))?;
    let out = folder.display().to_string();
    output(&mut command("erlc", &["-Wall", "-o", &out, RUNNER])).map_err(Unready::Broken)?;
    if !folder.join("scripted_supervisor.beam").is_file() {
        let archive = fetch_source(&folder).map_err(Unready::Absent)?;
        scripted_supervisor(&folder, &archive).map_err(Unready::Broken)?;
    }
    Ok(folder)
}

fn scripted_supervisor(folder: &Path, archive: &Path) -> Result<(), String> {
    let archive = archive.display().to_string();
    // The archive has a second copy of some files for OTP's own bootstrap.
    let wanted = ["*/lib/stdlib/src/supervisor.erl", "*/lib/kernel/include/logger.hrl"];
    let out = folder.display().to_string();
    let unpack = ["-xf", &archive, "-C", &out, "--exclude=*/bootstrap/*", "--strip-components=1", "--wildcards"];
    output(command("tar", &unpack).args(wanted))?;
    let source = folder.join("lib/stdlib/src/supervisor.erl");
    let mut text = fs::read_to_string(&source).map_err(|e| format!("{}: {e}", source.display()))?;
    for (theirs, replaced) in REPLACED {
        if !text.contains(theirs) {
            return Err(format!("this OTP's supervisor.erl has no `{theirs}`; its version is not known here"));
        }
        text = text.replace(theirs, replaced);
    }
    let scripted = folder.join("scripted_supervisor.erl");
    fs::write(&scripted, text).map_err(|e| format!("{}: {e}", scripted.display()))?;
    let include = folder.join("lib/kernel/include").display().to_string();
    output(&mut command("erlc", &["-I", &include, "-o", &out, &scripted.display().to_string()])).map(drop)
}

/// The source package of the installed Erlang, through a list of sources of our own: the machine's stays as it is.
fn fetch_source(folder: &Path) -> Result<PathBuf, String> {
    let version =
        output(&mut command("dpkg-query", &["-W", "-f", "${source:Package}=${source:Version}", "erlang-base"]))
            .map_err(|e| format!("Erlang's source package needs Debian's erlang-base: {e}"))?;
    let lists = folder.join("lists");
    fs::create_dir_all(lists.join("partial")).map_err(|e| format!("{}: {e}", lists.display()))?;
    let sources = source_list(folder)?;
    let options = [
        format!("-oDir::Etc::sourcelist={}", sources.display()),
        "-oDir::Etc::sourceparts=-".to_owned(),
        format!("-oDir::State::Lists={}", lists.display()),
        "-oAPT::Sandbox::User=root".to_owned(),
    ];
    output(command("apt-get", &["-qq"]).args(&options).arg("update"))?;
    let mut source = command("apt-get", &["-qq"]);
    output(source.args(&options).args(["source", "--download-only", version.trim()]).current_dir(folder))?;
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let is_archive = |p: &PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().contains(".orig.tar"));
    let archive = entries.flatten().map(|e| e.path()).find(is_archive);
    archive.ok_or_else(|| format!("apt-get source {version} brought no archive"))
}

/// The machine's sources of packages, as sources of source packages.
fn source_list(folder: &Path) -> Result<PathBuf, String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|e| e.path()));
    let (mut stanzas, mut lines) = (String::new(), String::new());
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|e| e.to_str()) {
            Some("sources") => {
                stanzas.push_str(
                    &text.replace("Types: deb\n", "Types: deb-src\n").replace("Types: deb deb-src", "Types: deb-src"),
                );
                stanzas.push('\n');
            }
            Some("list") => {
                let binary = text.lines().filter_map(|l| l.strip_prefix("deb "));
                lines.extend(binary.map(|rest| format!("deb-src {rest}\n")));
            }
            _ => {}
        }
    }
    let (name, text) = if stanzas.is_empty() { ("source.list", lines) } else { ("source.sources", stanzas) };
    let path = folder.join(name);
    fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path)
}
