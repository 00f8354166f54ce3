//! LLVM's tools in the version that rustc writes for.

use std::path::{Path, PathBuf};

use crate::exec::{self, command, output};

/// `llvm-profdata` and `llvm-cov`.
pub(crate) struct Tools {
    pub(super) profdata: PathBuf,
    pub(super) cov: PathBuf,
}

impl Tools {
    /// Those of the toolchain (`rustup component add llvm-tools`), or the distribution's of the same major version, installed where we may.
    pub(crate) fn find() -> Result<Self, String> {
        let sysroot = output(&mut command("rustc", &["--print", "sysroot"]))?;
        let own = Path::new(sysroot.trim()).join("lib/rustlib").join(exec::host()?).join("bin");
        let own = Self { profdata: own.join("llvm-profdata"), cov: own.join("llvm-cov") };
        if own.profdata.is_file() && own.cov.is_file() {
            return Ok(own);
        }
        let version = output(&mut command("rustc", &["-vV"]))?;
        let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "));
        let major = llvm.and_then(|version| version.split('.').next()).ok_or("rustc names no version of LLVM")?;
        let names = [format!("llvm-profdata-{major}"), format!("llvm-cov-{major}")];
        exec::install(&[&names[0], &names[1]], &[&format!("llvm-{major}")])?;
        let [profdata, cov] = names.map(PathBuf::from);
        Ok(Self { profdata, cov })
    }
}
