//! Tables that lie on large pages: what a hot core looks up by its symbol, wherever that may lie.
//!
//! ```text
//! 4 KiB pages:  look-up ─► page not known to the CPU ─► its tables are walked, on a virtual machine two of them ─► line
//! 2 MiB pages:  look-up ─────────────────────────────────────────────────────────────────────────────────────────► line
//! ```
//! A symbol that was quiet lies on a page that was quiet. Linux gives large pages where they are asked for, as they are here,
//! if `/sys/kernel/mm/transparent_hugepage/enabled` is `madvise` or `always`; where it is `never`, or no large page is free, a
//! table lies on small ones, and is the same but for the time. All of it is there once it is made: nobody waits for a page
//! later, and the kernel is not to join small pages to a large one under a core that uses them. What a table took is kept for
//! the next one, for to unmap memory is to interrupt every core of the process.

use super::touch;
use std::alloc::{Layout, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
        assert!(COUNT > 0 && size_of::<T>() > 0 && align_of::<T>() <= PAGE_BYTES && !std::mem::needs_drop::<T>());
        (COUNT * size_of::<T>()).next_multiple_of(PAGE_BYTES)
    };
}

impl<T: Zeroed, const COUNT: usize> Table<T, COUNT> {
    /// Elements of zeros. Their memory is there, brought in by the thread that calls.
    #[must_use]
    pub(crate) fn zeroed() -> Self {
        let bytes = const { Self::MAPPED_BYTES };
        let Some(first) = take_spare(bytes).or_else(|| map(bytes)) else {
            handle_alloc_error(Layout::new::<[T; COUNT]>())
        };
        let mut elements = first.cast::<[MaybeUninit<T>; COUNT]>();
        // SAFETY: the mapping has room for so many elements, and nobody else knows of it.
        touch::slots(unsafe { elements.as_mut() });
        // Its large pages stay; small ones are not joined from here on.
        // SAFETY: the whole of a mapping, of which the advice changes no byte.
        unsafe { libc::madvise(first.as_ptr().cast(), bytes, libc::MADV_NOHUGEPAGE) };
        Self { first: first.cast(), elements: PhantomData }
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
        spares().push(Spare { first: self.first.cast(), bytes: const { Self::MAPPED_BYTES } });
    }
}

/// A mapping that nobody uses.
struct Spare {
    first: NonNull<u8>,
    bytes: usize,
}

// SAFETY: nobody else has its address: it belongs to whoever holds it.
unsafe impl Send for Spare {}

/// Mappings of tables that are gone: as many as there were tables at a time.
fn spares() -> MutexGuard<'static, Vec<Spare>> {
    static SPARES: Mutex<Vec<Spare>> = Mutex::new(Vec::new());
    SPARES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A mapping of so many bytes that was a table's, as that one left it.
fn take_spare(bytes: usize) -> Option<NonNull<u8>> {
    let mut spares = spares();
    let at = spares.iter().position(|spare| spare.bytes == bytes)?;
    Some(spares.swap_remove(at).first)
}

/// So many bytes, a multiple of [`PAGE_BYTES`], from the first of a large page on. `None`: the kernel has none.
fn map(bytes: usize) -> Option<NonNull<u8>> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at a place of the kernel's choice touches nothing that is there.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes + PAGE_BYTES, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    let start = NonNull::new(start)?.cast::<u8>();
    // A page more was mapped than is wanted: what lies before the first large page and behind the last is given back.
    let [before, behind] = around(start.addr().get());
    // SAFETY: `before` is less than what was mapped.
    let first = unsafe { start.add(before) };
    // SAFETY: so was a large page more than this.
    let end = unsafe { first.add(bytes) };
    for (rest, rest_bytes) in [(start, before), (end, behind)] {
        // SAFETY: of the mapping, of which nobody else knows, and not what is wanted of it.
        unsafe { unmap(rest, rest_bytes) };
    }
    // Where the kernel has no large pages, it says so, and the table lies on small ones.
    // SAFETY: what is left of the mapping, of which the advice changes no byte.
    unsafe { libc::madvise(first.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
    Some(first)
}

/// Of a mapping that begins here and has a large page more than is wanted: how much lies before the first large page that is
/// whole, and how much behind the last one that is wanted.
const fn around(address: usize) -> [usize; 2] {
    let before = address.next_multiple_of(PAGE_BYTES) - address;
    [before, PAGE_BYTES - before]
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

    /// Of the mapping at this address: the value that the kernel has for this.
    fn value_at(address: usize, name: &str) -> Option<String> {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let is_in = |line: &str| {
            let (start, end) = line.split_once(' ')?.0.split_once('-')?;
            let [start, end] = [start, end].map(|bound| usize::from_str_radix(bound, 16).ok());
            Some((start?..end?).contains(&address))
        };
        let mut lines = maps.lines().skip_while(|line| is_in(line) != Some(true));
        lines.find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
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
    #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
    fn all_of_a_table_is_there_large_pages_are_asked_for_and_small_ones_are_not_joined_later() {
        let table = Table::<AtomicU64, COUNT>::zeroed();
        let value = |name| value_at(table.as_ptr().addr(), name).expect("a mapping");
        let kib = |name| value(name).trim_end_matches(" kB").parse::<usize>().expect("so many");
        assert!(kib("Rss:") >= COUNT * 8 / 1024, "{} KiB of it are there", kib("Rss:"));
        let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
        if enabled.is_empty() || enabled.contains("[never]") {
            println!("skipped: this kernel gives no large pages");
            return;
        }
        assert!(value("VmFlags:").split(' ').any(|flag| flag == "nh"), "{}", value("VmFlags:"));
        let asked_for = map(PAGE_BYTES).expect("memory");
        let flags = value_at(asked_for.addr().get(), "VmFlags:").expect("a mapping");
        assert!(flags.split(' ').any(|flag| flag == "hg"), "{flags}");
        // SAFETY: all of the mapping, to which there was no reference.
        unsafe { unmap(asked_for, PAGE_BYTES) };
    }

    #[test]
    fn what_lies_around_the_large_pages_is_one_page_together() {
        for (address, before) in
            [(PAGE_BYTES, 0), (PAGE_BYTES + 4096, PAGE_BYTES - 4096), (3 * PAGE_BYTES - 4096, 4096)]
        {
            assert_eq!(around(address), [before, PAGE_BYTES - before], "{address:#x}");
            assert_eq!((address + before) % PAGE_BYTES, 0);
        }
    }

    #[test]
    fn what_a_table_took_is_kept_for_the_next_one_which_is_zero_all_the_same() {
        // The same address again and again: the one that was kept.
        let mut addresses: Vec<usize> = (0..200)
            .map(|_| {
                let table = Table::<AtomicU64, COUNT>::zeroed();
                assert_eq!([&table[0], &table[COUNT - 1]].map(|word| word.swap(1, Relaxed)), [0, 0]);
                table.as_ptr().addr()
            })
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert!(addresses.len() < 100, "{} places", addresses.len());
    }
}
