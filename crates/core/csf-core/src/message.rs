//! The contract of a message, and its erased form: name, schema and codecs by function pointer.
//!
//! One registry per node, built from the packs' registration, maps `name@version` to a [`MessageType`]. Postcard is the codec of
//! the journal and of links, JSON that of the API.

use std::any::{Any, TypeId};

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Something that may travel on a topic.
///
/// Keep the serde form self-contained for postcard: no `untagged`, `flatten` or `skip_serializing_if`.
pub trait Message: Clone + Send + Sync + Serialize + DeserializeOwned + JsonSchema + 'static {
    /// `pack.words-with-hyphens`, unique in the node.
    const NAME: &'static str;
    /// Raised on every incompatible change of the fields.
    const VERSION: u16;
}

/// A payload that could not be turned from or into bytes or JSON.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Bytes that are no such message.
    #[error("{len} bytes are no {name}@{version}: {reason}")]
    Decode {
        /// Message name.
        name: &'static str,
        /// Message version.
        version: u16,
        /// Length of the input.
        len: usize,
        /// The codec's words.
        reason: String,
    },
    /// JSON that is no such message.
    #[error("the JSON value is no {name}@{version}: {reason}")]
    Json {
        /// Message name.
        name: &'static str,
        /// Message version.
        version: u16,
        /// The codec's words.
        reason: String,
    },
    /// A Rust value that cannot leave the process.
    #[error("{name} is a Rust type without a byte or JSON form; implement `Message` for it")]
    Opaque {
        /// Name of the type.
        name: &'static str,
    },
    /// A value of another Rust type than the topic's.
    #[error("expected a value of {name}@{version}, got another type")]
    WrongType {
        /// Message name.
        name: &'static str,
        /// Message version.
        version: u16,
    },
}

/// A boxed payload of any message type.
pub type AnyPayload = Box<dyn Any + Send + Sync>;

/// The erased form of a [`Message`] type.
#[derive(Clone, Copy)]
pub struct MessageType {
    /// [`Message::NAME`].
    pub name: &'static str,
    /// [`Message::VERSION`].
    pub version: u16,
    /// Identity of the Rust type.
    pub type_id: TypeId,
    /// JSON Schema of the message.
    pub schema: fn() -> serde_json::Value,
    /// Appends the postcard form to the buffer.
    pub encode: fn(&dyn Any, &mut Vec<u8>) -> Result<(), CodecError>,
    /// The postcard form of the value inside an `Option<T>`, which is left `None`.
    pub encode_option: fn(&mut dyn Any) -> Result<Vec<u8>, CodecError>,
    /// Reads the postcard form; all bytes must be used.
    pub decode: fn(&[u8]) -> Result<AnyPayload, CodecError>,
    /// [`MessageType::decode`] to where an earlier value of this type is, or to a new place: saves who reads many the allocations.
    pub decode_into: fn(&[u8], &mut Option<AnyPayload>) -> Result<(), CodecError>,
    /// Copies a value to where the last copy is, or to a new place; false when it is of another type or has no copy.
    pub copy: fn(&dyn Any, &mut Option<AnyPayload>) -> bool,
    /// The JSON form.
    pub to_json: fn(&dyn Any) -> Result<serde_json::Value, CodecError>,
    /// Reads the JSON form.
    pub from_json: fn(serde_json::Value) -> Result<AnyPayload, CodecError>,
}

impl std::fmt::Debug for MessageType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl PartialEq for MessageType {
    fn eq(&self, other: &Self) -> bool {
        self.type_id == other.type_id && self.name == other.name && self.version == other.version
    }
}

impl MessageType {
    /// What the message is, in one line: the first paragraph of its documentation.
    #[must_use]
    pub fn doc(&self) -> String {
        let schema = (self.schema)();
        let text = schema["description"].as_str().unwrap_or_default();
        let first = text.split("\n\n").next().unwrap_or_default();
        first.trim_end_matches('.').replace('\n', " ")
    }

