//! The streams one connection hears from the synthetic market, and which of them speaks next.
//!
//! ```text
//! subscriptions ──► Lines ──(weighted choice)──► Line ──► binance_feed / bybit_feed ──► message
//! ```
//! A line remembers what its connection has seen. On a tape there is no choice: each line says what has happened since
//! it spoke last, at the venue's own intervals where it has some. Called by a connection, under the market's lock.

use super::faults::ConnectionFaults;
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
    /// It has spoken.
    pub(super) is_begun: bool,
    /// When a tape's line that speaks at intervals may speak again.
    next_ms: u64,
    /// Which subscribe asked for it.
    nonce: u64,
    /// Messages until it falls silent, and the fault that silences it.
    left: Option<(u64, usize)>,
    sent: u64,
}

impl Line {
    /// True from the message on that a fault silences.
    fn is_silent(&self) -> bool {
        self.left.is_some_and(|(left, _)| self.sent >= left)
    }

    /// Milliseconds between two messages of this line on a tape; 0 for one that speaks whenever there is news.
    ///
    /// Source: the venues' stream pages, "update speed".
    fn interval_ms(&self, venue: Venue) -> u64 {
        let is_binance = matches!(venue, Venue::BinanceSpot | Venue::BinanceUsdm);
        match self.channel {
            Channel::Delta | Channel::Partial(_) => match self.name.rsplit_once('@').map(|(_, speed)| speed) {
                Some("0ms") => 0,
                Some("100ms") => 100,
                Some("500ms") => 500,
                _ if venue == Venue::BinanceUsdm => 250,
                _ => 1_000,
            },
            Channel::Ticker if is_binance => 1_000,
            Channel::Ticker if venue == Venue::BybitSpot => 50,
            Channel::Ticker => 100,
            Channel::Kline(_) => 250,
            Channel::MarkPrice | Channel::AllMarks if !self.name.ends_with("@1s") => 3_000,
            Channel::MarkPrice | Channel::AllMarks | Channel::AllTickers => 1_000,
            Channel::AllQuotes => 10,
            Channel::AllLiquidations => 1_000,
            _ => 0,
        }
    }

    /// Whether a tape has news for this line; moves its cursor past what is none.
    fn has_news(&mut self, market: &mut SyntheticMarket, now: Now) -> bool {
        if self.needs_snapshot {
            return true;
        }
        let interval_ms = self.interval_ms(market.venue);
        if interval_ms > 0 && now.ms() < self.next_ms {
            return false;
        }
        let venue = market.venue;
        let Some(index) = self.symbol else {
            self.next_ms = now.ms() + interval_ms;
            return true;
        };
        let symbol = market.symbol(index);
        let is_bybit = matches!(venue, Venue::BybitSpot | Venue::BybitLinear);
        let has_news = match self.channel {
            Channel::Trade if !is_bybit => self.cursor < symbol.last_trade_id(),
            Channel::Trade | Channel::AggTrade => self.cursor < symbol.last_deal_id(),
            Channel::Quote => self.cursor < symbol.last_quote,
            Channel::Delta | Channel::Partial(_) => self.cursor < symbol.book.update_id(),
            Channel::Book(depth) => self.cursor < bybit_feed::follow(venue, symbol, depth, now.ms()),
            Channel::Liquidation => match symbol.liquidation_after(self.cursor) {
                Ok(_) => true,
                Err(seen_to) => {
                    self.cursor = seen_to;
                    false
                }
            },
            Channel::Ticker if venue == Venue::BybitLinear => {
                self.ticker != Some(bybit_feed::ticker_values(symbol, now))
            }
            _ => true,
        };
        if has_news {
            self.next_ms = now.ms() + interval_ms;
        }
        has_news
    }
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
    /// Where a tape's turn begins, so that no line is always the last.
    turn: usize,
    /// Subscribes so far.
    nonce: u64,
    /// Messages that were made and are kept back, since the last time they were taken note of.
    suppressed: u64,
    /// Faults that silenced a line, not yet taken note of.
    struck: Vec<usize>,
}

