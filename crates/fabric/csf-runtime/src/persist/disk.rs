//! The steps by which a set of files appears at once: the port, and the file system behind it.

use std::fs::{self, File};
use std::io::{Result, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Changes to a file system, each a step that a crash can come before. What a step has done is durable when it returns.
pub(super) trait Disk {
    /// Makes a directory that only its owner reads.
    fn make_directory(&mut self, path: &Path) -> Result<()>;
    /// Writes a new file that only its owner reads, and flushes it.
    fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<()>;
    /// Flushes the names in a directory.
    fn flush_directory(&mut self, path: &Path) -> Result<()>;
    /// Gives a directory its final name.
    fn rename(&mut self, from: &Path, to: &Path) -> Result<()>;
    /// Removes a directory with everything in it.
    fn remove(&mut self, path: &Path) -> Result<()>;
}

/// The machine's own.
pub(super) struct FileSystem;

impl Disk for FileSystem {
    fn make_directory(&mut self, path: &Path) -> Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn flush_directory(&mut self, path: &Path) -> Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        fs::remove_dir_all(path)
    }
}
