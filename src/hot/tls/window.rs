//! A fixed buffer whose used part moves through it: ciphertext that waits to be opened by rustls, or to be sent.

/// Invariant: `start <= end <= bytes.len()`.
#[derive(Debug)]
pub struct Window {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Window {
    pub(super) fn new(capacity_bytes: usize) -> Self {
        Self { bytes: vec![0; capacity_bytes].into_boxed_slice(), start: 0, end: 0 }
    }

    /// The used part.
    #[must_use]
    pub fn used(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn used_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// True while nothing is used.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The free part behind the used one. What is written into it counts from [`Self::fill`] on.
    pub(super) fn free(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// `bytes` of the free part are used now.
    pub(super) fn fill(&mut self, bytes: usize) {
        self.end += bytes;
        debug_assert!(self.end <= self.bytes.len());
    }

    /// The first `bytes` of the used part are done with.
    pub fn discard(&mut self, bytes: usize) {
        self.start += bytes;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Moves the used part to the front where less than `bytes` are free behind it.
    pub(super) fn make_room(&mut self, bytes: usize) {
        if self.bytes.len() - self.end < bytes && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }
}