impl Lines {
    pub(super) fn new(venue: Venue, seed: u64, connection: u64) -> Self {
        let rng = Rng::new(seed, 0x6C69_6E65 ^ connection << 8 ^ venue.index() as u64);
        Self {
            venue,
            rng,
            lines: Vec::new(),
            by_name: HashMap::new(),
            picks: Vec::new(),
            scratch: BytesMut::new(),
            turn: 0,
            nonce: 0,
            suppressed: 0,
            struck: Vec::new(),
        }
    }

    /// Draws anew which lines are silent, after the faults have changed.
    pub(super) fn silence(&mut self, faults: &ConnectionFaults) {
        for line in &mut self.lines {
            line.left = faults.silence(&line.name, line.nonce);
        }
    }

    /// Messages kept back since the last call, and the faults that began to keep them.
    pub(super) fn take_suppressed(&mut self) -> (u64, Vec<usize>) {
        (std::mem::take(&mut self.suppressed), std::mem::take(&mut self.struck))
    }

    /// True if some line can speak.
    pub(super) fn is_live(&self) -> bool {
        !self.picks.is_empty()
    }

    /// Adds those of `names` that have something to say on this connection.
    pub(super) fn add(
        &mut self,
        names: &[String],
        session: &Session,
        market: &mut SyntheticMarket,
        faults: &ConnectionFaults,
    ) {
        self.nonce += 1;
        for name in names {
            if self.by_name.contains_key(name) || !session.carries(name) {
                continue;
            }
            let parsed = match session {
                Session::Binance(_) => binance::parse_stream(self.venue, name),
                Session::Bybit(_) => {
                    bybit::parse_topic(self.venue, name).map(|(symbol, channel)| (Some(symbol.to_owned()), channel))
                }
                Session::BybitPrivate(_) | Session::JsonRpc(_) => None,
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
                    (Channel::Trade | Channel::AggTrade | Channel::Liquidation, _) => symbol.last_deal_id(),
                    (Channel::Quote, _) => symbol.last_quote,
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
                is_begun: false,
                next_ms: 0,
                nonce: self.nonce,
                left: faults.silence(name, self.nonce),
                sent: 0,
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

    /// On a tape: what has happened since these lines spoke last, at most `count` messages.
    pub(super) fn follow(
        &mut self,
        market: &mut SyntheticMarket,
        session: &Session,
        wall_ns: u64,
        count: usize,
        mut take: impl FnMut(Bytes, EventKind, Emitted),
    ) {
        let now = Now { wall_ns, is_microseconds: session.is_microseconds() };
        let (mut made, first) = (0, self.turn);
        for step in 0..self.lines.len() {
            let at = (first + step) % self.lines.len();
            while made < count && self.lines[at].has_news(market, now) {
                made += 1;
                self.speak_line(at, market, session, now, &mut take);
                let interval_ms = self.lines[at].interval_ms(self.venue);
                if matches!(self.lines[at].channel, Channel::Delta | Channel::Partial(_)) {
                    // Each connection batches for itself: no two keep step for long.
                    self.lines[at].next_ms += self.rng.below(interval_ms / 10 + 1);
                }
                if interval_ms > 0 {
                    break;
                }
            }
            if made == count {
                self.turn = at;
                return;
            }
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
            _ => bybit_feed::emit(market, line, now, out),
        };
        if line.is_silent() {
            if line.sent == line.left.map_or(0, |(left, _)| left) {
                self.struck.extend(line.left.map(|(_, fault)| fault));
            }
            line.sent += 1;
            self.suppressed += 1;
            out.clear();
            return;
        }
        line.sent += 1;
        take(out.split().freeze(), line.channel.kind(), emitted);
    }
}
