//! What a strategy is told of a book that the engine keeps.

use super::levels::{Book, Changes};
use super::slot::{Step, View};
use crate::market::{BookState, Meta};

/// A kept book has changed, or its state has. Valid during the call only.
#[derive(Clone, Copy, Debug)]
pub struct BookEvent<'a> {
    /// Who and when: of the message or snapshot that did it. Where none did (its connection was lost, say), when that was found,
    /// without a time of the venue's.
    pub meta: Meta,
    /// What became of the message or snapshot: applied, the book replaced, or found stale by it.
    pub step: Step,
    /// The book as it is now, with its state.
    pub view: View<'a>,
}

impl<'a> BookEvent<'a> {
    /// Whether the book can be trusted.
    #[inline]
    #[must_use]
    pub const fn state(&self) -> BookState {
        self.view.state
    }

    /// The book, if it can be trusted.
    #[inline]
    #[must_use]
    pub fn live(&self) -> Option<&'a Book> {
        self.view.live()
    }

    /// What changed in it; nothing where only its state did.
    #[inline]
    #[must_use]
    pub const fn changes(&self) -> Changes {
        match self.step {
            Step::Applied(changes) | Step::Rebuilt(changes) => changes,
            Step::Skipped | Step::Held { .. } | Step::Ignored | Step::Stale(_) | Step::Late => Changes::NONE,
        }
    }
}
