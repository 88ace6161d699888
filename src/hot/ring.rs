//! The only way in and out of a hot core: two single-producer single-consumer rings, and a waker for each direction.
//!
//! ```text
//! cold task ── Command ─►┐ ring ┌─► hot core      attach this connection, add a symbol or a book, send these bytes, stop
//!           ◄─ Notice  ──┘      └──               connection lost (why), control message, sample, things to free
//! ```
//! Whatever the hot core must not free travels back in a notice: boxes are moved, never dropped, on its thread.

use super::connection::{Closed, HotConnection};
use super::legs::{Joining, Overlap};
use super::poller::Waker;
use super::refill::{Interruption, Refill};
use super::shelf::LegBooks;
use super::stats::{ConnectionStats, SocketStats};
use super::trails::MissingIds;
use crate::book::{BookCopy, BookSnapshot, FetchError, Slot, Step, Ticket};
use crate::limits::{CONTROL_MESSAGE_BYTES, CONTROL_MESSAGE_POOL, RING_SLOTS};
use crate::market::{Received, StaleReason, Symbol, SymbolSpec};
use crate::venue::{DecodeError, Decoder, ServerPing, VenueSequence};
use rtrb::{Consumer, Producer, RingBuffer};
use std::io;
use std::sync::Arc;

/// What a core needs to use one connection's messages, wherever the connection itself lives.
#[derive(Debug)]
pub struct Feed {
    /// The slot of the core it takes. The cold side gives a slot again only after its `Lost`.
    pub slot: u16,
    /// Which of a subscription's legs it is, below [`LEG_PLACES`](crate::limits::LEG_PLACES): no two that live at once have
    /// one number, the successor in a rotation and the one it succeeds included.
    pub leg: u8,
    /// The overlap that lasts which it joins, if it is one of several legs: `leg` is its place there.
    pub joining: Option<Joining>,
    /// Decodes its messages.
    pub decoder: Decoder,
    /// The logical connection's counters. Both legs of a rotation count here: both are on this core.
    pub stats: Arc<ConnectionStats>,
    /// This socket's own.
    pub socket: Arc<SocketStats>,
    /// How the venue pings by a message, if it does: such a message goes to the cold side undecoded.
    pub server_ping: Option<Box<ServerPing>>,
    /// Of the quotes that lie received at a visit, deliver only the newest of each symbol.
    pub conflates_quotes: bool,
}

impl Feed {
    /// A feed as the first leg, without a venue's own ping, with fresh counters for its socket.
    #[must_use]
    pub fn new(slot: u16, decoder: Decoder, stats: Arc<ConnectionStats>) -> Self {
        Self {
            slot,
            leg: 0,
            joining: None,
            decoder,
            stats,
            socket: Arc::default(),
            server_ping: None,
            conflates_quotes: false,
        }
    }
}

/// A connection with its feed, as the cold side made it ready.
#[derive(Debug)]
pub struct Attachment {
    /// The connection, after its upgrade.
    pub connection: HotConnection,
    /// What its messages need.
    pub feed: Feed,
}

