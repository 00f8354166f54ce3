//! The checksum of a stored event, the same in every store of rows.

/// CRC-32 over position, version and stamp (8 bytes each, little-endian), the id's 16 bytes if there is one, then the texts, each ended by a
/// zero byte: stream, type, tags, origin and content; in format 1, stream, type and content.
pub(crate) fn checksum(numbers: [u64; 3], id: Option<&[u8; 16]>, texts: &[&str]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(id.map_or(&[], |id| &id[..]));
    for text in texts {
        hasher.update(text.as_bytes());
        hasher.update(&[0]);
    }
    hasher.finalize()
}
