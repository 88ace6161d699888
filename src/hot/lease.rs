//! Whether everything that should be up is up, as a strategy may ask before every order: one atomic load.
//!
//! ```text
//! cold control plane ──renews, while nothing is down──► "whole until" (ns on CLOCK_MONOTONIC) ◄──load── strategy
//! ```
//! A lease, not a flag: a control plane that died, hangs or was starved of its CPU renews nothing, and the strategy is
//! told so by the time alone.

use crate::market::MonoNs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The halted flag of a process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Halted {
    whole_until: Arc<AtomicU64>,
}

impl Halted {
    /// Halted until the first renewal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// True while some connection is down that should be up, and where nobody has said otherwise for the time of the
    /// lease. `now`: the event's `meta.received.mono`, or [`mono_now`](super::mono_now).
    #[inline]
    #[must_use]
    pub fn is_halted(&self, now: MonoNs) -> bool {
        self.whole_until.load(Relaxed) <= now.0
    }

    /// Nothing is down, as far as is known until then. Called by the control plane alone.
    pub fn renew(&self, until: MonoNs) {
        self.whole_until.store(until.0, Relaxed);
    }

    /// Something is down. Called by the control plane alone.
    pub fn revoke(&self) {
        self.whole_until.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_nobody_renews_ends_by_itself() {
        let control = Halted::new();
        let strategy = control.clone();
        assert!(strategy.is_halted(MonoNs(1)), "nobody has said yet that anything is up");
        control.renew(MonoNs(1_000));
        assert!(!strategy.is_halted(MonoNs(999)));
        assert!(strategy.is_halted(MonoNs(1_000)), "the control plane may have died");
        control.renew(MonoNs(2_000));
        assert!(!strategy.is_halted(MonoNs(1_500)));
        control.revoke();
        assert!(strategy.is_halted(MonoNs(1_500)));
    }
}
