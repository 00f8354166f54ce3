//! Variable-length integers: seven bits a byte, low bits first, the high bit says that more follow (LEB128).
//!
//! Signed differences are folded so that small ones of either sign stay short (zigzag), and wrap, so that any two 64-bit numbers
//! have one. Reference: DWARF 5, section 7.6; Protocol Buffers encoding, "Signed Integers".

/// Longest form of 64 bits.
const LEN_MAX: usize = 10;

/// Appends `value`.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the difference from `from` to `to`.
pub(crate) fn put_difference(out: &mut Vec<u8>, from: u64, to: u64) {
    let difference = to.wrapping_sub(from).cast_signed();
    put(out, ((difference << 1) ^ (difference >> 63)).cast_unsigned());
}

/// Reads from the front of `bytes`: the value and its length. `None` when it is cut off or exceeds 64 bits.
pub(crate) fn get(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().enumerate().take(LEN_MAX) {
        let bits = u64::from(byte & 0x7f);
        if i == LEN_MAX - 1 && bits > 1 {
            return None;
        }
        value |= bits << (7 * i);
        if byte < 0x80 {
            return Some((value, i + 1));
        }
    }
    None
}

/// Adds a folded difference to `from`.
pub(crate) fn apply_difference(from: u64, folded: u64) -> u64 {
    let difference = (folded >> 1) ^ (folded & 1).wrapping_neg();
    from.wrapping_add(difference)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_survive(value: u64) {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            prop_assert_eq!(get(&bytes), Some((value, bytes.len())));
            prop_assert_eq!(get(&bytes[..bytes.len() - 1]), None);
        }

        #[test]
        fn differences_survive(from: u64, to: u64) {
            let mut bytes = Vec::new();
            put_difference(&mut bytes, from, to);
            prop_assert_eq!(apply_difference(from, get(&bytes).unwrap().0), to);
        }
    }

    #[test]
    fn known_forms() {
        // Protocol Buffers documentation: 150 is 96 01; zigzag of -1 is 1, of 1 is 2, of -2 is 3.
        let mut bytes = Vec::new();
        put(&mut bytes, 150);
        assert_eq!(bytes, [0x96, 0x01]);
        for (from, to, folded) in [(1, 0, 1), (0, 1, 2), (2, 0, 3)] {
            bytes.clear();
            put_difference(&mut bytes, from, to);
            assert_eq!(bytes, [folded]);
        }
    }

    #[test]
    fn more_than_64_bits_are_refused() {
        assert_eq!(get(&[0xff; 10]), None);
        assert_eq!(get(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), Some((u64::MAX, 10)));
        assert_eq!(get(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), None);
    }
}
