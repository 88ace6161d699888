//! One socket of a connection as its driver holds it: connecting, then attached to its core, then gone.
//!
//! ```text
//! connect ──► Connecting ──► Link::Hot ─► Attach ─► core's ring           (transport hot)
//!                        └─► Link::Cold ─► AttachCold; Message ─► ring     (transport cold)
//! next: whichever of the sockets has something to say first
//! ```
//! Decides nothing: the relay does. Every attachment hears its own notices, so that what a socket that was let go of had
//! still to say concerns nobody.

use super::link::SlotNotice;
use super::plan::SocketPlan;
use super::shared::Shared;
use super::slots::SlotLease;
use crate::control::Leg;
use crate::hot::SocketStats;
use crate::market::{MonoNs, StreamKind, Symbol};
use crate::net::{ConnectError, Established, Granted, Message, Timings, WebSocketConnection};
use crate::venue::protocol;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// A connection that has just been upgraded.
pub(super) enum Link {
    /// For a hot core.
    Hot(Box<Established>),
    /// For the cold runtime.
    Cold(Box<WebSocketConnection>),
}

impl Link {
    /// The address at its other end.
    pub(super) fn peer(&self) -> IpAddr {
        match self {
            Self::Hot(established) => established.peer.ip(),
            Self::Cold(connection) => connection.peer().ip(),
        }
    }
}

pub(super) type Connecting = Pin<Box<dyn Future<Output = Result<Link, ConnectError>> + Send>>;

/// A socket that its core knows.
pub(super) struct Attached {
    pub(super) lease: SlotLease,
    pub(super) notices: mpsc::UnboundedReceiver<SlotNotice>,
    pub(super) socket: Arc<SocketStats>,
    /// The connection itself, where it lives on the cold side.
    pub(super) cold: Option<Box<WebSocketConnection>>,
    /// When a ping or pong last came on a cold connection, which its core does not see.
    pub(super) cold_seen: MonoNs,
    /// Which of its subscriptions' legs it is: by that the core notes their last data.
    pub(super) place: u8,
    /// Where the last data of each slot of its machine stands, in the order of the slots.
    pub(super) pulses: Vec<PulseAt>,
}

/// Where the hot core notes the last data of one subscription.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PulseAt {
    /// One symbol's channel.
    Symbol(Symbol, StreamKind),
    /// An all-market channel: any symbol of the venue.
    Market(StreamKind),
    /// Nobody knows such a stream: its liveness cannot be seen.
    Nowhere,
}

/// One socket of a relay.
pub(super) struct LegIo {
    pub(super) leg: Leg,
    pub(super) connecting: Option<Connecting>,
    pub(super) attached: Option<Attached>,
}

