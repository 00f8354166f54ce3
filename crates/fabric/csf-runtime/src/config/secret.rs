//! Secrets by reference: a configuration says where a secret is, never what it is.
//!
//! Invariant: no value of this module prints a secret, in no form; what [`Secret::reveal`] gives is wiped from memory when it is dropped.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::zeroize::Zeroize;
pub use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Begins the message of a secret that stands in the configuration itself.
pub(crate) const IN_CLEAR: &str = "[secret]";
/// Marks a secret in the JSON Schema of options.
pub(crate) const MARK: &str = "x-csf-secret";
/// Largest secret, bytes.
const BYTES_MAX: usize = 64 << 10;
const PATTERN: &str = "^(file|env):.+$";

/// Where a secret is: `"file:PATH"` or `"env:NAME"`, or a table `{ from = "file:PATH" }`. For fields of `Options`.
///
/// Nothing is read before [`Secret::reveal`]. A literal where a reference belongs is the problem `CSF-0119`, without the literal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Secret(Place);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Place {
    File(PathBuf),
    Variable(String),
}

/// A secret that cannot be had: `CSF-0120`. It names the reference, never the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The file is not there, or may not be read.
    #[error("the secret `{reference}` cannot be read: {reason}; write the file, or let this process read it")]
    Unreadable {
        /// Where it should be.
        reference: String,
        /// The system's words.
        reason: String,
    },
    /// The variable of the environment is not set.
    #[error("the secret `{reference}` is not there: the variable is not set; set it where the node is started")]
    Unset {
        /// Where it should be.
        reference: String,
    },
    /// There is nothing, or only white space.
    #[error("the secret `{reference}` is empty")]
    Empty {
        /// Where it is.
        reference: String,
    },
    /// It is no text, or a long one.
    #[error("the secret `{reference}` is no UTF-8 text of at most {BYTES_MAX} bytes")]
    NoText {
        /// Where it is.
        reference: String,
    },
}

impl SecretError {
    /// `CSF-0120`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "CSF-0120"
    }
}

impl From<SecretError> for crate::ServiceError {
    fn from(error: SecretError) -> Self {
        Self::Failed { code: error.code(), message: error.to_string() }
    }
}

impl Secret {
    /// Reads a reference; `None` when it is none.
    #[must_use]
    pub fn parse(reference: &str) -> Option<Self> {
        match reference.split_once(':')? {
            (_, "") => None,
            ("file", path) => Some(Self(Place::File(PathBuf::from(path)))),
            ("env", name) if !name.contains(['=', '\0']) => Some(Self(Place::Variable(name.to_owned()))),
            _ => None,
        }
    }

    /// The secret as it is now, without the line break at its end. It is read anew each time, so a rotated one is found at the next call.
    /// A file that others may read too is said in the log. Blocks for as long as reading a small file does.
    ///
    /// # Errors
    /// [`SecretError`], naming the reference.
    pub fn reveal(&self) -> Result<SecretString, SecretError> {
        let reference = || self.to_string();
        let text = match &self.0 {
            Place::File(path) => {
                let unreadable =
                    |e: std::io::Error| SecretError::Unreadable { reference: reference(), reason: e.to_string() };
                let file = std::fs::File::open(path).map_err(unreadable)?;
                let facts = file.metadata().map_err(unreadable)?;
                if is_open_to_others(&facts) {
                    tracing::warn!(secret = %self, "others than its owner may read this secret; chmod 600 takes that away");
                }
                read_text(file).map_err(unreadable)?
            }
            Place::Variable(name) => {
                let text = std::env::var_os(name).ok_or_else(|| SecretError::Unset { reference: reference() })?;
                text.into_string().ok().filter(|text| text.len() <= BYTES_MAX)
            }
        };
        let mut text = text.ok_or_else(|| SecretError::NoText { reference: reference() })?;
        let line = text.strip_suffix('\n').map_or(&*text, |rest| rest.strip_suffix('\r').unwrap_or(rest));
        // A copy of its exact size: no other one is left when it moves into its box.
        let secret = (!text.trim().is_empty()).then(|| SecretString::from(line.to_owned()));
        text.zeroize();
        secret.ok_or_else(|| SecretError::Empty { reference: reference() })
    }
}

/// The text, or `None` when it is none or too long.
fn read_text(file: std::fs::File) -> std::io::Result<Option<String>> {
    use std::io::Read;
    let mut bytes = Vec::with_capacity(BYTES_MAX + 1);
    file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(if bytes.len() > BYTES_MAX { None } else { String::from_utf8(bytes).ok() })
}

