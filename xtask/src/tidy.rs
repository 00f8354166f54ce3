//! What the house keeps: layers, manifests, unsafe code, packs, error pages, traceability, links.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Outcome;
use crate::exec;

/// Runs every check and reports all findings.
pub(crate) fn run() -> Outcome {
    let house = House::read()?;
    let mut findings = Vec::new();
    house.layers(&mut findings)?;
    house.manifests(&mut findings)?;
    house.unsafe_code(&mut findings)?;
    house.packs(&mut findings)?;
    house.error_pages(&mut findings)?;
    house.links(&mut findings)?;
    house.traceability(&mut findings)?;
    house.largest();
    if findings.is_empty() {
        println!("tidy: {} packages in order", house.packages.len());
        return Ok(());
    }
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    Err(format!("{} findings", findings.len()))
}

struct Package {
    name: String,
    folder: PathBuf,
    /// Second path segment below `crates`, or the first one.
    group: String,
    dependencies: Vec<(String, String)>,
}

struct House {
    root: PathBuf,
    packages: Vec<Package>,
    rules: toml::Table,
    files: Vec<PathBuf>,
}

impl House {
    fn read() -> Result<Self, String> {
        let root = exec::root();
        let text =
            exec::output(&mut exec::command("cargo", &["metadata", "--no-deps", "--format-version", "1", "--quiet"]))?;
        let metadata: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        let packages =
            metadata["packages"].as_array().into_iter().flatten().filter_map(|p| package(p, &root)).collect();
        let rules = read(&root.join("xtask/layers.toml"))?.parse::<toml::Table>().map_err(|e| e.to_string())?;
        let listed =
            exec::output(&mut exec::command("git", &["ls-files", "--cached", "--others", "--exclude-standard"]))?;
        let files = listed.lines().map(|l| root.join(l)).filter(|p| p.is_file()).collect();
        Ok(Self { root, packages, rules, files })
    }

    fn group_of(&self, name: &str) -> Option<&str> {
        self.packages.iter().find(|p| p.name == name).map(|p| p.group.as_str())
    }

    fn allowed(&self, section: &str, key: &str) -> Vec<String> {
        let list = self.rules.get(section).and_then(|s| s.get(key)).and_then(toml::Value::as_array);
        list.into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    }

    /// No arrow up or sideways.
    fn layers(&self, findings: &mut Vec<String>) -> Outcome {
        for package in &self.packages {
            for (dependency, kind) in &package.dependencies {
                let Some(group) = self.group_of(dependency) else { continue };
                // The simulated world is everybody's in tests; tests may use what they need of the layers below.
                if kind == "dev" && (dependency == "csf-sim" || rank(group) >= rank(&package.group)) {
                    continue;
                }
                let inside = package.group == group && self.allowed(group, &package.name).contains(dependency);
                let is_down = rank(group) > rank(&package.group);
                let narrowed = package.group == "packs" && group == "fabric";
                let is_fine = inside || is_down && (!narrowed || self.allowed("packs", "fabric").contains(dependency));
                // Only the composition root builds a simulated node outside tests: `csf sim`.
                let is_simulated = dependency == "csf-sim" && package.group != "apps";
                if !is_fine || is_simulated {
                    let (from, to) = (&package.group, group);
                    findings.push(format!(
                        "{} ({from}) may not import {dependency} ({to}); see xtask/layers.toml",
                        package.name
                    ));
                }
            }
        }
        Ok(())
    }

