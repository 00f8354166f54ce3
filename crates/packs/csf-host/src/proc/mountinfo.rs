//! `/proc/self/mountinfo`: which block device lies under a path.

use std::path::{Path, PathBuf};

use super::{Line, ProcError, lines};

const FILE: &str = "self/mountinfo";

/// One mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Device number, major part; 0 for file systems that are on no one device.
    pub major: u32,
    /// Device number, minor part.
    pub minor: u32,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// What is mounted, such as `/dev/vda`.
    pub source: String,
}

/// Parses the file.
///
/// # Errors
/// [`ProcError`].
pub fn parse(text: &str) -> Result<Vec<Mount>, ProcError> {
    lines(text).map(|(number, text)| mount(Line::new(FILE, number, text))).collect()
}

/// The mount that `path` lies on: the deepest, and of two on one point the later, which hides the earlier.
#[must_use]
pub fn under<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let depth = |m: &&Mount| m.mount_point.components().count();
    mounts.iter().filter(|m| path.starts_with(&m.mount_point)).max_by_key(depth)
}

fn mount(mut line: Line<'_>) -> Result<Mount, ProcError> {
    line.skip(2);
    let device = line.word("major:minor")?;
    let numbers = device.split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let (major, minor) = numbers.ok_or_else(|| line.error("major:minor", "two numbers", device))?;
    line.skip(1);
    let mount_point = PathBuf::from(unescape(line.word("mount point")?));
    line.skip(1);
    // Any number of optional fields, then a single hyphen.
    while line.word("separator")? != "-" {}
    line.skip(1);
    let source = unescape(line.word("mount source")?);
    Ok(Mount { major, minor, mount_point, source })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(u8::is_ascii);
        match code {
            Some(code) => {
                plain.push(char::from(code));
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                plain.push('\\');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}
