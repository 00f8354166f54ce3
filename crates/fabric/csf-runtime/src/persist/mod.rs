//! State that outlives a process, encrypted: a directory per time, a file per component, a manifest (FRM-083).
//!
//! A file is `CSFSTATE1`, the key's name and its length before it, a nonce of 96 random bits, and the state as JSON sealed with
//! ChaCha20-Poly1305 (RFC 8439). The sealing covers format, component and time too, so no file can take another's place. Invariant: a set
//! of files appears as a whole or not at all, and the newest whole one stays until another is there.

mod disk;
pub(crate) mod hex;
mod keys;
mod rfc3339;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use csf_core::Stamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use disk::{Disk, FileSystem};
pub use keys::{KeyRing, StateKey};

/// First bytes of a state file; the digit is the format.
const MAGIC: &[u8; 9] = b"CSFSTATE1";
const NONCE_BYTES: usize = 12;
/// Whole sets kept.
const SETS_KEPT: usize = 5;
/// Ending of a set that is being written.
const PARTIAL: &str = "partial";
const MANIFEST: &str = "manifest.json";

/// State that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PersistenceError {
    /// No key was given.
    #[error("state is persisted encrypted only, and there is no key; give one as NAME=file:PATH")]
    NoKey,
    /// A key cannot be had.
    #[error("state key `{reference}`: {reason}")]
    KeyReference {
        /// Where it should be; never the key.
        reference: String,
        /// What is wrong.
        reason: String,
    },
    /// A file was sealed with a key that is not in the ring.
    #[error("{} was sealed with the key `{key_id}`, which was not given; add it before the newest one", file.display())]
    UnknownKey {
        /// Which file.
        file: PathBuf,
        /// Name of the key.
        key_id: String,
    },
    /// A file is not what was written.
    #[error("{} is damaged: {reason}; restore it from a copy or remove its directory", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A name that cannot be a file's.
    #[error("component `{id}` cannot be persisted: its name is not made of letters, digits, `-`, `_` and `.`")]
    Name {
        /// The name.
        id: String,
    },
    /// A component's own words.
    #[error("component `{id}`: {reason}")]
    Component {
        /// Which.
        id: String,
        /// Why.
        reason: String,
    },
    /// The disk's words.
    #[error("{}: {source}", path.display())]
    Storage {
        /// Where.
        path: PathBuf,
        /// What.
        source: std::io::Error,
    },
    /// No randomness for a nonce.
    #[error("no randomness for a nonce: {0}")]
    Randomness(getrandom::Error),
}

type Result<T> = std::result::Result<T, PersistenceError>;

/// Something whose state outlives the process.
pub trait PersistableComponent: Send + Sync {
    /// Unique name.
    fn component_id(&self) -> &str;

    /// Its state now.
    ///
    /// # Errors
    /// In its own words; then nothing of the set is written.
    fn extract_state(&self) -> std::result::Result<Value, String>;

    /// Takes a state over.
    ///
    /// # Errors
    /// When it does not fit.
    fn restore_state(&self, state: &Value) -> std::result::Result<(), String>;
}

/// One file of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersistenceMetadata {
    /// Whose state.
    pub component_id: String,
    /// File name inside the set.
    pub file_path: String,
    /// Bytes.
    pub size: u64,
    /// Time of the set, RFC 3339.
    pub timestamp: String,
    /// CRC-32 of the stored bytes, hexadecimal: finds damage without a key. Against intent there is the seal.
    pub checksum: String,
    /// Name of the key.
    pub key_id: String,
}

/// A whole set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersistenceReport {
    /// RFC 3339; name of its directory.
    pub time: String,
    /// Its files.
    pub files: Vec<PersistenceMetadata>,
}

/// A set with its states, by component.
pub type StateSet = (PersistenceReport, Vec<(String, Value)>);

/// Writes and reads sets of states in one directory.
pub struct StatePersistence {
    directory: PathBuf,
    keys: KeyRing,
    components: Mutex<Vec<Arc<dyn PersistableComponent>>>,
}

impl StatePersistence {
    /// Persists below `directory`, which is made when it is needed.
    #[must_use]
    pub fn new(directory: PathBuf, keys: KeyRing) -> Self {
        Self { directory, keys, components: Mutex::default() }
    }