    /// Versions and features live in the root manifest.
    fn manifests(&self, findings: &mut Vec<String>) -> Outcome {
        for package in &self.packages {
            let manifest =
                read(&package.folder.join("Cargo.toml"))?.parse::<toml::Table>().map_err(|e| e.to_string())?;
            for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
                for (name, value) in manifest.get(section).and_then(toml::Value::as_table).into_iter().flatten() {
                    let inherits = value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
                    if !inherits {
                        findings.push(format!("{}: `{name}` must be `workspace = true`", package.name));
                    }
                }
            }
            if manifest.get("lints").and_then(|l| l.get("workspace")).is_none() {
                findings.push(format!("{}: `[lints] workspace = true` is missing", package.name));
            }
        }
        Ok(())
    }

    fn unsafe_code(&self, findings: &mut Vec<String>) -> Outcome {
        let listed: BTreeSet<&str> = self
            .rules
            .get("unsafe")
            .and_then(toml::Value::as_table)
            .into_iter()
            .flatten()
            .map(|(k, _)| k.as_str())
            .collect();
        for package in &self.packages {
            for file in self.sources(&package.folder) {
                let lifts =
                    read(&file)?.lines().any(|l| l.trim_start().starts_with("#![") && l.contains("unsafe_code"));
                if lifts && !listed.contains(package.name.as_str()) {
                    findings.push(format!("{}: unsafe code is not listed in xtask/layers.toml", self.short(&file)));
                }
            }
        }
        Ok(())
    }

    /// A pack is a folder, a line in packs.rs and its twin in the manifest.
    fn packs(&self, findings: &mut Vec<String>) -> Outcome {
        let registry = read(&self.root.join("apps/csf/src/packs.rs"))?;
        let manifest = read(&self.root.join("apps/csf/Cargo.toml"))?;
        for package in self.packages.iter().filter(|p| p.group == "packs") {
            if !registry.contains(&package.name.replace('-', "_")) {
                findings.push(format!("{} has no entry in apps/csf/src/packs.rs", package.name));
            }
            if !manifest.contains(&format!("{}.workspace", package.name)) {
                findings.push(format!("{} is no dependency of apps/csf/Cargo.toml", package.name));
            }
        }
        Ok(())
    }

    /// Every code that the sources use has a page that says more than its title, and the binary carries it.
    fn error_pages(&self, findings: &mut Vec<String>) -> Outcome {
        let carried = read(&self.root.join("apps/csf/src/commands/explain.rs"))?;
        let mut used = BTreeMap::new();
        for package in &self.packages {
            for file in self.sources(&package.folder) {
                for code in codes(&read(&file)?) {
                    used.entry(code).or_insert_with(|| file.clone());
                }
            }
        }
        for (code, file) in used {
            let page = self.root.join(format!("docs/errors/{code}.md"));
            match std::fs::read_to_string(&page) {
                Ok(text) if text.lines().filter(|l| !l.trim().is_empty()).count() < 4 => {
                    findings.push(format!("docs/errors/{code}.md says nothing beyond its title"));
                }
                Ok(_) if !carried.contains(&format!("\"{code}\"")) => {
                    findings.push(format!("{code} is missing in commands/explain.rs"));
                }
                Ok(_) => {}
                Err(_) => findings.push(format!("{} uses {code}, which has no page in docs/errors", self.short(&file))),
            }
        }
        Ok(())
    }

    /// Relative links in documents lead somewhere.
    fn links(&self, findings: &mut Vec<String>) -> Outcome {
        for file in self.files.iter().filter(|f| f.extension().is_some_and(|e| e == "md")) {
            let text = read(file)?;
            for target in link_targets(&text) {
                let path = target.split('#').next().unwrap_or("");
                let is_foreign = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
                let base = file.parent().unwrap_or(&self.root);
                if !is_foreign && !base.join(path).exists() {
                    findings.push(format!("{}: link to {target} leads nowhere", self.short(file)));
                }
            }
        }
        Ok(())
    }

    /// Rows of docs/traceability.md: a requirement is done only with existing code and an existing test.
    fn traceability(&self, findings: &mut Vec<String>) -> Outcome {
        let text = read(&self.root.join("docs/traceability.md"))?;
        let mut seen = BTreeSet::new();
        for row in text.lines().filter(|l| l.starts_with("| ") && l.contains('-')) {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let [id, status, code, test] = cells[..] else { continue };
            if !is_requirement(id) {
                continue;
            }
            if !seen.insert(id.to_owned()) {
                findings.push(format!("traceability: {id} appears twice"));
            }
            match status {
                "open" => {}
                "done" | "part" => {
                    self.named(id, code, findings);
                    self.test_exists(id, test, findings)?;
                }
                other => findings.push(format!("traceability: {id} is `{other}`, expected open, part or done")),
            }
        }
        if seen.len() != REQUIREMENTS {
            findings
                .push(format!("traceability lists {} requirements, the specification has {REQUIREMENTS}", seen.len()));
        }
        Ok(())
    }

    fn named(&self, id: &str, code: &str, findings: &mut Vec<String>) {
        let paths: Vec<&str> = code.split('`').skip(1).step_by(2).collect();
        if paths.is_empty() {
            findings.push(format!("traceability: {id} names no code"));
        }
        for path in paths.iter().filter(|p| !self.root.join(p).exists()) {
            findings.push(format!("traceability: {id} names {path}, which does not exist"));
        }
    }

    /// Tests are named `path::function`; the function must be in the file.
    fn test_exists(&self, id: &str, test: &str, findings: &mut Vec<String>) -> Outcome {
        let names: Vec<&str> = test.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            findings.push(format!("traceability: {id} names no test"));
        }
        for name in names {
            let Some((path, function)) = name.split_once("::") else {
                findings.push(format!("traceability: {id}: `{name}` is not path::function"));
                continue;
            };
            let file = self.root.join(path);
            if !file.is_file() || !read(&file)?.contains(function) {
                findings.push(format!("traceability: {id} names the test {name}, which does not exist"));
            }
        }
        Ok(())
    }

    /// A feel, not a gate.
    fn largest(&self) {
        let mut sizes: Vec<(usize, String)> = self
            .packages
            .iter()
            .flat_map(|p| self.sources(&p.folder))
            .filter_map(|f| Some((std::fs::read_to_string(&f).ok()?.lines().count(), self.short(&f))))
            .collect();
        sizes.sort();
        for (lines, file) in sizes.iter().rev().take(5) {
            println!("tidy: {lines:>5} lines  {file}");
        }
    }

    fn sources(&self, folder: &Path) -> Vec<PathBuf> {
        let is_source = |f: &&PathBuf| f.starts_with(folder) && f.extension().is_some_and(|e| e == "rs");
        self.files.iter().filter(is_source).cloned().collect()
    }

    fn short(&self, file: &Path) -> String {
        file.strip_prefix(&self.root).unwrap_or(file).display().to_string()
    }
}