/// Cold to hot.
#[derive(Debug)]
pub enum Command {
    /// Own this connection.
    Attach(Box<Attachment>),
    /// Own this feed of a connection on the cold side; its messages will come as [`Command::Message`].
    AttachCold(Box<Feed>),
    /// One message of a connection that lives on the cold side.
    Message {
        /// The slot.
        slot: u16,
        /// The payload; the buffer comes back as [`Notice::Spent`].
        payload: Vec<u8>,
        /// When the cold side read it.
        received: Received,
    },
    /// Send this text. The buffer comes back as [`Notice::Spent`], or as [`Notice::Unsent`].
    Send {
        /// The slot.
        slot: u16,
        /// The text.
        text: Vec<u8>,
    },
    /// Send a protocol ping.
    Ping {
        /// The slot.
        slot: u16,
    },
    /// Begin the closing handshake; a `Lost` follows. With code 0 the connection is dropped at once.
    Close {
        /// The slot.
        slot: u16,
        /// The close code.
        code: u16,
    },
    /// From now on several slots carry the same subscriptions, or soon will: a successor's attachment may come later, those
    /// of an overlap that lasts do.
    BeginOverlap(Box<Overlap>),
    /// The successor in this slot takes the lead of what has no identity, each subscription at its first event.
    Promote {
        /// The slot.
        slot: u16,
    },
    /// The old leg is gone, and late repeats no longer come; or the legs are wanted no more. The tables go back as
    /// [`Notice::Spent`].
    EndOverlap {
        /// The overlap's id.
        id: u32,
    },
    /// The next event of each of these streams comes behind an interruption. Before the attachment that ends it.
    Interrupted(Box<Interruption>),
    /// The answer to a [`Notice::Missing`]: what was fetched of the ids, or that nothing comes. Comes back as [`Spent::Refill`].
    Refill(Box<Refill>),
    /// Know this symbol.
    AddSymbol(Box<SymbolSpec>),
    /// Keep this book from now on; its symbol was added before. One that was kept of the symbol comes back as
    /// [`Notice::Spent`].
    AddBook(Box<Slot<VenueSequence>>),
    /// Keep these books beside that of their symbol: from now on each connection that carries the stream has one of its own, as
    /// long as there are enough. What there is no room for comes back.
    AddLegBooks(Box<LegBooks>),
    /// Keep no book of this symbol any more; what was kept comes back as [`Notice::Spent`].
    RemoveBook {
        /// The symbol.
        symbol: Symbol,
    },
    /// A snapshot of this symbol's book is about to be fetched: changes are to be kept for it. Answered by
    /// [`Notice::FetchBegun`]; only after that may the request be sent.
    BeginFetch {
        /// The symbol.
        symbol: Symbol,
    },
    /// The snapshot that was fetched. Answered by [`Notice::SnapshotTaken`].
    Snapshot(Box<BookSnapshot>),
    /// No snapshot will come of this symbol's book: what is kept for it need not be.
    EndFetch {
        /// The symbol.
        symbol: Symbol,
    },
    /// This symbol's book is not to be trusted.
    Quarantine {
        /// The symbol.
        symbol: Symbol,
        /// Why.
        reason: StaleReason,
    },
    /// This symbol's tick or lot has changed: what its book holds is worth nothing.
    TickChanged {
        /// The symbol.
        symbol: Symbol,
    },
    /// Copy a book into this. Answered by [`Notice::BookRead`]. While the core copies, it reads nothing.
    ReadBook(Box<BookCopy>),
    /// A buffer of the pool comes home.
    Recycle(Vec<u8>),
    /// The engine is about to stop: what reports show of the books is how they are now. Whatever is cut off from here on is no
    /// news, whoever closes it first.
    Stopping,
    /// Close every connection, then end.
    Stop,
}

/// Something whose memory the cold side frees.
#[derive(Debug)]
pub enum Spent {
    /// A connection that ended; dropping it closes the socket.
    Connection(Box<Attachment>),
    /// What a cold slot had, or a feed whose slot was taken.
    Feed(Box<Feed>),
    /// A buffer.
    Buffer(Vec<u8>),
    /// The tables of a rotation that has ended.
    Overlap(Box<Overlap>),
    /// A symbol that was known already, or known wrongly.
    Symbol(Box<SymbolSpec>),
    /// A book that is no longer kept.
    Book(Box<Slot<VenueSequence>>),
    /// Books of legs that are no longer kept, or what they came in.
    LegBooks(Box<LegBooks>),
    /// Streams whose interruption was noted.
    Interruption(Box<Interruption>),
    /// A refill that was delivered as far as it was wanted.
    Refill(Box<Refill>),
}

