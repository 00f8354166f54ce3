//! `cargo xtask new-pack NAME`: a crate with a working component and its test, registered in the binary.

use std::path::Path;

use crate::Outcome;
use crate::exec;

const MANIFEST: &str = r#"[package]
name = "csf-{name}"
description = "The {name} pack"
version.workspace = true
edition.workspace = true
rust-version.workspace = true
license.workspace = true
publish.workspace = true

[dependencies]
csf-core.workspace = true
csf-runtime.workspace = true
postcard.workspace = true
schemars.workspace = true
serde.workspace = true

[lints]
workspace = true
"#;

const SOURCE: &str = r#"//! The `{name}` pack.

use csf_core::prelude::*;
use csf_runtime::{Manifest, NoOptions, Pack, Registrar};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The pack.
#[derive(Clone, Copy, Debug, Default)]
pub struct {Type};

impl Pack for {Type} {
    fn manifest(&self) -> Manifest {
        Manifest { name: "{name}", doc: "counts what it reads" }
    }

    fn register(&self, registrar: &mut Registrar<'_>) {
        registrar
            .component::<NoOptions, _>("counter", "counts packets", |_| Counter::default())
            .writes::<Count>("count")
            .done();
    }
}

/// Packets seen so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Count {
    /// Their number.
    pub packets: u64,
}

impl Message for Count {
    const NAME: &'static str = "{name}.count";
    const VERSION: u16 = 1;
}

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    packets: u64,
}

impl Component for Counter {
    fn on_event(&mut self, cx: &mut Context<'_>, _event: &Event<'_>) -> Result<(), Fault> {
        self.packets += 1;
        cx.publish("count", Count { packets: self.packets })?;
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("plain data always encodes")
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault> {
        *self = postcard::from_bytes(snapshot).map_err(|e| Fault::Snapshot { reason: e.to_string() })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_brings_the_count_back() {
        let mut counter = Counter::default();
        counter.restore(&Counter { packets: 7 }.snapshot()).unwrap();
        assert_eq!(counter.packets, 7);
    }
}
"#;

/// Where the pack is named, and what its line stands before.
const PLACES: [(&str, &str, &str); 3] = [
    ("Cargo.toml", "csf-runtime = {", "csf-{name} = { path = \"crates/packs/csf-{name}\" }\n"),
    ("apps/csf/Cargo.toml", "csf-runtime.workspace", "csf-{name}.workspace = true\n"),
    ("apps/csf/src/packs.rs", "Box::new(csf_host::Host)", "Box::new(csf_{name}::{Type}), "),
];

/// Writes the crate and its three lines elsewhere.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let name = arguments.first().ok_or("usage: cargo xtask new-pack NAME")?;
    write(&exec::root(), name)?;
    println!("csf-{name} is ready: `cargo test -p csf-{name}`, then name `{name}.counter` in a csf.toml");
    Ok(())
}

/// The same in any copy of the repository. Nothing is written unless everything can be.
pub(crate) fn write(root: &Path, name: &str) -> Outcome {
    let is_fine = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(|c| c.is_ascii_lowercase());
    if !is_fine {
        return Err(format!("`{name}` cannot be a pack's name; use lower-case letters only"));
    }
    let folder = root.join(format!("crates/packs/csf-{name}"));
    if folder.exists() {
        return Err(format!("{} exists already", folder.display()));
    }
    let kind: String = name[..1].to_uppercase() + &name[1..];
    let fill = |text: &str| text.replace("{name}", name).replace("{Type}", &kind);
    let mut files = vec![(folder.join("Cargo.toml"), fill(MANIFEST)), (folder.join("src/lib.rs"), fill(SOURCE))];
    for (file, before, line) in PLACES {
        let path = root.join(file);
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{file}: {e}"))?;
        let at = text.find(before).ok_or_else(|| format!("{file}: no line with `{before}`"))?;
        files.push((path, format!("{}{}{}", &text[..at], fill(line), &text[at..])));
    }
    std::fs::create_dir_all(folder.join("src")).map_err(|e| e.to_string())?;
    for (path, text) in files {
        std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    // The list of packs may not fit its line any more.
    exec::output(exec::command("cargo", &["fmt", "--package", "csf"]).current_dir(root)).map(drop)
}
