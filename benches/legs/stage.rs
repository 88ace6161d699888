//! What both parts of this bench make a core of: symbols, legs that join or do not, and the other ends of their sockets.

use crate::words::{Kind, mark};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tickwire::hot::{
    Attachment, ColdPorts, Command, ConnectionSettings, ConnectionStats, Feed, HotConnection, Joining, Overlap, Stream,
};
use tickwire::market::{StreamKind, SymbolTable};
use tickwire::venue::{Decoder, Form};

/// Symbols of one set whose messages take turns.
pub(crate) const SYMBOL_COUNT: u64 = 8;
/// The overlap's id.
const OVERLAP: u32 = 1;
/// A leg that leads keeps the lead, however long this machine lets its next message wait.
const FAILOVER: Duration = Duration::from_secs(3_600);

/// A symbol of a set.
pub(crate) fn symbol_name(set: u64, n: u64) -> String {
    let letter = |n: u64| char::from(b'A' + u8::try_from(n).expect("a letter"));
    format!("{}{}CUSDT", letter(n % SYMBOL_COUNT), letter(set))
}

/// The symbol whose quotes mark places among a leg's messages.
pub(crate) fn marker_name(leg: u64) -> String {
    format!("MARK{leg}USDT")
}

/// Appends a marker of this leg.
pub(crate) fn mark_leg(kind: Kind, leg: u64, number: u64, frames: &mut Vec<u8>) {
    mark(kind.venue(), &marker_name(leg), number, frames);
}

/// Has the core know these symbols: those of `sets` sets, one set after the other, then the marker of each leg.
pub(crate) fn add_symbols(cold: &mut ColdPorts, kind: Kind, sets: u64, legs: u64) {
    let mut table = SymbolTable::default();
    let names = (0..sets).flat_map(|set| (0..SYMBOL_COUNT).map(move |n| symbol_name(set, n)));
    for name in names.chain((0..legs).map(marker_name)) {
        let symbol = table.add(kind.venue(), &name, 2, 5, None).expect("room");
        push(cold, Command::AddSymbol(Box::new(table.spec(symbol).expect("just added").clone())));
    }
}

/// The tables of legs of this kind, and of the markers.
pub(crate) fn begin_legs(cold: &mut ColdPorts, kind: Kind) {
    let kinds = [kind.stream_kind(), StreamKind::QUOTE];
    push(cold, Command::BeginOverlap(Box::new(Overlap::of_legs(OVERLAP, kind.venue(), FAILOVER, kinds))));
}

/// Two ends of a connection over loopback: the core's and the venue's.
pub(crate) fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    let (peer, _) = listener.accept().expect("accepts");
    peer.set_nodelay(true).expect("a socket");
    (ours, peer)
}

pub(crate) fn connection(ours: TcpStream) -> HotConnection {
    let stream = Stream::plain(ours).expect("non-blocking");
    HotConnection::new(stream, b"", &ConnectionSettings::default()).expect("a connection")
}

/// Gives the core a connection as its leg of this number, in the slot of that number.
pub(crate) fn attach(
    cold: &mut ColdPorts,
    kind: Kind,
    leg: u8,
    is_leg: bool,
    ours: TcpStream,
    stats: &Arc<ConnectionStats>,
) {
    let decoder = Decoder::new(kind.venue(), Form::Combined, None);
    let joining = is_leg.then_some(Joining { id: OVERLAP, successor_of: None });
    let feed = Feed { leg, joining, ..Feed::new(leg.into(), decoder, Arc::clone(stats)) };
    push(cold, Command::Attach(Box::new(Attachment { connection: connection(ours), feed })));
}

pub(crate) fn push(cold: &mut ColdPorts, command: Command) {
    cold.push(command).expect("room in the ring");
}
