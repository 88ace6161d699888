//! What a connection has to say later: late answers, answers that wait for another one, and data on a slow leg.
//!
//! ```text
//! answers   [at][at]...          whichever is due; a held one goes behind the next that is sent
//! data      [at ≤ at ≤ at ...]   in order, each batch no earlier than the one before
//! ```
//! Bounded: over [`ANSWERS_MAX`] or [`BATCHES_MAX`] the oldest is due at once. No I/O; the time comes in.

use super::exchange::Batch;
use std::collections::VecDeque;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// Answers that wait.
const ANSWERS_MAX: usize = 1_024;
/// Batches of data that wait: one a millisecond for four seconds.
const BATCHES_MAX: usize = 4_096;

#[derive(Debug)]
struct Answer {
    at: Instant,
    text: Utf8Bytes,
    /// Goes behind the next answer, if one comes before its time.
    is_held: bool,
}

#[derive(Default)]
pub(super) struct Outbox {
    answers: Vec<Answer>,
    data: VecDeque<(Instant, Batch)>,
}

impl Outbox {
    /// An answer for later.
    pub(super) fn answer_at(&mut self, at: Instant, text: Utf8Bytes, is_held: bool) {
        self.answers.push(Answer { at, text, is_held });
        if self.answers.len() > ANSWERS_MAX {
            // The oldest is told early rather than forgotten.
            self.answers[0].at = Instant::now();
        }
    }

    /// The answers that waited for another one to go first.
    pub(super) fn take_held(&mut self) -> Vec<Utf8Bytes> {
        let mut held = Vec::new();
        self.answers.retain(|answer| {
            if answer.is_held {
                held.push(answer.text.clone());
            }
            !answer.is_held
        });
        held
    }

    /// Data for later, behind all data before it.
    pub(super) fn data_at(&mut self, at: Instant, batch: Batch) {
        let at = self.data.back().map_or(at, |last| last.0.max(at));
        self.data.push_back((at, batch));
        if self.data.len() > BATCHES_MAX {
            self.data[0].0 = Instant::now();
        }
    }

    pub(super) fn has_data(&self) -> bool {
        !self.data.is_empty()
    }

    /// When something is due next.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let answer = self.answers.iter().map(|answer| answer.at).min();
        answer.into_iter().chain(self.data.front().map(|data| data.0)).min()
    }

    /// What is due: answers first, then data.
    pub(super) fn take_due(&mut self, now: Instant) -> Batch {
        let mut due = Batch::default();
        while let Some(index) =
            (0..self.answers.len()).filter(|&at| self.answers[at].at <= now).min_by_key(|&at| self.answers[at].at)
        {
            due.messages.push(self.answers.remove(index).text);
        }
        while self.data.front().is_some_and(|data| data.0 <= now) {
            if let Some((_, batch)) = self.data.pop_front() {
                due.messages.extend(batch.messages);
                due.events.extend(batch.events);
                due._written.extend(batch._written);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn data(text: &str) -> Batch {
        Batch { messages: vec![text.into()], ..Batch::default() }
    }

    fn due(outbox: &mut Outbox, now: Instant) -> Vec<String> {
        outbox.take_due(now).messages.iter().map(|text| text.as_str().to_owned()).collect()
    }

    #[test]
    fn data_keeps_its_order_however_its_delays_are_drawn() {
        let (mut outbox, start) = (Outbox::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        outbox.data_at(at(10), data("a"));
        outbox.data_at(at(5), data("b"));
        outbox.data_at(at(20), data("c"));
        assert_eq!(outbox.next_at(), Some(at(10)));
        assert!(due(&mut outbox, at(9)).is_empty());
        assert_eq!(due(&mut outbox, at(10)), ["a", "b"]);
        assert_eq!(due(&mut outbox, at(20)), ["c"]);
        assert!(!outbox.has_data() && outbox.next_at().is_none());
    }

    #[test]
    fn answers_come_when_they_are_due_and_a_held_one_behind_another() {
        let (mut outbox, start) = (Outbox::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        outbox.answer_at(at(20), "late".into(), false);
        outbox.answer_at(at(10), "early".into(), false);
        outbox.answer_at(at(1_000), "held".into(), true);
        assert_eq!(due(&mut outbox, at(30)), ["early", "late"]);
        assert_eq!(outbox.take_held(), ["held"]);
        assert!(outbox.take_held().is_empty() && outbox.next_at().is_none());
    }
}
