//! Sets of bytes.

use std::fmt;

/// A set of bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSet([u64; 4]);

impl ByteSet {
    /// The set of `byte` alone.
    pub fn one(byte: u8) -> Self {
        let mut set = Self::default();
        set.insert(byte);
        set
    }

    /// The bytes from `first` to `last`, both included.
    pub fn range(first: u8, last: u8) -> Self {
        let mut set = Self::default();
        for byte in first..=last {
            set.insert(byte);
        }
        set
    }

    /// Every byte.
    pub fn all() -> Self {
        Self([u64::MAX; 4])
    }

    /// Every byte that is not in the set.
    pub fn complement(self) -> Self {
        Self(self.0.map(|word| !word))
    }

    pub fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    pub fn remove(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] &= !(1 << (byte & 63));
    }

    pub fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] & (1 << (byte & 63)) != 0
    }

    /// Whether every byte of `other` is in this set.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(mine, other)| other & !mine == 0)
    }

    /// Whether a byte is in both sets.
    pub fn meets(&self, other: &Self) -> bool {
        !self.common(other).is_empty()
    }

    /// The bytes that are in both sets.
    pub fn common(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    /// The byte that is in the set alone.
    pub fn only(&self) -> Option<u8> {
        if self.len() == 1 { (0..=u8::MAX).find(|&byte| self.contains(byte)) } else { None }
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }
}

impl fmt::Debug for ByteSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<u8> = (0..=u8::MAX).filter(|&byte| self.contains(byte)).collect();
        write!(f, "[{}]", bytes.escape_ascii())
    }
}