/// What a socket has to say.
pub(super) enum Said {
    /// Its connect is done.
    Connected(Result<Link, ConnectError>),
    /// Its core says something.
    Notice(SlotNotice),
    /// A message that was read on the cold side.
    Data(Vec<u8>),
    /// A ping or pong of a cold connection.
    SignOfLife,
    /// A cold connection is over: the loss's name as a counter, in words, and the venue's close code.
    ColdEnded(&'static str, String, Option<u16>),
}

impl LegIo {
    pub(super) const fn new(leg: Leg) -> Self {
        Self { leg, connecting: None, attached: None }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Said> {
        if let Some(connecting) = &mut self.connecting
            && let Poll::Ready(result) = connecting.as_mut().poll(context)
        {
            self.connecting = None;
            return Poll::Ready(Said::Connected(result));
        }
        let Some(attached) = &mut self.attached else { return Poll::Pending };
        if let Poll::Ready(Some(notice)) = attached.notices.poll_recv(context) {
            return Poll::Ready(Said::Notice(notice));
        }
        match &mut attached.cold {
            // A receive that is dropped before it is ready has taken nothing.
            Some(connection) => pin!(receive(connection)).poll(context),
            None => Poll::Pending,
        }
    }
}

/// What the first of these sockets that has something to say says; it is asked last the next time. Cancel safe.
pub(super) async fn next(legs: &mut [LegIo]) -> (Leg, Said) {
    std::future::poll_fn(|context| {
        for at in 0..legs.len() {
            if let Poll::Ready(said) = legs[at].poll(context) {
                let leg = legs[at].leg;
                legs.rotate_left(at + 1);
                return Poll::Ready((leg, said));
            }
        }
        Poll::Pending
    })
    .await
}

async fn receive(connection: &mut WebSocketConnection) -> Said {
    match connection.recv().await {
        Ok(Some(Message::Text(text))) => Said::Data(text.as_bytes().to_vec()),
        Ok(Some(Message::Binary(bytes))) => Said::Data(bytes.to_vec()),
        Ok(Some(Message::Ping(_) | Message::Pong(_))) => Said::SignOfLife,
        Ok(None) => {
            let code = connection.close_reason().map(|reason| reason.code);
            Said::ColdEnded("closed_by_peer", "closed by the peer".to_owned(), code)
        }
        Err(error) => Said::ColdEnded("cold_connection_failed", error.to_string(), None),
    }
}

/// Where the last data of a stream stands.
pub(super) fn pulse_of(shared: &Shared, plan: &SocketPlan, stream: &str) -> PulseAt {
    let Some((channel, symbol)) = protocol(plan.venue).channel_of(stream) else { return PulseAt::Nowhere };
    match (channel.stream_kind(), symbol) {
        (stream_kind, None) => PulseAt::Market(stream_kind),
        (stream_kind, Some(name)) => {
            let symbols = shared.symbols.lock().unwrap_or_else(PoisonError::into_inner);
            symbols.find(plan.venue, &name).map_or(PulseAt::Nowhere, |symbol| PulseAt::Symbol(symbol, stream_kind))
        }
    }
}

/// An established connection in words: where it goes, what the kernel granted, how long each step took.
pub(super) fn describe_established(done: &Established) -> String {
    let tls = match (&done.tls_version, &done.tls_cipher) {
        (Some(version), Some(cipher)) => {
            let opener = done.opener().unwrap_or_default().name();
            format!("{version} {cipher}, records opened by {opener}")
        }
        _ => "no TLS".to_owned(),
    };
    describe_socket((done.local, done.peer), &tls, done.granted, done.timings)
}

/// The same of one on the cold side.
pub(super) fn describe_cold(done: &WebSocketConnection) -> String {
    describe_socket((done.local(), done.peer()), "on the cold side", done.granted(), done.timings())
}

fn describe_socket((local, peer): (SocketAddr, SocketAddr), how: &str, granted: Granted, timings: Timings) -> String {
    let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
    format!(
        "connected {local} to {peer}, {how}; receive buffer {} bytes, send buffer {} bytes, nodelay {}; dns {} tcp {} tls {} \
         upgrade {} ms",
        granted.receive_buffer_bytes,
        granted.send_buffer_bytes,
        granted.nodelay,
        ms(timings.dns),
        ms(timings.tcp),
        ms(timings.tls),
        ms(timings.upgrade)
    )
}

#[cfg(test)]
mod tests {
    use super::super::slots::SlotTable;
    use super::*;

    #[tokio::test]
    async fn a_socket_that_always_has_something_to_say_does_not_silence_the_other() {
        let table = SlotTable::new();
        let mut hearers = Vec::new();
        let mut legs: Vec<LegIo> = [Leg::FIRST, Leg::FIRST].into_iter().map(LegIo::new).collect();
        for io in &mut legs {
            let (hearer, notices) = mpsc::unbounded_channel();
            let lease = table.take(&"a".into(), hearer.clone()).unwrap();
            io.attached = Some(Attached {
                lease,
                notices,
                socket: Arc::default(),
                cold: None,
                cold_seen: MonoNs(0),
                place: 0,
                pulses: Vec::new(),
            });
            hearers.push(hearer);
        }
        for (hearer, byte) in hearers.iter().zip([b'a', b'b']) {
            for _ in 0..3 {
                hearer.send(SlotNotice::Control(vec![byte])).unwrap();
            }
        }
        let mut said = Vec::new();
        for _ in 0..6 {
            let (_, Said::Notice(SlotNotice::Control(bytes))) = next(&mut legs).await else { panic!("a notice") };
            said.extend(bytes);
        }
        assert_eq!(said, b"ababab");
    }
}
