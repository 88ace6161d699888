//! Brings reserved memory in before a message needs it. For books, decoders' scratch, and what else a hot core owns.
//!
//! ```text
//! reserved ──(first write to each page)──► a fault, 0.5 µs and more ──► there, on the node of the CPU that wrote
//! ```
//! The kernel gives memory when it is first written. Written here, at the start and on the thread that will use it, no
//! message pays for it, and on a machine with several nodes it lies on the thread's own.

use std::hint::black_box;
use std::mem::MaybeUninit;

/// The smallest page of the processors this runs on.
const PAGE_BYTES: usize = 4096;

/// Writes to every page of a buffer, and changes nothing.
pub(crate) fn bytes(buffer: &mut [u8]) {
    let last = buffer.len().saturating_sub(1);
    for at in (0..buffer.len()).step_by(PAGE_BYTES).chain([last]) {
        if let Some(byte) = buffer.get_mut(at) {
            *byte = black_box(*byte);
        }
    }
    black_box(buffer);
}

/// Writes to slots that hold nothing yet.
pub(crate) fn slots<T>(slots: &mut [MaybeUninit<T>]) {
    for slot in &mut *slots {
        *slot = MaybeUninit::zeroed();
    }
    black_box(slots);
}

/// Room for `capacity` elements that is there.
pub(crate) fn vec<T>(capacity: usize) -> Vec<T> {
    let mut room = Vec::with_capacity(capacity);
    slots(room.spare_capacity_mut());
    room
}

/// Elements that are there.
pub(crate) fn filled<T: Copy>(value: T, count: usize) -> Box<[T]> {
    let mut room = vec(count);
    room.resize(count, value);
    room.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_changes_nothing_at_any_length() {
        for length in [0, 1, 2, PAGE_BYTES - 1, PAGE_BYTES, PAGE_BYTES + 1, 3 * PAGE_BYTES + 7] {
            let pattern: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let mut buffer = pattern.clone();
            bytes(&mut buffer);
            assert_eq!(buffer, pattern);
        }
    }

    #[test]
    fn what_is_filled_is_what_was_asked_for() {
        assert_eq!(*filled(7_u16, 3), [7; 3]);
        assert!(filled(0_u64, 0).is_empty());
    }

    #[test]
    fn touched_room_is_empty_and_as_large_as_asked_for() {
        let mut room: Vec<String> = vec(1_000);
        assert!(room.is_empty() && room.capacity() >= 1_000);
        room.push("kept".to_owned());
        slots(room.spare_capacity_mut());
        assert_eq!(room, ["kept"]);
    }

    #[test]
    fn what_was_touched_faults_no_more() {
        let faults = || {
            // SAFETY: a rusage is made of integers: all zero is a value.
            let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
            // SAFETY: `usage` is a valid rusage for the whole call.
            assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) }, 0);
            usage.ru_minflt + usage.ru_majflt
        };
        // Beyond what the allocator keeps at hand, so that the kernel has to give it.
        const LENGTH: usize = 64 << 20;
        let mut buffer = vec![0_u8; LENGTH];
        let before = faults();
        bytes(&mut buffer);
        let after = faults();
        assert!(after > before, "the kernel gave it page by page, or in huge ones");
        for at in (0..LENGTH).step_by(PAGE_BYTES) {
            buffer[at] = black_box(1);
        }
        black_box(&buffer);
        assert_eq!(faults() - after, 0);
    }
}
