//! Clock domains: the names of foreign clocks, interned, so that a header that says when something was measured stays 64 bytes.
//!
//! Invariant: one name has one number for the life of the process, and a number never changes its name.

use std::collections::HashMap;
use std::fmt;
use std::sync::{OnceLock, PoisonError, RwLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names a process may know. Far above the clocks a system has; a stream that invents names is refused, not obeyed.
pub const CLOCK_DOMAINS_MAX: usize = u16::MAX as usize;
/// Longest name of a clock domain, bytes.
pub const CLOCK_DOMAIN_BYTES_MAX: usize = 64;

/// A clock on which something is measured, such as `px4` (time since the autopilot's boot) or `os` (Unix time).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClockDomain(u16);

/// A name that cannot become a clock domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClockDomainError {
    /// Longer than [`CLOCK_DOMAIN_BYTES_MAX`].
    #[error("a clock's name has {len} bytes, more than the {CLOCK_DOMAIN_BYTES_MAX} allowed; it begins with `{start}`")]
    TooLong {
        /// Its length, bytes.
        len: usize,
        /// Its first 16 characters.
        start: String,
    },
    /// [`CLOCK_DOMAINS_MAX`] names are known.
    #[error("`{name}` would be clock {CLOCK_DOMAINS_MAX} of this process; some source invents clock names")]
    TooMany {
        /// The name refused.
        name: String,
    },
}

struct Table {
    names: Vec<&'static str>,
    numbers: HashMap<&'static str, u16>,
}

fn table() -> &'static RwLock<Table> {
    static TABLE: OnceLock<RwLock<Table>> = OnceLock::new();
    TABLE.get_or_init(|| RwLock::new(Table { names: vec!["os"], numbers: HashMap::from([("os", ClockDomain::OS.0)]) }))
}

impl ClockDomain {
    /// The operating system's clock: nanoseconds since the Unix epoch.
    pub const OS: Self = Self(0);

    /// The domain of this name, made if it is new. Takes a lock and, for a new name, allocates for the life of the process: call
    /// it once per source, not per packet.
    ///
    /// # Errors
    /// [`ClockDomainError`].
    pub fn intern(name: &str) -> Result<Self, ClockDomainError> {
        if name.len() > CLOCK_DOMAIN_BYTES_MAX {
            return Err(ClockDomainError::TooLong { len: name.len(), start: name.chars().take(16).collect() });
        }
        if let Some(number) = table().read().unwrap_or_else(PoisonError::into_inner).numbers.get(name) {
            return Ok(Self(*number));
        }
        let mut table = table().write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = table.numbers.get(name) {
            return Ok(Self(*number));
        }
        let number = table.names.len();
        if number >= CLOCK_DOMAINS_MAX {
            return Err(ClockDomainError::TooMany { name: name.to_owned() });
        }
        let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
        table.names.push(name);
        #[expect(clippy::cast_possible_truncation, reason = "below CLOCK_DOMAINS_MAX, which is u16::MAX")]
        let number = number as u16;
        table.numbers.insert(name, number);
        Ok(Self(number))
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let table = table().read().unwrap_or_else(PoisonError::into_inner);
        table.names.get(usize::from(self.0)).copied().unwrap_or("unknown")
    }

    /// Its number in this process; other processes number differently.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The domain with this number, for headers kept in raw memory of this process.
    #[must_use]
    pub const fn from_number(number: u16) -> Self {
        Self(number)
    }
}

impl fmt::Debug for ClockDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClockDomain({:?})", self.name())
    }
}

impl fmt::Display for ClockDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for ClockDomain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for ClockDomain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::intern(&name).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_number_on_every_thread() {
        let numbers: Vec<_> = (0..8)
            .map(|_| std::thread::spawn(|| ClockDomain::intern("test.same").unwrap()))
            .map(|thread| thread.join().unwrap())
            .collect();
        assert!(numbers.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(numbers[0].name(), "test.same");
    }

    #[test]
    fn a_name_beyond_64_bytes_is_refused_with_its_length() {
        let refusal = ClockDomain::intern(&"x".repeat(65)).unwrap_err();
        assert!(refusal.to_string().contains("65 bytes"), "{refusal}");
    }

    #[test]
    fn a_domain_travels_by_name() {
        let domain = ClockDomain::intern("test.wire").unwrap();
        assert_eq!(serde_json::to_string(&domain).unwrap(), "\"test.wire\"");
        assert_eq!(serde_json::from_str::<ClockDomain>("\"test.wire\"").unwrap(), domain);
    }
}