    /// A Rust type that is no [`Message`]: it travels inside the process only, and its codecs refuse it.
    #[must_use]
    pub fn opaque<T: 'static>() -> Self {
        Self {
            name: std::any::type_name::<T>(),
            version: 0,
            type_id: TypeId::of::<T>(),
            schema: || serde_json::Value::Null,
            encode: |_, _| Err(opaque::<T>()),
            encode_option: |_| Err(opaque::<T>()),
            decode: |_| Err(opaque::<T>()),
            decode_into: |_, _| Err(opaque::<T>()),
            copy: |_, _| false,
            to_json: |_| Err(opaque::<T>()),
            from_json: |_| Err(opaque::<T>()),
        }
    }

    /// The erased form of `T`.
    #[must_use]
    pub fn of<T: Message>() -> Self {
        Self {
            name: T::NAME,
            version: T::VERSION,
            type_id: TypeId::of::<T>(),
            schema: || schemars::schema_for!(T).to_value(),
            encode: |value, out| {
                let value = downcast::<T>(value)?;
                out.reserve(room_for::<T>());
                let filled = postcard::to_extend(value, std::mem::take(out)).map_err(|e| decode_error::<T>(0, &e))?;
                *out = filled;
                Ok(())
            },
            encode_option: |value| {
                let slot = value.downcast_mut::<Option<T>>().and_then(Option::take);
                let value = slot.ok_or(CodecError::WrongType { name: T::NAME, version: T::VERSION })?;
                postcard::to_extend(&value, Vec::with_capacity(room_for::<T>())).map_err(|e| decode_error::<T>(0, &e))
            },
            decode: |bytes| Ok(Box::new(decode::<T>(bytes)?)),
            decode_into: |bytes, place| {
                let value = decode::<T>(bytes)?;
                match place.as_mut().and_then(|place| place.downcast_mut::<T>()) {
                    Some(last) => *last = value,
                    None => *place = Some(Box::new(value)),
                }
                Ok(())
            },
            copy: |value, place| {
                let Some(value) = value.downcast_ref::<T>() else { return false };
                match place.as_mut().and_then(|place| place.downcast_mut::<T>()) {
                    Some(last) => last.clone_from(value),
                    None => *place = Some(Box::new(value.clone())),
                }
                true
            },
            to_json: |value| serde_json::to_value(downcast::<T>(value)?).map_err(|e| json_error::<T>(&e)),
            from_json: |json| match serde_json::from_value::<T>(json) {
                Ok(value) => Ok(Box::new(value)),
                Err(e) => Err(json_error::<T>(&e)),
            },
        }
    }

    /// `name@version`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

/// Bytes to make room for at once before a `T` is encoded, so that a usual one needs one allocation: numbers rarely take more than in
/// memory, and what lies behind a pointer is not known.
const fn room_for<T>() -> usize {
    if size_of::<T>() < 256 { size_of::<T>() } else { 256 }
}

/// All bytes must be used.
fn decode<T: Message>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, rest) = postcard::take_from_bytes::<T>(bytes).map_err(|e| decode_error::<T>(bytes.len(), &e))?;
    if !rest.is_empty() {
        let reason = format!("{} bytes are left over", rest.len());
        return Err(CodecError::Decode { name: T::NAME, version: T::VERSION, len: bytes.len(), reason });
    }
    Ok(value)
}

fn opaque<T>() -> CodecError {
    CodecError::Opaque { name: std::any::type_name::<T>() }
}

fn downcast<T: Message>(value: &dyn Any) -> Result<&T, CodecError> {
    value.downcast_ref::<T>().ok_or(CodecError::WrongType { name: T::NAME, version: T::VERSION })
}

fn decode_error<T: Message>(len: usize, error: &postcard::Error) -> CodecError {
    CodecError::Decode { name: T::NAME, version: T::VERSION, len, reason: error.to_string() }
}

fn json_error<T: Message>(error: &serde_json::Error) -> CodecError {
    CodecError::Json { name: T::NAME, version: T::VERSION, reason: error.to_string() }
}
