//! Pictures of the console at two sizes and two themes, each page checked for faults by axe-core in a real Chromium.

use std::path::PathBuf;

use crate::Outcome;
use crate::exec::{self, command, output};
use crate::test::cache;

const PLAYWRIGHT: &str = "playwright-core@1.65.1";
const AXE: &str = "axe-core@4.14.1";

fn tools() -> PathBuf {
    cache().join("console")
}

/// Installs Chromium, node and the two npm packages where they are missing.
pub(crate) fn prepare() -> Outcome {
    exec::install(&["chromium"], &["chromium", "fonts-dejavu-core"])?;
    exec::install(&["node", "npm"], &["nodejs", "npm"])?;
    let tools = tools();
    if !tools.join("node_modules/axe-core").exists() {
        std::fs::create_dir_all(&tools).map_err(|e| e.to_string())?;
        let mut npm = command("npm", &["install", "--silent", "--no-audit", "--no-fund", "--no-save", PLAYWRIGHT, AXE]);
        output(npm.current_dir(&tools).env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1"))?;
    }
    Ok(())
}

/// Writes the pictures into the folder named, or `target/shots`. The book keeps two of them, chosen by hand.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    prepare()?;
    exec::build_csf()?;
    let folder = arguments.first().map_or_else(|| exec::target().join("shots"), PathBuf::from);
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let folder = folder.canonicalize().map_err(|e| e.to_string())?;
    let mut node = command("node", &["xtask/console/shots.cjs"]);
    node.env("NODE_PATH", tools().join("node_modules")).env("CSF", exec::csf()).env("OUT", &folder);
    let text = output(&mut node)?;
    print!("{text}");
    Ok(())
}
