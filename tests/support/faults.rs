//! Page faults of a thread.

/// Page faults of the calling thread so far, minor and major.
pub(crate) fn faults() -> u64 {
    // SAFETY: a rusage is made of integers: all zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid rusage for the whole call.
    let result = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    assert_eq!(result, 0, "a thread may ask about itself");
    u64::try_from(usage.ru_minflt + usage.ru_majflt).expect("a count")
}