/// Hot to cold.
#[derive(Debug)]
pub enum Notice {
    /// A connection ended; its slot is free.
    Lost {
        /// The slot.
        slot: u16,
        /// Why.
        closed: Closed,
        /// What is left of it.
        spent: Spent,
    },
    /// A control-plane message, for the connection's state machine. The buffer goes back by [`Command::Recycle`].
    Control {
        /// The slot.
        slot: u16,
        /// The message.
        message: Vec<u8>,
    },
    /// A sample of a message that gave no event: the first of its reason on this connection.
    Sample {
        /// The slot.
        slot: u16,
        /// Why it gave none.
        error: DecodeError,
        /// Bytes of the whole message.
        message_bytes: usize,
        /// Its first bytes. The buffer goes back by [`Command::Recycle`].
        sample: Vec<u8>,
    },
    /// A text that was not sent: the slot is empty or its connection closing. Counted in
    /// [`CoreStats::sends_dropped`](super::CoreStats::sends_dropped).
    Unsent {
        /// The slot.
        slot: u16,
        /// The text.
        text: Vec<u8>,
    },
    /// The successor of a rotation is lost, the old leg leads again; or a leg is lost that led such books as below.
    LeadReturned {
        /// The slot of the leg that leads on.
        slot: u16,
        /// The lost leg led a book with snapshots of its own: the changes of each such book of this leg are silent until it is
        /// subscribed again and sends a snapshot, or, where a book of each leg is kept, until its next message. The overlap of a rotation is to be ended after that.
        has_snapshot_passed: bool,
    },
    /// An overlap that the core did not take: no room, or a slot or id that is in another. Counted in
    /// [`CoreStats::overlaps_refused`](super::CoreStats::overlaps_refused).
    OverlapRefused {
        /// The old leg's slot; `None`: it was to last, and each leg that would join it is dropped.
        slot: Option<u16>,
        /// The overlap.
        overlap: Box<Overlap>,
    },
    /// The answer to [`Command::BeginFetch`].
    FetchBegun {
        /// The symbol.
        symbol: Symbol,
        /// What the snapshot must name, or why none is to be fetched now.
        begun: Result<Ticket, FetchError>,
    },
    /// The answer to [`Command::Snapshot`].
    SnapshotTaken {
        /// What became of it; `None` where no book is kept of the symbol.
        step: Option<Step>,
        /// The snapshot, to be freed.
        snapshot: Box<BookSnapshot>,
    },
    /// The answer to [`Command::ReadBook`].
    BookRead(Box<BookCopy>),
    /// Trades or aggregates are missing, and the strategy was told. Each such notice is answered by one [`Command::Refill`].
    Missing {
        /// The slot whose event came first behind the hole.
        slot: u16,
        /// Which.
        ids: MissingIds,
    },
    /// Something to free.
    Spent(Spent),
}

/// The hot core's ends.
#[derive(Debug)]
pub struct HotPorts {
    pub(super) commands: Consumer<Command>,
    pub(super) notices: Producer<Notice>,
    pub(super) waker: Arc<Waker>,
    pub(super) cold_waker: Arc<Waker>,
    pub(super) pool: Vec<Vec<u8>>,
}

/// The cold side's ends. One cold task owns them all.
#[derive(Debug)]
pub struct ColdPorts {
    commands: Producer<Command>,
    notices: Consumer<Notice>,
    hot_waker: Arc<Waker>,
    waker: Arc<Waker>,
}

/// Both ends of a core's rings.
///
/// # Errors
/// The kernel's, when no file descriptor is left for the wakers.
pub fn ports() -> io::Result<(HotPorts, ColdPorts)> {
    let (command_in, command_out) = RingBuffer::new(RING_SLOTS);
    let (notice_in, notice_out) = RingBuffer::new(RING_SLOTS);
    let (hot_waker, cold_waker) = (Arc::new(Waker::new()?), Arc::new(Waker::new()?));
    let pool = (0..CONTROL_MESSAGE_POOL).map(|_| Vec::with_capacity(CONTROL_MESSAGE_BYTES)).collect();
    let hot = HotPorts {
        commands: command_out,
        notices: notice_in,
        waker: Arc::clone(&hot_waker),
        cold_waker: Arc::clone(&cold_waker),
        pool,
    };
    Ok((hot, ColdPorts { commands: command_in, notices: notice_out, hot_waker, waker: cold_waker }))
}

impl ColdPorts {
    /// Gives the core a command and wakes it if it sleeps.
    ///
    /// # Errors
    /// The command itself, when the ring is full: try again after a moment.
    pub fn push(&mut self, command: Command) -> Result<(), Box<Command>> {
        self.commands.push(command).map_err(|rtrb::PushError::Full(command)| Box::new(command))?;
        self.hot_waker.wake();
        Ok(())
    }

    /// The next notice, if there is one.
    pub fn pop(&mut self) -> Option<Notice> {
        self.notices.pop().ok()
    }

    /// True while no notice waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.notices.is_empty()
    }

    /// What the cold task sleeps on: readable after a notice was pushed while it slept.
    #[must_use]
    pub fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_ring_gives_the_command_back() {
        let (_hot, mut cold) = ports().unwrap();
        for _ in 0..RING_SLOTS {
            cold.push(Command::Ping { slot: 1 }).unwrap();
        }
        assert!(matches!(*cold.push(Command::Ping { slot: 2 }).unwrap_err(), Command::Ping { slot: 2 }));
    }
}
