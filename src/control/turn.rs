//! A connection's turn in one of the process's budgets: asked for once, kept while it waits, given back when it is of no
//! use any more. Owned by the connection machine.
//!
//! ```text
//! ask ─► Now: go          At: keep the ticket, redeem it then          Refused: the line is full, ask again in a second
//! ```

use super::{Context, Permit, Ticket, after};
use crate::market::MonoNs;
use std::time::Duration;

/// How long to wait where the process's budget has no place in its line.
const NO_PLACE_WAIT: Duration = Duration::from_secs(1);

/// Something that waits for its turn in one of the process's budgets.
#[derive(Debug, Default)]
pub(super) enum Turn {
    /// It does not wait.
    #[default]
    None,
    /// It has a place in the line.
    Ticket(Ticket),
    /// There was no place: it asks again.
    Again,
}

impl Turn {
    pub(super) const fn is_waiting(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Takes the turn, or says when to try again. `ask` asks for a place where there is none yet.
    pub(super) fn take(
        &mut self,
        now: MonoNs,
        context: &mut Context<'_>,
        ask: impl FnOnce(&mut Context<'_>) -> Permit,
    ) -> Option<MonoNs> {
        let permit = match std::mem::take(self) {
            Self::Ticket(ticket) => context.governor.redeem(ticket, now).unwrap_or_else(|| ask(context)),
            Self::None | Self::Again => ask(context),
        };
        match permit {
            Permit::Now => None,
            Permit::At { at, ticket } => {
                *self = Self::Ticket(ticket);
                Some(at)
            }
            Permit::Refused(_) => {
                *self = Self::Again;
                Some(after(now, NO_PLACE_WAIT))
            }
        }
    }

    /// Gives the place back. True if it had waited.
    pub(super) fn cancel(&mut self, now: MonoNs, context: &mut Context<'_>) -> bool {
        let was = std::mem::take(self);
        if let Self::Ticket(ticket) = was {
            context.governor.cancel(ticket, now);
        }
        was.is_waiting()
    }
}
