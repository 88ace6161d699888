//! Which CPUs a thread may run on.

use std::io;

/// CPUs this process may use, as the kernel numbers them, rising.
#[must_use]
pub fn available_cpus() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Pins the calling thread to one CPU, whatever CPUs it inherited.
///
/// # Errors
/// A text that names the CPU: it does not exist, or this process may not use it.
pub(super) fn pin_to_one(cpu: usize) -> io::Result<()> {
    confine_to(&[cpu])
        .ok()
        .filter(|()| available_cpus() == [cpu])
        .ok_or_else(|| io::Error::other(format!("cannot pin a thread to CPU {cpu}: this process may not use it")))
}

/// Lets the calling thread run on these CPUs only. An empty list changes nothing.
///
/// # Errors
/// The kernel's, where it has none of them for this process.
pub fn confine_to(cpus: &[usize]) -> io::Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    // SAFETY: a cpu_set_t is an array of integers: all zero is its empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &cpu in cpus.iter().filter(|&&cpu| cpu < libc::CPU_SETSIZE.cast_unsigned() as usize) {
        // SAFETY: `cpu` is below CPU_SETSIZE, so the bit lies inside the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: `set` is a valid cpu_set_t of the size given for the whole call; 0 is the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Keeps freed memory in the process: giving it back to the kernel unmaps pages, and unmapping interrupts every core
/// of the process to flush its TLB. Called once, before the first hot thread.
pub(super) fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    {
        // 32 MiB is the largest threshold the allocator takes (mallopt(3)).
        for (option, value) in [(libc::M_MMAP_THRESHOLD, 32 << 20), (libc::M_TRIM_THRESHOLD, i32::MAX)] {
            // SAFETY: mallopt takes two integers and changes only the allocator's own settings.
            let _ = unsafe { libc::mallopt(option, value) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_that_does_not_exist_is_refused_by_number() {
        let error = pin_to_one(4_095).unwrap_err().to_string();
        assert!(error.contains("4095"), "{error}");
    }

    #[test]
    fn a_confined_thread_may_use_just_the_cpus_it_was_given() {
        let cpus = available_cpus();
        let confined = std::thread::spawn(move || {
            confine_to(&cpus[..1]).unwrap();
            (available_cpus(), cpus[0])
        });
        let (seen, first) = confined.join().unwrap();
        assert_eq!(seen, [first]);
    }
}
