//! `csf new NAME`: a project with a component of one's own and every `csf` command for it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::{Outcome, print_json};
use crate::cli::New;
use crate::diagnostic::Failure;
use crate::packs;

const FILES: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("../template/Cargo.toml.txt")),
    ("csf.toml", include_str!("../template/csf.toml.txt")),
    ("src/main.rs", include_str!("../template/main.rs.txt")),
    ("src/alarm.rs", include_str!("../template/alarm.rs.txt")),
];

/// Where the template's configuration looks for its schema.
const SCHEMA: &str = "csf.schema.json";

pub(crate) fn run(args: &New) -> Outcome {
    check_name(&args.name)?;
    let target = args.path.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    if target.exists() {
        let message = format!("{} exists already; choose another name or --path", target.display());
        return Err(Failure::new("CSF-0210", message));
    }
    let root = source_root();
    let fill = |text: &str| {
        text.replace("{name}", &args.name)
            .replace("{id}", &args.name.replace('_', "-"))
            .replace("{root}", &root.display().to_string())
    };
    // The types of the new pack exist once it is built: until the schema is renewed, their options are not checked.
    let schema = csf_runtime::config::json_schema(&packs::catalogue(), Some(&fill("{id}")));
    let schema = (SCHEMA, format!("{schema:#}\n"));
    let written: Vec<(&str, String)> = FILES.iter().map(|(name, text)| (*name, fill(text))).chain([schema]).collect();
    for (name, text) in &written {
        let path = target.join(name);
        if !args.dry_run {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(&path, text)?;
        }
    }
    let files: Vec<String> = written.iter().map(|(name, _)| target.join(name).display().to_string()).collect();
    if args.json {
        return print_json(&json!({ "path": target, "files": files, "written": !args.dry_run }));
    }
    for file in &files {
        println!("{file}");
    }
    if args.dry_run {
        eprintln!("nothing was written");
    } else {
        eprintln!("next: cd {} && cargo test && cargo run --release -- up", target.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn check_name(name: &str) -> Result<(), Failure> {
    let is_fine = name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if is_fine && !["csf", "host", "avionics", "test", "alarm"].contains(&name) {
        return Ok(());
    }
    let message = format!(
        "`{name}` cannot be the name; use lower-case letters, digits and hyphens, at most 64, not a pack's name"
    );
    Err(Failure::new("CSF-0104", message))
}

/// Where this binary's sources are: the project refers to them by path until the crates are published.
fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map_or_else(PathBuf::new, Path::to_path_buf)
}
