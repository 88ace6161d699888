//! The only way in and out of a hot core: two single-producer single-consumer rings, and a waker for each direction.
//!
//! ```text
//! cold task ── Command ─►┐ ring ┌─► hot core      attach this connection, add a symbol, send these bytes, stop
//!           ◄─ Notice  ──┘      └──               connection lost (why), control message, sample, things to free
//! ```
//! Whatever the hot core must not free travels back in a notice: boxes are moved, never dropped, on its thread.

use super::connection::{Closed, HotConnection};
use super::poller::Waker;
use crate::limits::{CONTROL_MESSAGE_BYTES, CONTROL_MESSAGE_POOL, RING_SLOTS};
use crate::market::{Received, SymbolSpec};
use crate::venue::{DecodeError, Decoder};
use rtrb::{Consumer, Producer, RingBuffer};
use std::io;
use std::sync::Arc;

/// A connection with its decoder, as the cold side made it ready.
#[derive(Debug)]
pub struct Attachment {
    /// The slot of the core it takes. The cold side gives a slot again only after its `Lost`.
    pub slot: u16,
    /// The connection, after its upgrade.
    pub connection: HotConnection,
    /// Decodes its messages.
    pub decoder: Decoder,
}

/// Cold to hot.
#[derive(Debug)]
pub enum Command {
    /// Own this connection.
    Attach(Box<Attachment>),
    /// Own this slot's decoder; its messages will come as [`Command::Message`].
    AttachCold {
        /// The slot.
        slot: u16,
        /// Decodes its messages.
        decoder: Box<Decoder>,
    },
    /// One message of a connection that lives on the cold side.
    Message {
        /// The slot.
        slot: u16,
        /// The payload; the buffer comes back as [`Notice::Spent`].
        payload: Vec<u8>,
        /// When the cold side read it.
        received: Received,
    },
    /// Send this text. The buffer comes back as [`Notice::Spent`].
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
    /// Know this symbol.
    AddSymbol(Box<SymbolSpec>),
    /// A buffer of the pool comes home.
    Recycle(Vec<u8>),
    /// Close every connection, then end.
    Stop,
}

/// Something whose memory the cold side frees.
#[derive(Debug)]
pub enum Spent {
    /// A connection that ended; dropping it closes the socket.
    Connection(Box<Attachment>),
    /// The decoder of a cold slot.
    Decoder(Box<Decoder>),
    /// A buffer.
    Buffer(Vec<u8>),
    /// A symbol that was known already, or known wrongly.
    Symbol(Box<SymbolSpec>),
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
