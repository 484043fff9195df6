//! Sets of small numbers.

/// A set of small numbers, one bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn insert(&mut self, n: usize) {
        if self.0.len() <= n / 64 {
            self.0.resize(n / 64 + 1, 0);
        }
        self.0[n / 64] |= 1 << (n % 64);
    }

    pub(super) fn contains(&self, n: usize) -> bool {
        self.0.get(n / 64).is_some_and(|word| word & (1 << (n % 64)) != 0)
    }

    pub(super) fn extend(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.extend(other);
        all
    }

    pub(super) fn without(&self, other: &Self) -> Self {
        let gone = other.0.iter().copied().chain(std::iter::repeat(0));
        Self(self.0.iter().zip(gone).map(|(word, gone)| word & !gone).collect())
    }

    pub(super) fn is_subset(&self, of: &Self) -> bool {
        self.without(of).first().is_none()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Returns the numbers, smallest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.0.len() * 64).filter(|n| self.contains(*n))
    }

    /// Returns the numbers that both sets contain.
    pub(super) fn common(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(word, other)| word & other).collect())
    }

    pub(super) fn first(&self) -> Option<usize> {
        let at = self.0.iter().position(|word| *word != 0)?;
        Some(at * 64 + self.0[at].trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(of: &[usize]) -> Bits {
        let mut bits = Bits::default();
        of.iter().for_each(|n| bits.insert(*n));
        bits
    }

    #[test]
    fn sets_behave_like_sets() {
        let (small, large) = (set(&[1, 70]), set(&[1, 2, 70, 200]));
        assert!(small.is_subset(&large) && !large.is_subset(&small));
        assert_eq!(large.without(&small).first(), Some(2));
        assert_eq!(small.without(&large).first(), None);
        assert!(small.union(&set(&[5])).contains(5) && !small.contains(5));
        assert!(!small.contains(4_000));
        assert_eq!(large.iter().collect::<Vec<_>>(), [1, 2, 70, 200]);
        assert_eq!(large.common(&small), small);
        assert!(large.common(&set(&[3])).is_empty() && !small.is_empty());
    }
}
