//! Keeps the process's memory in the machine's: what is not written to a disk, or dropped to be read from one again, is
//! there when a message needs it.
//!
//! ```text
//! Engine::start ─► mlockall(current): program, libraries, heap so far are brought in, and stay
//!               ─► mlockall(future, on fault): what comes later stays from its first use on, on the node of who used it
//! ```

use super::EngineError;
use crate::config::LockMemory;
use crate::telemetry::host::{MemoryLimit, memory_limit};
use std::io;
use std::path::Path;
use std::sync::OnceLock;

/// Why memory is not locked, in words with the limit and what lifts it.
type Refused = String;

/// Locks the memory of the process, once however many engines it starts.
///
/// # Errors
/// [`EngineError::LockMemory`], where it is required.
pub(super) fn lock(wanted: LockMemory) -> Result<(), EngineError> {
    static LOCKED: OnceLock<Result<(), Refused>> = OnceLock::new();
    if wanted == LockMemory::Off {
        return Ok(());
    }
    match (LOCKED.get_or_init(|| lock_all(memory_limit(Path::new("/")))), wanted) {
        (Ok(()), _) => Ok(()),
        (Err(why), LockMemory::Require) => Err(EngineError::LockMemory(why.clone())),
        (Err(why), _) => {
            tracing::warn!("memory is not locked: {why}");
            Ok(())
        }
    }
}

/// Left of a limit for the stack of the main thread: grown beyond the limit while it is locked, it ends the process.
const SPARE_BYTES: u64 = 16 << 20;

fn lock_all(limit: Result<MemoryLimit, String>) -> Result<(), Refused> {
    match limit.map_err(|why| refused(&why))? {
        MemoryLimit::Bytes { allowed, mapped } if mapped.saturating_add(SPARE_BYTES) > allowed => {
            let spare = SPARE_BYTES >> 20;
            Err(refused(&format!(
                "RLIMIT_MEMLOCK allows {allowed} bytes, and what is mapped must fit with {spare} MiB to spare: {mapped}"
            )))
        }
        // Memory that is asked for beyond a limit would be refused instead of being left unlocked.
        MemoryLimit::Bytes { .. } => call(libc::MCL_CURRENT),
        MemoryLimit::None => {
            call(libc::MCL_CURRENT)?;
            call(libc::MCL_FUTURE | libc::MCL_ONFAULT)
        }
    }
}

fn refused(why: &str) -> Refused {
    format!(
        "{why}. It may be taken away: 1 to 10 µs a page, 0.1 to 10 ms from a disk. Fix: ulimit -l unlimited \
         (LimitMEMLOCK=infinity in the unit), or CAP_IPC_LOCK; or lock_memory = \"off\" in the engine's file"
    )
}

fn call(flags: libc::c_int) -> Result<(), Refused> {
    // SAFETY: mlockall takes flags and no pointer; it changes where pages lie, not what they hold.
    let result = unsafe { libc::mlockall(flags) };
    if result == 0 { Ok(()) } else { Err(refused(&format!("mlockall: {}", io::Error::last_os_error()))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_limit_and_what_lifts_it() {
        for (allowed, mapped) in
            [(65_536, 0), (SPARE_BYTES, 1), (1 << 30, (1 << 30) - SPARE_BYTES + 1), (u64::MAX - 1, u64::MAX)]
        {
            let why = lock_all(Ok(MemoryLimit::Bytes { allowed, mapped })).unwrap_err();
            let limit = format!("RLIMIT_MEMLOCK allows {allowed} bytes");
            for words in [&limit, &mapped.to_string(), "ulimit -l unlimited", "CAP_IPC_LOCK", "lock_memory = \"off\""] {
                assert!(why.contains(words), "{words}: {why}");
            }
        }
        let why = lock_all(Err("/proc/self/limits: gone".to_owned())).unwrap_err();
        assert!(why.starts_with("/proc/self/limits: gone. It may be taken away"), "{why}");
    }

    #[test]
    fn what_is_off_is_not_tried() {
        assert!(lock(LockMemory::Off).is_ok());
    }
}
