//! The streams one connection hears from the synthetic market, and which of them speaks next.
//!
//! ```text
//! subscriptions ──► Lines ──(weighted choice)──► Line ──► binance_feed / bybit_feed ──► message
//! ```
//! A line remembers what its connection has seen. Called by a connection, under the market's lock.

use super::market::SyntheticMarket;
use super::protocol::Session;
use super::text::Rng;
use super::{binance, binance_feed, bybit, bybit_feed};
use crate::market::{EventKind, KlineInterval, Venue};
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;

/// What a stream carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Channel {
    Trade,
    AggTrade,
    /// Best bid and ask.
    Quote,
    /// Binance's diff depth.
    Delta,
    /// Binance's partial depth.
    Partial(u16),
    /// Bybit's snapshot-and-delta book of some depth.
    Book(u16),
    Ticker,
    Kline(KlineInterval),
    MarkPrice,
    Liquidation,
    AllQuotes,
    AllTickers,
    AllMarks,
    AllLiquidations,
}

impl Channel {
    /// The kind of event it becomes.
    pub(super) fn kind(self) -> EventKind {
        match self {
            Self::Trade => EventKind::Trade,
            Self::AggTrade => EventKind::AggTrade,
            Self::Quote | Self::AllQuotes => EventKind::Quote,
            Self::Delta | Self::Partial(_) | Self::Book(_) => EventKind::Book,
            Self::Ticker | Self::AllTickers => EventKind::Ticker,
            Self::Kline(_) => EventKind::Kline,
            Self::MarkPrice | Self::AllMarks => EventKind::MarkPrice,
            Self::Liquidation | Self::AllLiquidations => EventKind::Liquidation,
        }
    }

    /// How often it speaks, against the others: about as on the venues, where quotes are by far the most.
    fn weight(self) -> usize {
        match self {
            Self::Quote => 8,
            Self::Trade | Self::AggTrade | Self::Delta | Self::Book(_) => 4,
            Self::Partial(_) => 2,
            _ => 1,
        }
    }
}

/// Changed members of a Bybit futures ticker are told against these.
pub(super) type TickerValues = [i128; 14];

/// One subscription of one connection.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) symbol: Option<u32>,
    pub(super) channel: Channel,
    /// The last id heard: trade, deal, or book update, as the channel needs.
    pub(super) cursor: u64,
    /// Open time of the candle last heard.
    pub(super) candle_open_ms: u64,
    pub(super) ticker: Option<TickerValues>,
    pub(super) needs_snapshot: bool,
}

/// The circumstances of one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Nanoseconds since the epoch.
    pub(super) wall_ns: u64,
    /// Times are written in microseconds.
    pub(super) is_microseconds: bool,
}

impl Now {
    pub(super) fn ms(self) -> u64 {
        self.wall_ns / 1_000_000
    }
    /// The present, in the connection's unit.
    pub(super) fn stamp(self) -> u64 {
        if self.is_microseconds { self.wall_ns / 1_000 } else { self.ms() }
    }
    /// A time kept in milliseconds, in the connection's unit.
    pub(super) fn of_ms(self, ms: u64) -> u64 {
        if self.is_microseconds { ms * 1_000 } else { ms }
    }
}

/// What one message held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Emitted {
    pub(super) events: u64,
    /// Events the line slept through.
    pub(super) lost: u64,
}

impl Emitted {
    pub(super) const ONE: Self = Self { events: 1, lost: 0 };
}

/// All lines of a connection.
#[derive(Debug)]
pub(super) struct Lines {
    venue: Venue,
    rng: Rng,
    lines: Vec<Line>,
    by_name: HashMap<String, usize>,
    /// Each line as often as its weight says.
    picks: Vec<u32>,
    scratch: BytesMut,
}

impl Lines {
    pub(super) fn new(venue: Venue, seed: u64, connection: u64) -> Self {
        let rng = Rng::new(seed, 0x6C69_6E65 ^ connection << 8 ^ venue.index() as u64);
        Self { venue, rng, lines: Vec::new(), by_name: HashMap::new(), picks: Vec::new(), scratch: BytesMut::new() }
    }

    /// True if some line can speak.
    pub(super) fn is_live(&self) -> bool {
        !self.picks.is_empty()
    }