/// Requirements in the specification.
const REQUIREMENTS: usize = 278;

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn package(value: &Value, root: &Path) -> Option<Package> {
    let folder = PathBuf::from(value["manifest_path"].as_str()?).parent()?.to_path_buf();
    let relative = folder.strip_prefix(root).ok()?.to_path_buf();
    let mut segments = relative.iter().map(|s| s.to_string_lossy().into_owned());
    let first = segments.next()?;
    let group = if first == "crates" { segments.next()? } else { first };
    let dependencies = value["dependencies"].as_array()?.iter();
    let dependencies = dependencies
        .filter_map(|d| Some((d["name"].as_str()?.to_owned(), d["kind"].as_str().unwrap_or("normal").to_owned())));
    Some(Package { name: value["name"].as_str()?.to_owned(), folder, group, dependencies: dependencies.collect() })
}

/// Larger is lower; equal means sideways.
fn rank(group: &str) -> u8 {
    match group {
        "core" => 3,
        "fabric" => 2,
        "packs" | "services" | "compute" | "trust" => 1,
        _ => 0,
    }
}

fn codes(text: &str) -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for (at, _) in text.match_indices("CSF-") {
        let digits: String = text[at + 4..].chars().take_while(char::is_ascii_digit).collect();
        if digits.len() == 4 {
            codes.insert(format!("CSF-{digits}"));
        }
    }
    codes
}

fn link_targets(text: &str) -> Vec<String> {
    let mut targets = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code || line.starts_with("    ") {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            if let Some(end) = line[at + 2..].find(')') {
                targets.push(line[at + 2..at + 2 + end].to_owned());
            }
        }
    }
    targets
}

fn is_requirement(id: &str) -> bool {
    let Some((prefix, number)) = id.split_once('-') else { return false };
    ["FAB", "INT", "TRU", "FRM", "AVI"].contains(&prefix)
        && number.len() == 3
        && number.bytes().all(|b| b.is_ascii_digit())
}
