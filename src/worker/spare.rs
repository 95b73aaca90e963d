//! Buffers that connections have given back, for the next ones that read.
//!
//! Promise: an idle connection holds no buffer, and a busy one has it without an allocation; what is kept here is bounded.

/// A connection keeps no buffer larger than this once it is empty.
pub const KEEP: usize = 16 << 10;
/// Bytes that are kept for others, small and large buffers apart.
const MOST: usize = 4 << 20;

/// The buffers, all empty; the last one given is the next one taken: its memory is still in the processor's cache.
#[derive(Debug, Default)]
pub struct Spare {
    small: Shelf,
    /// Above [`KEEP`]: for those that read much at once, or each short message would hold so much.
    large: Shelf,
}

#[derive(Debug, Default)]
struct Shelf {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Spare {
    /// A buffer for one that is about to read up to `wanted` bytes.
    pub fn take(&mut self, wanted: usize) -> Vec<u8> {
        if wanted > KEEP { self.large.take() } else { self.small.take() }
    }

    /// Takes a buffer back, empties it, and frees it if enough are here.
    pub fn give(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > KEEP { self.large.give(buffer) } else { self.small.give(buffer) }
    }
}

impl Shelf {
    fn take(&mut self) -> Vec<u8> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() > 0 && self.bytes + buffer.capacity() <= MOST {
            buffer.clear();
            self.bytes += buffer.capacity();
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_of_its_kind() {
        let mut spare = Spare::default();
        let (mut small, mut large) = (Vec::with_capacity(100), Vec::with_capacity(KEEP + 1));
        small.push(1);
        large.push(2);
        spare.give(small);
        spare.give(large);
        assert!(spare.take(100).capacity() >= 100);
        assert_eq!(spare.take(100).capacity(), 0);
        let large = spare.take(KEEP + 1);
        assert!(large.is_empty() && large.capacity() > KEEP);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut spare = Spare::default();
        for _ in 0..10_000 {
            spare.give(Vec::with_capacity(1000));
            spare.give(Vec::with_capacity(1 << 20));
            spare.give(Vec::new());
        }
        assert!(spare.small.bytes <= MOST && spare.large.bytes <= MOST);
        assert_eq!(spare.small.bytes, spare.small.buffers.iter().map(Vec::capacity).sum::<usize>());
        assert!(spare.large.buffers.len() <= 4 && !spare.small.buffers.is_empty());
    }
}