    /// Adds those of `names` that have something to say on this connection.
    pub(super) fn add(&mut self, names: &[String], session: &Session, market: &mut SyntheticMarket) {
        for name in names {
            if self.by_name.contains_key(name) || !session.carries(name) {
                continue;
            }
            let parsed = match session {
                Session::Binance(_) => binance::parse_stream(self.venue, name),
                Session::Bybit(_) => {
                    bybit::parse_topic(self.venue, name).map(|(symbol, channel)| (Some(symbol.to_owned()), channel))
                }
            };
            let Some((symbol, channel)) = parsed else { continue };
            let symbol = match symbol.map(|symbol| market.find(&symbol)) {
                None => None,
                Some(Some(symbol)) => Some(symbol),
                Some(None) => continue,
            };
            let cursor = symbol.map_or(0, |symbol| {
                let symbol = market.symbol(symbol);
                match (channel, self.venue) {
                    (Channel::Trade, Venue::BinanceSpot | Venue::BinanceUsdm) => symbol.last_trade_id(),
                    (Channel::Trade | Channel::AggTrade, _) => symbol.last_deal_id(),
                    (Channel::Quote, _) => 0,
                    _ => symbol.book.update_id(),
                }
            });
            let is_stateful = matches!(channel, Channel::Book(_))
                || (channel == Channel::Ticker && self.venue == Venue::BybitLinear)
                || (channel == Channel::Quote && self.venue != Venue::BinanceSpot && self.venue != Venue::BinanceUsdm);
            self.by_name.insert(name.clone(), self.lines.len());
            self.lines.push(Line {
                name: name.clone(),
                symbol,
                channel,
                cursor,
                candle_open_ms: 0,
                ticker: None,
                needs_snapshot: is_stateful,
            });
        }
        self.index();
    }

    pub(super) fn remove(&mut self, names: &[String]) {
        self.lines.retain(|line| !names.contains(&line.name));
        self.index();
    }

    fn index(&mut self) {
        self.by_name = self.lines.iter().enumerate().map(|(at, line)| (line.name.clone(), at)).collect();
        self.picks.clear();
        for (at, line) in (0_u32..).zip(&self.lines) {
            self.picks.extend(std::iter::repeat_n(at, line.channel.weight()));
        }
    }

    /// Makes the snapshots that are due, then `count` messages, and gives each to `take` with its kind.
    pub(super) fn speak(
        &mut self,
        market: &mut SyntheticMarket,
        session: &Session,
        wall_ns: u64,
        count: usize,
        mut take: impl FnMut(Bytes, EventKind, Emitted),
    ) {
        let now = Now { wall_ns, is_microseconds: session.is_microseconds() };
        for at in 0..self.lines.len() {
            if self.lines[at].needs_snapshot {
                self.speak_line(at, market, session, now, &mut take);
            }
        }
        if self.picks.is_empty() {
            return;
        }
        for _ in 0..count {
            let at = self.picks[self.rng.index(self.picks.len())] as usize;
            self.speak_line(at, market, session, now, &mut take);
        }
    }

    fn speak_line(
        &mut self,
        at: usize,
        market: &mut SyntheticMarket,
        session: &Session,
        now: Now,
        take: &mut impl FnMut(Bytes, EventKind, Emitted),
    ) {
        // One allocation serves many messages: each is split off the front of the block.
        if self.scratch.capacity() < 4 * 1024 {
            self.scratch = BytesMut::with_capacity(64 * 1024);
        }
        let line = &mut self.lines[at];
        let out = &mut self.scratch;
        let emitted = match session {
            Session::Binance(_) => {
                let is_combined = session.is_combined();
                if is_combined {
                    for part in ["{\"stream\":\"", &line.name, "\",\"data\":"] {
                        out.extend_from_slice(part.as_bytes());
                    }
                }
                let emitted = binance_feed::emit(market, line, now, &mut self.rng, out);
                if is_combined {
                    out.extend_from_slice(b"}");
                }
                emitted
            }
            Session::Bybit(_) => bybit_feed::emit(market, line, now, out),
        };
        take(out.split().freeze(), line.channel.kind(), emitted);
    }
}