    fn components(&self) -> MutexGuard<'_, Vec<Arc<dyn PersistableComponent>>> {
        self.components.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a component.
    pub fn register(&self, component: Arc<dyn PersistableComponent>) {
        self.components().push(component);
    }

    /// Writes the state of every component as a new set, and removes all but the newest five.
    ///
    /// # Errors
    /// [`PersistenceError`]; the sets before are untouched then.
    pub fn persist_all(&self, now: Stamp) -> Result<PersistenceReport> {
        let components = self.components().clone();
        let states = components.iter().map(|component| {
            let id = component.component_id().to_owned();
            let state = component.extract_state();
            Ok((id.clone(), state.map_err(|reason| PersistenceError::Component { id, reason })?))
        });
        self.write_set(&mut FileSystem, now, &states.collect::<Result<Vec<_>>>()?)
    }

    /// Hands every component its state of the newest set; `None` when there is no set. Components without a file are left as they are.
    ///
    /// # Errors
    /// [`PersistenceError`], naming the file. Nothing is restored then.
    pub fn restore_all(&self) -> Result<Option<PersistenceReport>> {
        let Some((report, states)) = self.read_newest()? else { return Ok(None) };
        for component in self.components().iter() {
            let id = component.component_id();
            if let Some((_, state)) = states.iter().find(|(name, _)| name == id) {
                let refused = |reason| PersistenceError::Component { id: id.to_owned(), reason };
                component.restore_state(state).map_err(refused)?;
            }
        }
        Ok(Some(report))
    }

    /// Seals the newest set anew with the newest key, and removes every other set, so that older keys can go.
    ///
    /// # Errors
    /// [`PersistenceError`]; nothing is removed then.
    pub fn rotate(&self, now: Stamp) -> Result<Option<PersistenceReport>> {
        let Some((_, states)) = self.read_newest()? else { return Ok(None) };
        let report = self.write_set(&mut FileSystem, now, &states)?;
        self.prune(&mut FileSystem, 1)?;
        Ok(Some(report))
    }

    /// Times of the whole sets, oldest first.
    fn sets(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut sets: Vec<String> = names.filter(|name| !name.ends_with(PARTIAL)).collect();
        sets.sort();
        sets
    }

