//! The cold end of one core's rings: one task that owns it, and forwards both ways.
//!
//! ```text
//! drivers ── mpsc ──► link ── ring ──► hot core
//! the slot's hearer ◄── mpsc ── link ◄── ring ── hot core
//! the desk of books ◄──────────────┘ ◄─ board ───┘
//! ```
//! Pooled buffers go home at once; what the hot core may not free is freed here.

use super::books::{BookDesk, BookNotice};
use super::lanes::SymbolSenders;
use super::slots::SlotTable;
use crate::hot::{Board, ClosedBy, ColdPorts, Command, MissingIds, Notice, Spent, Waker};
use crate::venue::DecodeError;
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// Commands that may wait for the ring before a sender waits too.
pub(super) const COMMAND_QUEUE: usize = 1_024;

/// How often a full ring is tried again. A ring does not tell when it has room.
const RETRY: Duration = Duration::from_millis(1);

/// What a slot's driver hears from its core.
#[derive(Debug)]
pub(super) enum SlotNotice {
    /// The connection ended: the reason's name as a counter, in words, and the code of the venue's close frame.
    Lost { name: &'static str, reason: String, code: Option<u16> },
    /// A control-plane message.
    Control(Vec<u8>),
    /// The first message of its reason that gave no event.
    Sample { error: DecodeError, message_bytes: usize, sample: Vec<u8> },
    /// The successor of a rotation is lost, this connection leads again, or another leg is lost that led; whether books with
    /// snapshots of their own must be subscribed again.
    LeadReturned { has_snapshot_passed: bool },
    /// The core did not take the overlap that this connection was to lead.
    OverlapRefused,
    /// Trades are missing before an event of this connection.
    Missing(MissingIds),
    /// A text of this many bytes was not sent: the core's slot was empty or its connection closing.
    Unsent(usize),
}

/// The books of a core, as its link sees them.
pub(super) struct BookSide {
    pub(super) board: Arc<Board>,
    pub(super) desk: BookDesk,
}

struct Wake(Arc<Waker>);

impl AsRawFd for Wake {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Runs until every sender of commands is gone.
pub(super) async fn run(
    mut ports: ColdPorts,
    mut commands: mpsc::Receiver<Command>,
    slots: SlotTable,
    lanes: SymbolSenders,
    books: BookSide,
) -> std::io::Result<()> {
    let waker = Arc::clone(ports.waker());
    // SAFETY: `Wake` shares the waker, which owns its descriptor from its making to its last drop, so the descriptor stays
    // open and the same for as long as the `AsyncFd` holds the `Wake`.
    let readable = unsafe { AsyncFd::register_with_interest(Wake(Arc::clone(&waker)), tokio::io::Interest::READABLE) }
        .map_err(std::io::Error::from)?;
    let mut waiting: VecDeque<Command> = VecDeque::new();
    let mut seen_changes = 0;
    loop {
        take_notices(&mut ports, &slots, &books.desk, &mut waiting);
        if books.board.changes() != seen_changes {
            seen_changes = books.board.changes();
            books.desk.board_changed();
        }
        while let Some(command) = waiting.pop_front() {
            if let Err(command) = ports.push(command) {
                waiting.push_front(*command);
                break;
            }
        }
        waker.about_to_sleep();
        if !ports.is_empty() || books.board.changes() != seen_changes {
            waker.awake();
            continue;
        }
        tokio::select! {
            ready = readable.readable() => {
                ready?.clear_ready();
                waker.drain();
            }
            command = commands.recv(), if waiting.is_empty() => match command {
                Some(command) => {
                    if let Command::AddSymbol(spec) = &command {
                        // Before the core: no event of it comes to a lane that was not told.
                        lanes.tell(spec);
                    }
                    waiting.push_back(command);
                }
                None => return Ok(()),
            },
            () = tokio::time::sleep(RETRY), if !waiting.is_empty() => {}
        }
        waker.awake();
    }
}

fn take_notices(ports: &mut ColdPorts, slots: &SlotTable, books: &BookDesk, waiting: &mut VecDeque<Command>) {
    while let Some(notice) = ports.pop() {
        let (slot, heard, buffer) = match notice {
            Notice::Lost { slot, closed, spent } => {
                drop(spent);
                let code = closed.code.filter(|_| closed.by == ClosedBy::Peer);
                let heard = SlotNotice::Lost { name: closed.reason_name(), reason: closed.to_string(), code };
                (slot, heard, None)
            }
            Notice::Control { slot, message } => (slot, SlotNotice::Control(message.clone()), Some(message)),
            Notice::Sample { slot, error, message_bytes, sample } => {
                let heard = SlotNotice::Sample { error, message_bytes, sample: sample.clone() };
                (slot, heard, Some(sample))
            }
            Notice::LeadReturned { slot, has_snapshot_passed } => {
                (slot, SlotNotice::LeadReturned { has_snapshot_passed }, None)
            }
            Notice::OverlapRefused { slot, overlap } => {
                drop(overlap);
                let Some(slot) = slot else {
                    tracing::error!("a core had no room for another connection with legs");
                    continue;
                };
                (slot, SlotNotice::OverlapRefused, None)
            }
            Notice::Missing { slot, ids } => (slot, SlotNotice::Missing(ids), None),
            Notice::Unsent { slot, text } => (slot, SlotNotice::Unsent(text.len()), None),
            Notice::FetchBegun { symbol, begun } => {
                books.notice(BookNotice::FetchBegun { symbol, begun });
                continue;
            }
            Notice::SnapshotTaken { step, snapshot } => {
                let (symbol, ticket) = (snapshot.symbol, snapshot.ticket);
                books.notice(BookNotice::SnapshotTaken { symbol, ticket, step });
                continue;
            }
            Notice::BookRead(copy) => {
                books.was_read(copy);
                continue;
            }
            Notice::Spent(Spent::Symbol(spec)) => {
                tracing::error!(venue = %spec.venue, symbol = %spec.name, "a core could not take another symbol");
                continue;
            }
            Notice::Spent(spent) => {
                drop(spent);
                continue;
            }
        };
        slots.forward(slot, heard);
        if let Some(buffer) = buffer {
            waiting.push_back(Command::Recycle(buffer));
        }
    }
}
