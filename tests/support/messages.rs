//! What the clients send: messages that can be told apart, and made again for the comparison.
use super::framing::Framing;
use super::seed::{self, Chance};
use std::sync::atomic::{AtomicU64, Ordering};

/// What a connection sends: messages made from a seed, or a list of (wire, stored) pairs.
#[derive(Clone, Debug)]
pub enum Messages {
    Generated { framing: Framing, client: u64, seed: u64, smallest: usize, largest: usize },
    Listed(Vec<(Vec<u8>, Vec<u8>)>),
}

impl Messages {
    /// `client:seq:` and random bytes; the whole is `smallest..=largest` long where the head leaves room.
    pub fn generated(framing: Framing, smallest: usize, largest: usize) -> Self {
        static CLIENTS: AtomicU64 = AtomicU64::new(1);
        let client = CLIENTS.fetch_add(1, Ordering::Relaxed);
        Self::Generated { framing, client, seed: seed::seed(), smallest, largest }
    }

    pub fn listed(framing: Framing, messages: &[&[u8]]) -> Self {
        Self::Listed(messages.iter().map(|message| (framing.wire(message), message.to_vec())).collect())
    }

    /// How many there are; `None`: as many as are asked for.
    pub fn len(&self) -> Option<usize> {
        match self {
            Self::Generated { .. } => None,
            Self::Listed(list) => Some(list.len()),
        }
    }

    /// What the store must hold for the message with this index.
    pub fn stored(&self, index: usize) -> Vec<u8> {
        match self {
            Self::Listed(list) => list[index].1.clone(),
            Self::Generated { framing, client, seed, smallest, largest } => {
                let mut chance = Chance::new(
                    seed ^ client.wrapping_mul(0x9e37_79b9) ^ (index as u64).wrapping_mul(0x85eb_ca6b_27d4),
                );
                let length = smallest + usize::try_from(chance.below((largest - smallest) as u64 + 1)).unwrap();
                let mut message = format!("{client}:{index}:").into_bytes();
                let head = message.len();
                message.resize(length.max(head), 0);
                chance.fill(&mut message[head..]);
                if chance.below(2) == 0 {
                    // Half of them as people write: printable, so that not everything is an escape.
                    message[head..].iter_mut().for_each(|byte| *byte = b' ' + *byte % 95);
                }
                if let Some(terminator) = framing.terminator() {
                    message[head..].iter_mut().filter(|byte| **byte == terminator).for_each(|byte| *byte = b'~');
                }
                if *framing == Framing::Line && message.last() == Some(&b'\r') {
                    *message.last_mut().unwrap() = b'~';
                }
                message
            }
        }
    }

    /// The bytes on the wire of the message with this index.
    pub fn wire(&self, index: usize) -> Vec<u8> {
        match self {
            Self::Listed(list) => list[index].0.clone(),
            Self::Generated { framing, .. } => framing.wire(&self.stored(index)),
        }
    }
}
