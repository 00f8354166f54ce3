//! Names of streams, packed: a million of them are some hundred blocks of memory, not a million pieces between everything else.

/// Bytes of a block.
const BLOCK_BYTES: usize = 64 << 10;

/// Where a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    block: u32,
    at: u16,
    length: u16,
}

impl Name {
    /// None is before this one.
    pub(super) const FIRST: Self = Self { block: 0, at: 0, length: 0 };
}

/// The names. A block's memory comes back when its last name is forgotten.
#[derive(Debug, Default)]
pub(super) struct Names {
    blocks: Vec<Block>,
    /// Blocks without memory.
    free: Vec<u32>,
    /// The block that takes the next name.
    newest: u32,
}

#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    /// Names in it that are not forgotten.
    kept: u32,
}

impl Names {
    /// Keeps a name of a stream: at most [`csf_core::port::STREAM_BYTES_MAX`].
    pub(super) fn keep(&mut self, name: &str) -> Name {
        let fits = |block: &Block| block.bytes.len() + name.len() <= BLOCK_BYTES && block.bytes.capacity() > 0;
        if !self.blocks.get(self.newest as usize).is_some_and(fits) {
            self.newest = self.free.pop().unwrap_or_else(|| {
                self.blocks.push(Block::default());
                u32::try_from(self.blocks.len() - 1).expect("4 G blocks are more than any memory")
            });
            self.blocks[self.newest as usize].bytes = Vec::with_capacity(BLOCK_BYTES);
        }
        let block = &mut self.blocks[self.newest as usize];
        let narrow = |number: usize| u16::try_from(number).expect("a block and a stream's name are below 64 KiB");
        let kept = Name { block: self.newest, at: narrow(block.bytes.len()), length: narrow(name.len()) };
        block.bytes.extend_from_slice(name.as_bytes());
        block.kept += 1;
        kept
    }

    /// The name.
    pub(super) fn get(&self, name: Name) -> &str {
        let (at, length) = (usize::from(name.at), usize::from(name.length));
        let bytes = &self.blocks[name.block as usize].bytes[at..at + length];
        std::str::from_utf8(bytes).expect("it was kept as text")
    }

    /// Forgets a name that was kept.
    pub(super) fn forget(&mut self, name: Name) {
        let block = &mut self.blocks[name.block as usize];
        block.kept -= 1;
        if block.kept == 0 {
            *block = Block::default();
            self.free.push(name.block);
        }
    }
}

#[cfg(test)]
mod tests {
    use csf_sim::SeededRng;

    use super::*;

    #[test]
    fn names_are_what_they_were_and_blocks_without_names_have_no_memory() {
        let mut rng = SeededRng::new(1);
        let (mut names, mut kept) = (Names::default(), Vec::new());
        for number in 0..50_000u64 {
            let name =
                format!("workflow-{}", "x".repeat(usize::try_from(rng.below(247)).unwrap()) + &number.to_string());
            let name = &name[..name.len().min(256)];
            kept.push((names.keep(name), name.to_owned()));
            if rng.below(3) > 0 {
                let (place, name) = kept.swap_remove(usize::try_from(rng.below(kept.len() as u64)).unwrap());
                assert_eq!(names.get(place), name);
                names.forget(place);
            }
        }
        assert!(kept.iter().all(|(place, name)| names.get(*place) == name));
        let held = |names: &Names| names.blocks.iter().filter(|block| block.bytes.capacity() > 0).count();
        assert!(held(&names) > 30, "{} blocks", held(&names));
        kept.into_iter().for_each(|(place, _)| names.forget(place));
        assert_eq!(held(&names), 0);
        let place = names.keep("again");
        assert_eq!((names.get(place), held(&names)), ("again", 1));
    }
}