    fn write_set(&self, disk: &mut dyn Disk, now: Stamp, states: &[(String, Value)]) -> Result<PersistenceReport> {
        let time = rfc3339::format(now);
        let (whole, partial) = (self.directory.join(&time), self.directory.join(format!("{time}.{PARTIAL}")));
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| PersistenceError::Storage { path, source }
        };
        disk.make_directory(&partial).map_err(at(&partial))?;
        let mut files = Vec::new();
        for (id, state) in states {
            files.push(self.persist_component(disk, &partial, &time, id, state)?);
        }
        let report = PersistenceReport { time, files };
        let manifest = partial.join(MANIFEST);
        let text = serde_json::to_vec_pretty(&report).expect("a report is plain data");
        disk.write(&manifest, &text).map_err(at(&manifest))?;
        disk.flush_directory(&partial).map_err(at(&partial))?;
        disk.rename(&partial, &whole).map_err(at(&whole))?;
        disk.flush_directory(&self.directory).map_err(at(&self.directory))?;
        self.prune(disk, SETS_KEPT)?;
        Ok(report)
    }

    fn persist_component(
        &self,
        disk: &mut dyn Disk,
        set: &Path,
        time: &str,
        id: &str,
        state: &Value,
    ) -> Result<PersistenceMetadata> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if id.is_empty() || id.starts_with('.') || !id.chars().all(is_plain) {
            return Err(PersistenceError::Name { id: id.to_owned() });
        }
        let bytes = seal(self.keys.newest(), id, time, state)?;
        let file_path = format!("{id}.state");
        let path = set.join(&file_path);
        disk.write(&path, &bytes).map_err(|source| PersistenceError::Storage { path, source })?;
        Ok(PersistenceMetadata {
            component_id: id.to_owned(),
            file_path,
            size: bytes.len() as u64,
            timestamp: time.to_owned(),
            checksum: calculate_checksum(&bytes),
            key_id: self.keys.newest().id().to_owned(),
        })
    }

    /// Removes unfinished sets of earlier processes, and all but the newest `kept` whole ones.
    fn prune(&self, disk: &mut dyn Disk, kept: usize) -> Result<()> {
        let sets = self.sets();
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten().flatten().map(|entry| entry.path());
        let unfinished = entries.filter(|path| path.extension().is_some_and(|e| e == PARTIAL));
        let old = sets[..sets.len().saturating_sub(kept)].iter().map(|time| self.directory.join(time));
        for path in unfinished.chain(old) {
            disk.remove(&path).map_err(|source| PersistenceError::Storage { path, source })?;
        }
        Ok(())
    }

    /// The newest set and its states by component; `None` when there is no set.
    ///
    /// # Errors
    /// [`PersistenceError`], naming the file.
    pub fn read_newest(&self) -> Result<Option<StateSet>> {
        let Some(time) = self.sets().pop() else { return Ok(None) };
        let set = self.directory.join(time);
        let manifest = set.join(MANIFEST);
        let text = read(&manifest)?;
        let damaged = |e: serde_json::Error| PersistenceError::Damaged { file: manifest, reason: e.to_string() };
        let report: PersistenceReport = serde_json::from_slice(&text).map_err(damaged)?;
        let states = report.files.iter().map(|file| Ok((file.component_id.clone(), self.read_state(&set, file)?)));
        let states = states.collect::<Result<Vec<_>>>()?;
        Ok(Some((report, states)))
    }

    fn read_state(&self, set: &Path, file: &PersistenceMetadata) -> Result<Value> {
        let path = set.join(format!("{}.state", file.component_id));
        let bytes = read(&path)?;
        let damaged = |reason: String| PersistenceError::Damaged { file: path.clone(), reason };
        let checksum = calculate_checksum(&bytes);
        if checksum != file.checksum {
            return Err(damaged(format!("its checksum is {checksum}, the manifest says {}", file.checksum)));
        }
        open(&self.keys, &file.component_id, &file.timestamp, &bytes).map_err(|error| match error {
            OpenError::Key(key_id) => PersistenceError::UnknownKey { file: path.clone(), key_id },
            OpenError::Form => damaged("it is no state file of this format".to_owned()),
            OpenError::Seal => damaged("its seal does not fit its key, component and time".to_owned()),
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => {
            PersistenceError::Damaged { file: path.to_owned(), reason: "it is missing".to_owned() }
        }
        _ => PersistenceError::Storage { path: path.to_owned(), source },
    })
}

/// CRC-32 of the stored bytes.
#[must_use]
pub fn calculate_checksum(bytes: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(bytes))
}

/// What the seal covers beside the state.
fn associated(id: &str, time: &str) -> Vec<u8> {
    [&MAGIC[..], b"\0", id.as_bytes(), b"\0", time.as_bytes()].concat()
}

fn cipher(key: &StateKey) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(&Key::from(*key.secret()))
}

fn seal(key: &StateKey, id: &str, time: &str, state: &Value) -> Result<Vec<u8>> {
    let mut nonce = [0_u8; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(PersistenceError::Randomness)?;
    let plain = serde_json::to_vec(state).expect("a value is JSON");
    let payload = Payload { msg: &plain, aad: &associated(id, time) };
    let sealed = cipher(key).encrypt(&Nonce::from(nonce), payload).expect("a state is shorter than 256 GiB");
    let name = key.id().as_bytes();
    Ok([&MAGIC[..], &[name.len() as u8], name, &nonce, &sealed].concat())
}

enum OpenError {
    Form,
    Key(String),
    Seal,
}

fn open(keys: &KeyRing, id: &str, time: &str, bytes: &[u8]) -> std::result::Result<Value, OpenError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(OpenError::Form)?;
    let (length, rest) = rest.split_first().ok_or(OpenError::Form)?;
    let (name, rest) = rest.split_at_checked(usize::from(*length)).ok_or(OpenError::Form)?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError::Form)?;
    let name = String::from_utf8_lossy(name);
    let key = keys.find(&name).ok_or_else(|| OpenError::Key(name.into_owned()))?;
    let payload = Payload { msg: sealed, aad: &associated(id, time) };
    let plain = cipher(key).decrypt(&Nonce::from(*nonce), payload).map_err(|_| OpenError::Seal)?;
    serde_json::from_slice(&plain).map_err(|_| OpenError::Form)
}
