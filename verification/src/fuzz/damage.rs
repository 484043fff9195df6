//! Damaged input: what a fuzzer would try first, as a function of a seed.

use testkit::random::SplitMix64;

/// Numbers at the edges of their ranges, in the forms in which formats write them.
const EDGES: [&[u8]; 8] = [
    &[0],
    &[0x7f],
    &[0xff],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0xff; 8],
    b"-1",
    b"18446744073709551616",
];

/// An endless iterator of inputs made from good ones: bits flipped, bytes removed, inserted and
/// replaced, ends cut off, two inputs joined in the middle. The same seed and inputs give the same
/// sequence.
#[derive(Debug)]
pub struct Damage<'a> {
    rng: SplitMix64,
    good: Vec<&'a [u8]>,
}

impl<'a> Damage<'a> {
    /// Makes the sequence of a seed. Without inputs it is made from an empty one.
    #[must_use]
    pub fn new(seed: u64, good: &[&'a [u8]]) -> Self {
        Self { rng: SplitMix64::new(seed), good: good.to_vec() }
    }

    fn pick(&mut self) -> &'a [u8] {
        let at = self.rng.below(self.good.len());
        self.good.get(at).copied().unwrap_or_default()
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let at = self.rng.below(bytes.len());
        let end = at + self.rng.below(bytes.len() - at + 1).min(16);
        match self.rng.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << self.rng.below(8),
            1 if !bytes.is_empty() => bytes[at] = self.rng.next_u64() as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            5 => {
                let edge = EDGES[self.rng.below(EDGES.len())];
                let end = (at + self.rng.below(edge.len() + 1)).min(bytes.len());
                drop(bytes.splice(at..end, edge.iter().copied()));
            }
            _ => {
                let other = self.pick();
                let tail = &other[self.rng.below(other.len() + 1)..];
                bytes.truncate(at);
                bytes.extend_from_slice(tail);
            }
        }
    }
}

impl Iterator for Damage<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut bytes = self.pick().to_vec();
        for _ in 0..=self.rng.below(4) {
            self.damage(&mut bytes);
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_a_function_of_the_seed() {
        let good: [&[u8]; 2] = [b"one input", b"another one"];
        let some = |seed| Damage::new(seed, &good).take(50).collect::<Vec<_>>();
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
        assert!(some(1).iter().any(|bytes| !good.contains(&&bytes[..])));
    }

    #[test]
    fn empty_input_can_be_damaged() {
        assert_eq!(Damage::new(1, &[]).take(200).count(), 200);
    }
}
