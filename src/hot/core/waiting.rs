//! How a core looks for bytes: a read of each socket in turn, or a question to the kernel in front.
//!
//! ```text
//! few sockets, never sleeps:  visit each                          none of them is on the kernel's list
//! many sockets, or it parks:  wait ─► visit those that are ready   all of them are
//! ```
//! Called once a turn.

use super::{Attachment, Core, Idle, Owned, PARK_MS, STOPPING_PARK_MS, transport_failed};

impl<S> Core<S> {
    /// Sleeps until something is ready, unless something is known to wait. The flag is raised first and the ring looked
    /// at afterwards: a push that the look misses finds the flag and wakes.
    pub(super) fn visit_after_sleep(&mut self) -> bool {
        if self.has_buffered || !self.refills.is_empty() {
            return self.visit_ready(0);
        }
        self.waker.about_to_sleep();
        let timeout_ms = match (self.commands.is_empty(), self.outbox.waiting.is_empty()) {
            (false, _) => 0,
            // A ring that was full does not tell when it has room.
            (true, false) => 1,
            (true, true) if self.stopping_since.is_some() => STOPPING_PARK_MS,
            (true, true) => PARK_MS,
        };
        let has_worked = self.visit_ready(timeout_ms);
        self.waker.awake();
        has_worked
    }

    pub(super) fn visit_all(&mut self) -> bool {
        let mut has_worked = false;
        let mut at = 0;
        while let Some(&slot) = self.live.get(at) {
            has_worked |= self.visit(slot);
            // A lost connection gave its place to the next one.
            at += usize::from(self.live.get(at) == Some(&slot));
        }
        has_worked
    }

    pub(super) fn visit_ready(&mut self, timeout_ms: i32) -> bool {
        let before = self.now;
        let ready = self.poller.wait(timeout_ms);
        self.now = self.clock.ticks();
        self.watched_ns += self.clock.elapsed_ns(before, self.now);
        if self.poller.has_waker() {
            self.waker.drain();
        }
        let mut has_worked = false;
        for at in 0..ready {
            has_worked |= self.visit(self.poller.token(at));
        }
        if self.has_buffered {
            self.has_buffered = false;
            has_worked |= self.visit_buffered();
        }
        has_worked
    }

    /// Visits the connections whose bytes no readiness announces: opened records, frames behind the 101, a spent budget.
    fn visit_buffered(&mut self) -> bool {
        let mut has_worked = false;
        let mut at = 0;
        while let Some(&slot) = self.live.get(at) {
            if self.slots[usize::from(slot)].holds_bytes() {
                has_worked |= self.visit(slot);
            }
            at += usize::from(self.live.get(at) == Some(&slot));
        }
        has_worked
    }

    /// True where the kernel is asked which sockets are ready, before they are read.
    pub(super) fn asks_kernel(&self) -> bool {
        self.settings.idle == Idle::Park || self.live.len() > self.direct_socket_count_max
    }

    /// Has the poller watch every socket from now on, or none. Of a socket that is watched the kernel puts what comes on a list
    /// before it lets it be read: a core that reads its sockets in turn would wait for that and never look at the list.
    #[cold]
    pub(super) fn watch(&mut self, is_watching: bool) {
        self.is_watching = is_watching;
        // The newest first: where the kernel watches no more of them it is the one to go, as if it had come to a core that asks.
        for at in (0..self.live.len()).rev() {
            let index = self.live[at];
            let slot = &mut self.slots[usize::from(index)];
            let Owned::Hot(attachment) = &slot.owned else { unreachable!("live slots own a hot connection") };
            let Attachment { connection, .. } = &**attachment;
            slot.is_writing = is_watching && connection.wants_write();
            let watched = if is_watching {
                self.poller.add(connection.raw_fd(), index, slot.is_writing)
            } else {
                self.poller.remove(connection.raw_fd())
            };
            if is_watching && let Err(error) = watched {
                self.lose(index, transport_failed(error));
                if !self.asks_kernel() {
                    // The next turn takes those that are watched off the list again.
                    return;
                }
            }
        }
    }
}
