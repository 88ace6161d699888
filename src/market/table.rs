//! Tables that lie on large pages: what a hot core looks up by its symbol, wherever that may lie.
//!
//! ```text
//! 4 KiB pages:  look-up ─► page not known to the CPU ─► its tables are walked, on a virtual machine two of them ─► line
//! 2 MiB pages:  look-up ─────────────────────────────────────────────────────────────────────────────────────────► line
//! ```
//! A symbol that was quiet lies on a page that was quiet. Linux gives large pages where they are asked for, as they are here,
//! if `/sys/kernel/mm/transparent_hugepage/enabled` is `madvise` or `always`; where it is `never`, a table lies on small ones,
//! and is the same but for the time.

use super::touch;
use std::alloc::{Layout, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// A large page of x86-64, and of aarch64 with small pages of 4 KiB.
const PAGE_BYTES: usize = 2 << 20;

/// What may stand in a table: as it is where all its bytes are zero.
///
/// # Safety
/// All bytes zero are a value of the type, and nothing has to be done when one ends.
pub(crate) unsafe trait Zeroed: Sized {}

// SAFETY: an `AtomicU64` has the size and bit validity of a `u64`, of which zero is a value; it has no destructor.
unsafe impl Zeroed for AtomicU64 {}

/// `COUNT` elements, which never move.
pub(crate) struct Table<T, const COUNT: usize> {
    /// The first of them, and of a mapping of [`Self::MAPPED_BYTES`] that nobody else has.
    first: NonNull<T>,
    elements: PhantomData<[T; COUNT]>,
}

// SAFETY: it owns its elements, as a box does.
unsafe impl<T: Send, const COUNT: usize> Send for Table<T, COUNT> {}
// SAFETY: as above.
unsafe impl<T: Sync, const COUNT: usize> Sync for Table<T, COUNT> {}

impl<T, const COUNT: usize> Table<T, COUNT> {
    /// Whole large pages.
    const MAPPED_BYTES: usize = {
        assert!(COUNT > 0 && size_of::<T>() > 0 && align_of::<T>() <= PAGE_BYTES);
        (COUNT * size_of::<T>()).next_multiple_of(PAGE_BYTES)
    };
}

impl<T: Zeroed, const COUNT: usize> Table<T, COUNT> {
    /// Elements of zeros, whose memory comes as they are used.
    #[must_use]
    pub(crate) fn zeroed() -> Self {
        let Some(first) = map(const { Self::MAPPED_BYTES }) else { handle_alloc_error(Layout::new::<[T; COUNT]>()) };
        Self { first: first.cast(), elements: PhantomData }
    }

    /// Elements of zeros, whose memory is there.
    #[must_use]
    pub(crate) fn touched() -> Self {
        let table = Self::zeroed();
        // SAFETY: so many elements are there, nobody else knows of them, and what is written to them is zeros again.
        touch::slots(unsafe { table.first.cast::<[MaybeUninit<T>; COUNT]>().as_mut() });
        table
    }
}

impl<T, const COUNT: usize> Deref for Table<T, COUNT> {
    type Target = [T; COUNT];

    #[inline(always)]
    fn deref(&self) -> &[T; COUNT] {
        // SAFETY: the mapping holds so many elements, initialised by zeros or by who wrote them, for as long as `self` is.
        unsafe { self.first.cast().as_ref() }
    }
}

impl<T, const COUNT: usize> DerefMut for Table<T, COUNT> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T; COUNT] {
        // SAFETY: as above, and `self` is borrowed for as long.
        unsafe { self.first.cast().as_mut() }
    }
}

impl<T, const COUNT: usize> Drop for Table<T, COUNT> {
    fn drop(&mut self) {
        // SAFETY: the whole of the mapping, which is this table's alone; no reference outlives `self`.
        unsafe { unmap(self.first.cast(), const { Self::MAPPED_BYTES }) };
    }
}

/// So many bytes of zeros, a multiple of [`PAGE_BYTES`], from the first of a large page on. `None`: the kernel has none.
fn map(bytes: usize) -> Option<NonNull<u8>> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at a place of the kernel's choice touches nothing that is there.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes + PAGE_BYTES, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    let start = NonNull::new(start)?.cast::<u8>();
    // A page more was mapped than is wanted: what lies before the first large page and behind the last is given back.
    let before = start.align_offset(PAGE_BYTES);
    // SAFETY: `before` is less than a large page, and all of this lies in the mapping, of which nobody else knows.
    unsafe {
        let first = start.add(before);
        unmap(start, before);
        unmap(first.add(bytes), PAGE_BYTES - before);
        // Where the kernel has no large pages, it says so, and the table lies on small ones.
        libc::madvise(first.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE);
        Some(first)
    }
}

/// # Safety
/// The bytes are a mapping, or a part of one, of which no reference is left.
unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
    if bytes > 0 {
        // SAFETY: as the caller says.
        let outcome = unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
        debug_assert_eq!(outcome, 0, "a part of a mapping");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    const COUNT: usize = 3 * PAGE_BYTES / 8 + 1;

    /// The words that the kernel has for the mapping at this address; none where nothing is mapped.
    fn flags_at(address: usize) -> Option<String> {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let is_in = |line: &str| {
            let (start, end) = line.split_once(' ')?.0.split_once('-')?;
            let [start, end] = [start, end].map(|bound| usize::from_str_radix(bound, 16).ok());
            Some((start?..end?).contains(&address))
        };
        let mut lines = maps.lines().skip_while(|line| is_in(line) != Some(true));
        lines.find_map(|line| line.strip_prefix("VmFlags: ")).map(str::to_owned)
    }

    #[test]
    fn a_table_is_zero_first_keeps_what_is_written_and_begins_with_a_large_page() {
        let table = Table::<AtomicU64, COUNT>::zeroed();
        assert_eq!(table.as_ptr().addr() % PAGE_BYTES, 0);
        assert!(table.iter().all(|word| word.load(Relaxed) == 0));
        let other = Table::<AtomicU64, COUNT>::zeroed();
        for (word, number) in table.iter().zip(1..) {
            word.store(number, Relaxed);
        }
        assert!(table.iter().zip(1..).all(|(word, number)| word.load(Relaxed) == number));
        assert!(other.iter().all(|word| word.load(Relaxed) == 0), "another's memory");
    }

    #[test]
    fn large_pages_are_asked_for_where_the_kernel_has_them() {
        if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
            println!("skipped: this kernel has no large pages");
            return;
        }
        let table = Table::<AtomicU64, COUNT>::zeroed();
        for at in [0, COUNT - 1] {
            let flags = flags_at((&raw const table[at]).addr()).expect("a mapping");
            assert!(flags.split(' ').any(|flag| flag == "hg"), "{flags}");
        }
    }

    #[test]
    fn what_a_table_took_is_given_back() {
        // The same address again and again: the one that was given back.
        let mut addresses: Vec<usize> = (0..2_000)
            .map(|_| {
                let table = Table::<AtomicU64, COUNT>::zeroed();
                table[COUNT - 1].store(1, Relaxed);
                table.as_ptr().addr()
            })
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert!(addresses.len() < 1_000, "{} places", addresses.len());
    }
}