#[cfg(unix)]
fn is_open_to_others(facts: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    facts.is_file() && facts.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn is_open_to_others(_: &std::fs::Metadata) -> bool {
    false
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::File(path) => write!(f, "file:{}", path.display()),
            Place::Variable(name) => write!(f, "env:{name}"),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({self})")
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

/// Takes anything, so that no error of serde's own shows what stands there.
struct Reader;

fn in_clear<E: Error>() -> E {
    E::custom(format_args!("{IN_CLEAR} a secret stands in the configuration itself, where only a reference to one may"))
}

impl<'de> Visitor<'de> for Reader {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reference to a secret")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
        Secret::parse(text).ok_or_else(in_clear)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Secret, E> {
        Err(in_clear())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Secret, E> {
        Err(in_clear())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Secret, E> {
        Err(in_clear())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Secret, E> {
        Err(in_clear())
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Secret, E> {
        Err(in_clear())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Secret, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Err(in_clear())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
        let mut found = None;
        let mut others = 0;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "from" => found = map.next_value::<toml::Value>()?.as_str().and_then(Secret::parse),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    others += 1;
                }
            }
        }
        found.filter(|_| others == 0).ok_or_else(in_clear)
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({
            "writeOnly": true,
            "anyOf": [
                { "type": "string", "pattern": PATTERN },
                {
                    "type": "object",
                    "properties": { "from": { "type": "string", "pattern": PATTERN } },
                    "required": ["from"],
                    "additionalProperties": false,
                },
            ],
        });
        schema.insert(MARK.to_owned(), true.into());
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Options {
        #[expect(dead_code, reason = "read for its problems")]
        password: Option<Secret>,
    }

    #[test]
    fn only_references_are_read_and_no_error_shows_what_stands_there() {
        for fine in ["\"file:/run/secrets/db\"", "\"env:DB\"", "{ from = \"file:db\" }"] {
            let options: Options = toml::from_str(&format!("password = {fine}")).unwrap();
            assert!(format!("{options:?}").contains(if fine.contains("env") {
                "Secret(env:DB)"
            } else {
                "Secret(file:"
            }));
        }
        let literals = ["\"hunter2\"", "\"http:hunter2\"", "\"env:\"", "\"file:\"", "4711", "47.11", "true"];
        let tables = ["[\"hunter2\"]", "{ from = \"hunter2\" }", "{ value = \"hunter2\" }", "2026-01-01"];
        for literal in literals.into_iter().chain(tables).chain(["{ from = \"env:A\", value = \"hunter2\" }"]) {
            let error = toml::from_str::<toml::Table>(&format!("password = {literal}"))
                .unwrap()
                .try_into::<Options>()
                .unwrap_err();
            assert!(error.message().starts_with(IN_CLEAR), "{literal}: {error}");
            assert!(!error.to_string().contains("hunter2") && !error.to_string().contains("4711"), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_is_read_anew_and_its_problems_name_the_reference() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("csf-secret-{}", std::process::id()));
        let secret = Secret::parse(&format!("file:{}", path.display())).unwrap();
        let missing = secret.reveal().unwrap_err();
        assert!(matches!(missing, SecretError::Unreadable { .. }) && missing.to_string().contains("csf-secret-"));
        for (text, expected) in [("first\n", "first"), ("second\r\n", "second"), (" third \n\n", " third \n")] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(secret.reveal().unwrap().expose_secret(), expected);
        }
        assert!(!format!("{:?}", secret.reveal()).contains("third"));
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let is_open = || is_open_to_others(&std::fs::metadata(&path).unwrap());
        for (bits, expected) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            mode(bits);
            assert_eq!(is_open(), expected, "{bits:o}");
        }
        mode(0o600);
        for (bytes, expected) in [
            (b" \n".to_vec(), SecretError::Empty { reference: secret.to_string() }),
            (vec![0xff], SecretError::NoText { reference: secret.to_string() }),
            (vec![b'a'; BYTES_MAX + 1], SecretError::NoText { reference: secret.to_string() }),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(secret.reveal().unwrap_err(), expected);
        }
        std::fs::remove_file(&path).unwrap();
        let unset = Secret::parse("env:CSF_THERE_IS_NO_SUCH_VARIABLE").unwrap();
        assert!(matches!(unset.reveal(), Err(SecretError::Unset { .. })));
    }
}
