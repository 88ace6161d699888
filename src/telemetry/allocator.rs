//! Counts each thread's own allocations, so that "a steady hot core allocates nothing" is a number and not a belief.
//!
//! ```text
//! alloc / realloc / dealloc ──► this thread's four Cells, += 1 ──► System
//! ```
//! The program installs [`CountingAllocator`] with `#[global_allocator]`; a thread reads its own counters and publishes
//! them. No lock, no atomic, no allocation: the cells are const-initialised thread-locals without a destructor, so that
//! reaching them never allocates or registers anything, not even as a thread ends.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNTS: Cell<AllocationCounts> = const { Cell::new(AllocationCounts::ZERO) };
}

/// What one thread has asked of the allocator since it started. Counters wrap, which takes centuries.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AllocationCounts {
    /// New blocks.
    pub allocations: u64,
    /// Blocks grown or shrunk.
    pub reallocations: u64,
    /// Blocks given back by this thread, whoever took them.
    pub deallocations: u64,
    /// Bytes of new blocks, and of grown or shrunk ones at their new size.
    pub bytes: u64,
}

impl AllocationCounts {
    const ZERO: Self = Self { allocations: 0, reallocations: 0, deallocations: 0, bytes: 0 };
}

/// The system's allocator, with a counter for each thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingAllocator;

/// Changes this thread's counters. Wrapping: a panic inside an allocator would be the worst answer to an overflow.
#[inline]
fn count(change: impl FnOnce(&mut AllocationCounts)) {
    let mut counts = COUNTS.get();
    change(&mut counts);
    COUNTS.set(counts);
}

// SAFETY: every method passes its arguments unchanged to `System`, which keeps the contract of `GlobalAlloc`, and returns
// what `System` returned. The counting touches only a thread-local `Cell` of plain numbers: it neither allocates nor
// unwinds.
unsafe impl GlobalAlloc for CountingAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(|counts| {
            counts.allocations = counts.allocations.wrapping_add(1);
            counts.bytes = counts.bytes.wrapping_add(layout.size() as u64);
        });
        // SAFETY: the caller's promise (a layout of non-zero size) is passed on as it came.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(|counts| {
            counts.allocations = counts.allocations.wrapping_add(1);
            counts.bytes = counts.bytes.wrapping_add(layout.size() as u64);
        });
        // SAFETY: as in `alloc`. Passed on as such, because the system has zeroed pages at hand.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes_new: usize) -> *mut u8 {
        count(|counts| {
            counts.reallocations = counts.reallocations.wrapping_add(1);
            counts.bytes = counts.bytes.wrapping_add(bytes_new as u64);
        });
        // SAFETY: the caller's promise (`block` came from this allocator with `layout`, and this allocator's blocks are
        // `System`'s) is passed on as it came.
        unsafe { System.realloc(block, layout, bytes_new) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(|counts| counts.deallocations = counts.deallocations.wrapping_add(1));
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Everything this thread has asked of the allocator. All zero where [`CountingAllocator`] is not installed: ask
/// [`is_counting`] before believing a zero.
#[inline]
#[must_use]
pub fn thread_counts() -> AllocationCounts {
    COUNTS.get()
}

/// New and resized blocks this thread has asked for: the number that must not move on a steady hot core.
#[inline]
#[must_use]
pub fn thread_allocations() -> u64 {
    let counts = COUNTS.get();
    counts.allocations.wrapping_add(counts.reallocations)
}

/// True if [`CountingAllocator`] is this program's global allocator. Allocates once to find out, so ask at start.
#[must_use]
pub fn is_counting() -> bool {
    let before = COUNTS.get().allocations;
    drop(std::hint::black_box(Box::new(0_u64)));
    COUNTS.get().allocations != before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, 8).expect("a power of two")
    }

    #[test]
    fn each_call_moves_its_own_counter_and_the_bytes() {
        let before = thread_counts();
        // SAFETY: a layout of 64 bytes, not of zero.
        let block = unsafe { CountingAllocator.alloc(layout(64)) };
        assert!(!block.is_null());
        // SAFETY: `block` came from this allocator with this layout.
        let block = unsafe { CountingAllocator.realloc(block, layout(64), 256) };
        assert!(!block.is_null());
        // SAFETY: `block` is now 256 bytes of this allocator.
        unsafe { CountingAllocator.dealloc(block, layout(256)) };
        let after = thread_counts();
        assert_eq!(after.allocations - before.allocations, 1);
        assert_eq!(after.reallocations - before.reallocations, 1);
        assert_eq!(after.deallocations - before.deallocations, 1);
        assert_eq!(after.bytes - before.bytes, 64 + 256);
    }

    #[test]
    fn the_block_holds_what_the_system_allocators_would() {
        // SAFETY: a layout of 32 bytes, not of zero.
        let block = unsafe { CountingAllocator.alloc_zeroed(layout(32)) };
        assert!(!block.is_null());
        // SAFETY: `block` is 32 initialised bytes, owned here until it is freed below.
        let bytes = unsafe { std::slice::from_raw_parts_mut(block, 32) };
        assert_eq!(bytes, [0_u8; 32]);
        bytes.fill(7);
        // SAFETY: `block` came from this allocator with 32 bytes.
        let block = unsafe { CountingAllocator.realloc(block, layout(32), 128) };
        // SAFETY: the first 32 of 128 bytes were carried over by `realloc`.
        let kept = unsafe { std::slice::from_raw_parts(block, 32) };
        assert_eq!(kept, [7_u8; 32]);
        // SAFETY: `block` is now 128 bytes of this allocator.
        unsafe { CountingAllocator.dealloc(block, layout(128)) };
    }

    #[test]
    fn a_thread_counts_for_itself_alone() {
        let before = thread_counts();
        let counted = std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                // SAFETY: a layout of 16 bytes, not of zero.
                let block = unsafe { CountingAllocator.alloc(layout(16)) };
                // SAFETY: `block` came from this allocator with this layout.
                unsafe { CountingAllocator.dealloc(block, layout(16)) };
                thread_counts()
            });
            worker.join().expect("the worker only allocates")
        });
        assert_eq!((counted.allocations, counted.deallocations), (1, 1));
        assert_eq!(thread_counts(), before);
    }

    #[test]
    fn a_program_without_it_is_told_that_nothing_is_counted() {
        // This test program runs on the system's allocator.
        assert!(!is_counting());
    }
}
