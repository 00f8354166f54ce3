//! Keys of persisted state: named, referred to, never printed; old ones stay readable, the newest writes.

use super::PersistenceError;
use crate::config::{ExposeSecret, Secret};

/// Bytes of a key.
const BYTES: usize = 32;

/// One key.
#[derive(Clone)]
pub struct StateKey {
    id: String,
    secret: [u8; BYTES],
}

impl StateKey {
    /// A key of this name.
    ///
    /// # Errors
    /// [`PersistenceError::KeyReference`] when the name is not made of letters, digits, `-` and `_`, 32 at most.
    pub fn new(id: &str, secret: [u8; BYTES]) -> Result<Self, PersistenceError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if id.is_empty() || id.len() > 32 || !id.chars().all(is_plain) {
            let reason = "a key's name is made of 1 to 32 letters, digits, `-` and `_`".to_owned();
            return Err(PersistenceError::KeyReference { reference: id.to_owned(), reason });
        }
        Ok(Self { id: id.to_owned(), secret })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn secret(&self) -> &[u8; BYTES] {
        &self.secret
    }
}

impl std::fmt::Debug for StateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StateKey({})", self.id)
    }
}

/// Keys, oldest first; the last one writes.
#[derive(Clone, Debug)]
pub struct KeyRing(Vec<StateKey>);

impl KeyRing {
    /// A ring of these keys, newest last.
    ///
    /// # Errors
    /// [`PersistenceError::NoKey`] when there is none.
    pub fn new(keys: Vec<StateKey>) -> Result<Self, PersistenceError> {
        if keys.is_empty() { Err(PersistenceError::NoKey) } else { Ok(Self(keys)) }
    }

    /// Reads references `NAME=file:PATH` and `NAME=env:VARIABLE`, newest last; what they name holds 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`PersistenceError::KeyReference`] naming the reference, never the key.
    pub fn load<'a>(references: impl IntoIterator<Item = &'a str>) -> Result<Self, PersistenceError> {
        Self::new(references.into_iter().map(load).collect::<Result<_, _>>()?)
    }

    /// The key that writes.
    pub(super) fn newest(&self) -> &StateKey {
        self.0.last().expect("a ring has a key")
    }

    pub(super) fn find(&self, id: &str) -> Option<&StateKey> {
        self.0.iter().find(|key| key.id == id)
    }
}

fn load(reference: &str) -> Result<StateKey, PersistenceError> {
    let refused = |reason: String| PersistenceError::KeyReference { reference: reference.to_owned(), reason };
    let form = || refused("write NAME=file:PATH or NAME=env:VARIABLE".to_owned());
    let (id, place) = reference.split_once('=').ok_or_else(form)?;
    let text = Secret::parse(place).ok_or_else(form)?.reveal().map_err(|error| refused(error.to_string()))?;
    let wrong = || {
        refused(format!("it does not hold {} hexadecimal digits; `openssl rand -hex {BYTES}` makes some", 2 * BYTES))
    };
    let secret =
        super::hex::decode(text.expose_secret().trim()).and_then(|bytes| bytes.try_into().ok()).ok_or_else(wrong)?;
    StateKey::new(id, secret)
}
