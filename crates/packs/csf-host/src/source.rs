//! The port to the machine: its text files, directories and file systems; and the adapter that asks the kernel.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Longest file read, bytes: `/proc/stat` of a machine with a thousand processors has about 200 KiB.
const FILE_MAX: u64 = 4 << 20;
/// Most entries of a directory that are listed.
const ENTRIES_MAX: usize = 1 << 16;

/// Space of a mounted file system, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filesystem {
    /// Its size.
    pub total_bytes: u64,
    /// What an ordinary user may still write.
    pub free_bytes: u64,
}

/// Where the service reads the machine. Names are relative to the root of proc.
pub trait ProcSource: Send {
    /// Replaces `text` by the content of `file`.
    ///
    /// # Errors
    /// As the machine says; `NotFound` or `Unsupported` where this kernel has no such file.
    fn read(&mut self, file: &str, text: &mut String) -> io::Result<()>;

    /// Names in `directory`.
    ///
    /// # Errors
    /// As [`ProcSource::read`].
    fn list(&mut self, directory: &str) -> io::Result<Vec<String>>;

    /// Space of the file system that holds `path`, a path of the machine.
    ///
    /// # Errors
    /// As [`ProcSource::read`].
    fn filesystem(&mut self, path: &Path) -> io::Result<Filesystem>;
}

/// The kernel's own proc file system. A read costs some 10 µs and never waits for a device.
#[derive(Debug)]
pub struct ProcFiles {
    root: PathBuf,
    bytes: Vec<u8>,
}

impl ProcFiles {
    /// The proc file system mounted on `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), bytes: Vec::new() }
    }
}

impl ProcSource for ProcFiles {
    fn read(&mut self, file: &str, text: &mut String) -> io::Result<()> {
        self.bytes.clear();
        let file = File::open(self.root.join(file))?;
        let length = file.take(FILE_MAX).read_to_end(&mut self.bytes)?;
        if length as u64 == FILE_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {FILE_MAX} bytes")));
        }
        text.clear();
        text.push_str(&String::from_utf8_lossy(&self.bytes));
        Ok(())
    }

    fn list(&mut self, directory: &str) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(self.root.join(directory))?;
        entries.take(ENTRIES_MAX).map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn filesystem(&mut self, path: &Path) -> io::Result<Filesystem> {
        let space = rustix::fs::statvfs(path)?;
        Ok(Filesystem {
            total_bytes: space.f_blocks.saturating_mul(space.f_frsize),
            free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
        })
    }
}
