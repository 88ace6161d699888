//! What goes wrong on request: the faults, whom each of them strikes, and what of it is due.
//!
//! ```text
//! Faults { rules, seed } ──► PendingFaults ──┬─ of_venue      listener: closed now?  limits scaled?
//!   "close-at=60s#2"                         ├─ of_connection age, silence, skew, cuts
//!   (fault_spec.rs)                          ├─ of_request    acknowledgement lost, late, doubled, refused
//!                                            └─ of_rest       status, delay
//! ```
//! Chance is drawn from the seed, the fault and the number of what it may strike, never from the order of events: the
//! same seed strikes the same connections and requests. Does no I/O; the time comes in.

use super::text::Rng;
use crate::market::Venue;
use std::time::Duration;
use tokio::time::Instant;

/// Faults ordered beforehand; none by default. Connections are counted per venue from 1, in the order they are accepted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Faults {
    /// Connections to cut in the middle of a frame: venue, which connection, after how many bytes of payload.
    pub cut_mid_frame: Vec<(Venue, u64, u64)>,
    /// Connections to cut in the middle of the upgrade: venue, which connection.
    pub cut_upgrade: Vec<(Venue, u64)>,
    /// Subscribe requests, counted per venue from 1, that are read and never answered: the connection is reset.
    pub cut_before_ack: Vec<(Venue, u64)>,
    /// Everything else: see [`Fault`], and [`Faults::parse`] for the language of the command line.
    pub rules: Vec<FaultRule>,
    /// Draws whom a rule with a share strikes.
    pub seed: u64,
}

/// One fault and whom it strikes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FaultRule {
    /// At this venue only; at every venue if `None`.
    pub venue: Option<Venue>,
    /// Which of the things it could strike.
    pub which: Which,
    /// What happens.
    pub fault: Fault,
}

/// Which connections, subscribe requests, auth requests, streams or REST requests of a venue a fault strikes: each is
/// counted from 1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Which {
    /// Every one.
    All,
    /// From the first to the last number, both included.
    Numbers(u64, u64),
    /// So many of a million, drawn by the seed.
    Share(u32),
}

/// From a shortest to a longest time. As a delay it is drawn anew each time; as a window it counts from the order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Span {
    /// Shortest, or the window's begin.
    pub min: Duration,
    /// Longest, or the window's end.
    pub max: Duration,
}

impl Span {
    /// Always the same time.
    #[must_use]
    pub const fn exactly(time: Duration) -> Self {
        Self { min: time, max: time }
    }

    /// The window from the order until `end`.
    #[must_use]
    pub const fn until(end: Duration) -> Self {
        Self { min: Duration::ZERO, max: end }
    }

    pub(super) fn draw(self, rng: &mut Rng) -> Duration {
        let width = u64::try_from(self.max.saturating_sub(self.min).as_micros()).unwrap_or(u64::MAX - 1);
        self.min + Duration::from_micros(rng.below(width.saturating_add(1)))
    }
}

/// What can go wrong. Ages count from a connection's upgrade, windows from when the fault was ordered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The listeners are closed during the window: TCP is refused.
    RefuseConnects(Span),
    /// TCP is accepted, and nothing is ever said on it (before TLS).
    HangTls,
    /// The upgrade request is read and never answered.
    HangUpgrade,
    /// The upgrade is answered late.
    SlowUpgrade(Span),
    /// The upgrade is refused with a status, during the window or always. 418, 429 and 503 carry `Retry-After`.
    RefuseUpgrade {
        /// HTTP status, 400 to 599.
        status: u16,
        /// When; always if `None`.
        window: Option<Span>,
    },
    /// The 101 shares a segment (and a TLS record) with the first frame: data where the path names streams, else a ping.
    UpgradeWithFrame,
    /// Half of the 101, then a reset.
    CutUpgrade,
    /// The subscribe request works and its answer never comes.
    LoseAck,
    /// The answer comes late; data may come before it.
    DelayAck(Span),
    /// The answer comes twice.
    DoubleAck,
    /// The answer comes behind the next one, or a second later.
    ReorderAck,
    /// The request is refused whole: code 2 (Binance), `handler not found` (Bybit).
    RefuseSubscribe,
    /// A request that names this stream or symbol is refused whole.
    BadStream(String),
    /// The request is read and the connection reset.
    CutBeforeAck,
    /// Streams that are acknowledged and stay silent; a share is drawn for each stream anew with each subscribe.
    SilentAfterAck,
    /// This stream (or every stream of this symbol) is acknowledged and stays silent.
    SilentStream(String),
    /// The connection acknowledges everything and sends no data. Pings go on.
    SilentConnection,
    /// The connection sends no data behind so many messages of it. Pings go on.
    SilentAfter(u64),
    /// Every so many'th message of the connection is left out.
    LoseEvery(u64),
    /// Each stream falls silent behind so many messages.
    StreamSilentAfter(u64),
    /// At this age nothing is read or written any more; the socket stays open.
    HalfOpen(Duration),
    /// At this age everything is still read, and nothing is answered or sent any more.
    Deaf(Duration),
    /// Closed at this age with this code.
    Close {
        /// Age.
        at: Duration,
        /// Close code.
        code: u16,
    },
    /// Reset at this age.
    Reset(Duration),
    /// Binance's `serverShutdown` event at this age; what follows is another fault's business.
    ShutdownNotice(Duration),
    /// Cut inside the message that passes so many bytes of payload.
    CutMidFrame(u64),
    /// Data reaches each connection this much later than it was made, in order.
    LegSkew(Span),
    /// The answer to an auth comes late.
    DelayAuth(Span),
    /// The answer to an auth never comes.
    LoseAuth,
    /// An auth is refused, however good it is.
    RefuseAuth,
    /// REST answers this status, during the window or always. 418, 429 and 503 carry `Retry-After`.
    RefuseRest {
        /// HTTP status, 400 to 599.
        status: u16,
        /// When; always if `None`.
        window: Option<Span>,
    },
    /// REST answers late.
    SlowRest(Span),
    /// REST never answers.
    HangRest,
    /// A depth snapshot is that of the book as it began, however long ago that is (Binance, synthetic markets).
    OldDepth,
    /// So many connects per address in so long, instead of the venue's own limit.
    ConnectLimit(u32, Duration),
    /// So much REST weight (Binance) or so many requests (Bybit) per address in so long, instead of the venue's limit.
    RestLimit(u32, Duration),
    /// So many streams per connection, instead of the venue's limit (Binance).
    StreamLimit(u32),
}

/// Names of the faults that strike somebody, in the order of [`Fault::index`].
pub(super) const FAULT_NAMES: [&str; 32] = [
    "refuse-connects",
    "hang-tls",
    "hang-upgrade",
    "slow-upgrade",
    "upgrade-refused",
    "upgrade-with-frame",
    "cut-upgrade",
    "ack-loss",
    "ack-delay",
    "ack-twice",
    "ack-reorder",
    "refuse-subscribe",
    "bad-stream",
    "cut-before-ack",
    "silent-after-ack",
    "silent-stream",
    "silent-connection",
    "silent-after",
    "stream-silent-after",
    "half-open-after",
    "deaf-after",
    "close-at",
    "reset-every",
    "shutdown-notice",
    "cut-mid-frame",
    "auth-delay",
    "auth-loss",
    "auth-refused",
    "rest-refused",
    "rest-delayed",
    "depth-old",
    "lose-every",
];

impl Fault {
    /// Its place among the counters; `None` for what only sets a measure. A hung REST request counts as delayed.
    pub(super) fn index(&self) -> Option<usize> {
        Some(match self {
            Self::RefuseConnects(_) => 0,
            Self::HangTls => 1,
            Self::HangUpgrade => 2,
            Self::SlowUpgrade(_) => 3,
            Self::RefuseUpgrade { .. } => 4,
            Self::UpgradeWithFrame => 5,
            Self::CutUpgrade => 6,
            Self::LoseAck => 7,
            Self::DelayAck(_) => 8,
            Self::DoubleAck => 9,
            Self::ReorderAck => 10,
            Self::RefuseSubscribe => 11,
            Self::BadStream(_) => 12,
            Self::CutBeforeAck => 13,
            Self::SilentAfterAck => 14,
            Self::SilentStream(_) => 15,
            Self::SilentConnection => 16,
            Self::SilentAfter(_) => 17,
            Self::StreamSilentAfter(_) => 18,
            Self::HalfOpen(_) => 19,
            Self::Deaf(_) => 20,
            Self::Close { .. } => 21,
            Self::Reset(_) => 22,
            Self::ShutdownNotice(_) => 23,
            Self::CutMidFrame(_) => 24,
            Self::DelayAuth(_) => 25,
            Self::LoseAuth => 26,
            Self::RefuseAuth => 27,
            Self::RefuseRest { .. } => 28,
            Self::SlowRest(_) | Self::HangRest => 29,
            Self::OldDepth => 30,
            Self::LoseEvery(_) => 31,
            Self::LegSkew(_) | Self::ConnectLimit(..) | Self::RestLimit(..) | Self::StreamLimit(_) => return None,
        })
    }
}

/// A way to lose connections, now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kill {
    /// Each open connection gets half of a frame, then a reset.
    MidFrame,
    /// Each open connection is reset.
    Reset,
    /// Each open connection gets a close frame with this code.
    Close(u16),
    /// The next connection gets half of the answer to its upgrade, then a reset. Open ones stay.
    MidHandshake,
    /// The connection that sends the next subscribe request is reset before the acknowledgement. Open ones stay until then.
    MidBatch,
    /// Each open connection is told that the server goes down, and stays (Binance; elsewhere nothing is sent).
    Notice,
    /// Each open connection stops reading and writing, and stays open.
    HalfOpen,
    /// Each open connection goes on reading and never writes again.
    Deaf,
}

/// The faults that strike one connection while it is open.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionFaults {
    pub(super) faults: Vec<Fault>,
    silences: Vec<(Which, Fault)>,
    pub(super) seed: u64,
    connection: u64,
}

impl ConnectionFaults {
    /// The first value `pick` finds.
    pub(super) fn find<T>(&self, pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        self.faults.iter().find_map(pick)
    }

    /// The earliest close: age and code.
    pub(super) fn close(&self) -> Option<(Duration, u16)> {
        let closes = self.faults.iter().filter_map(|fault| match fault {
            Fault::Close { at, code } => Some((*at, *code)),
            _ => None,
        });
        closes.min()
    }

    /// After how many messages a stream falls silent, and by which fault; `nonce` names the subscribe that asked for it.
    pub(super) fn silence(&self, stream: &str, nonce: u64) -> Option<(u64, usize)> {
        for (which, fault) in &self.silences {
            let silent_after = match fault {
                Fault::SilentStream(name) if names(stream, name) => 0,
                Fault::SilentAfterAck => {
                    let stream_hash = stream
                        .bytes()
                        .fold(self.connection, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
                    if !strikes(*which, self.seed, fault, stream_hash ^ nonce << 40) {
                        continue;
                    }
                    0
                }
                Fault::StreamSilentAfter(count) => *count,
                _ => continue,
            };
            return fault.index().map(|index| (silent_after, index));
        }
        None
    }
}

/// True if `stream` is `name`, or a stream of the symbol `name`.
pub(super) fn names(stream: &str, name: &str) -> bool {
    stream == name
        || stream.split_once('@').is_some_and(|(symbol, _)| symbol.eq_ignore_ascii_case(name))
        || stream.rsplit_once('.').is_some_and(|(_, symbol)| symbol == name)
}

/// What happens to the answer of one subscribe or auth request.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestFaults {
    pub(super) is_lost: bool,
    pub(super) delay: Option<Duration>,
    pub(super) is_doubled: bool,
    pub(super) is_reordered: bool,
    /// Auth only.
    pub(super) is_refused: bool,
    pub(super) is_cut: bool,
}

/// The faults that wait for one venue's connections.
#[derive(Debug)]
pub(super) struct PendingFaults {
    ordered: Faults,
    ordered_at: Instant,
    /// Upgrades and subscribe requests to be cut as they come.
    pub(super) upgrades: u32,
    pub(super) batches: u32,
}

impl PendingFaults {
    pub(super) fn new(ordered: Faults) -> Self {
        Self { ordered, ordered_at: Instant::now(), upgrades: 0, batches: 0 }
    }

    /// Replaces what was ordered; windows count from now.
    pub(super) fn order(&mut self, faults: Faults) {
        (self.ordered, self.ordered_at) = (faults, Instant::now());
    }

    fn striking(&self, venue: Venue, number: u64) -> impl Iterator<Item = &Fault> {
        let rules = self.ordered.rules.iter().filter(move |rule| rule.venue.is_none_or(|only| only == venue));
        let struck = rules.filter(move |rule| strikes(rule.which, self.ordered.seed, &rule.fault, number));
        struck.map(|rule| &rule.fault)
    }

    /// True if this connection's upgrade is to be cut.
    pub(super) fn takes_upgrade(&mut self, venue: Venue, connection: u64) -> bool {
        take_one(&mut self.upgrades)
            || self.ordered.cut_upgrade.contains(&(venue, connection))
            || self.striking(venue, connection).any(|fault| *fault == Fault::CutUpgrade)
    }

    /// The first value `pick` finds among what strikes `number`.
    pub(super) fn find<T>(&self, venue: Venue, number: u64, pick: impl FnMut(&Fault) -> Option<T>) -> Option<T> {
        self.striking(venue, number).find_map(pick)
    }

    /// What strikes an open connection.
    pub(super) fn of_connection(&self, venue: Venue, connection: u64) -> ConnectionFaults {
        let mut faults: Vec<Fault> = self.striking(venue, connection).cloned().collect();
        let cuts = self.ordered.cut_mid_frame.iter().filter(|cut| (cut.0, cut.1) == (venue, connection));
        faults.extend(cuts.map(|cut| Fault::CutMidFrame(cut.2)));
        let rules = self.ordered.rules.iter().filter(|rule| rule.venue.is_none_or(|only| only == venue));
        let silences = rules.filter_map(|rule| match rule.fault {
            // Its share is one of streams, and a number names a connection.
            Fault::SilentAfterAck => {
                let is_struck = !matches!(rule.which, Which::Numbers(..))
                    || strikes(rule.which, self.ordered.seed, &rule.fault, connection);
                is_struck.then(|| {
                    let which = if matches!(rule.which, Which::Share(_)) { rule.which } else { Which::All };
                    (which, rule.fault.clone())
                })
            }
            Fault::SilentStream(_) | Fault::StreamSilentAfter(_) => {
                strikes(rule.which, self.ordered.seed, &rule.fault, connection)
                    .then(|| (rule.which, rule.fault.clone()))
            }
            _ => None,
        });
        ConnectionFaults { faults, silences: silences.collect(), seed: self.ordered.seed, connection }
    }

    /// Streams and symbols for which a subscribe request is refused; `*` is every one.
    pub(super) fn bad_streams(&self, venue: Venue, request: u64) -> Vec<String> {
        let bad = self.striking(venue, request).filter_map(|fault| match fault {
            Fault::BadStream(name) => Some(name.clone()),
            Fault::RefuseSubscribe => Some("*".to_owned()),
            _ => None,
        });
        bad.collect()
    }

    /// What strikes the answer to a subscribe request.
    pub(super) fn of_request(&mut self, venue: Venue, request: u64) -> RequestFaults {
        let is_cut = take_one(&mut self.batches) || self.ordered.cut_before_ack.contains(&(venue, request));
        let mut struck = RequestFaults { is_cut, ..RequestFaults::default() };
        for fault in self.striking(venue, request) {
            match fault {
                Fault::LoseAck => struck.is_lost = true,
                Fault::DelayAck(span) => struck.delay = Some(self.draw(*span, venue, request)),
                Fault::DoubleAck => struck.is_doubled = true,
                Fault::ReorderAck => struck.is_reordered = true,
                Fault::CutBeforeAck => struck.is_cut = true,
                _ => {}
            }
        }
        struck
    }

    /// What strikes an auth request.
    pub(super) fn of_auth(&self, venue: Venue, request: u64) -> RequestFaults {
        let mut struck = RequestFaults::default();
        for fault in self.striking(venue, request) {
            match fault {
                Fault::LoseAuth => struck.is_lost = true,
                Fault::DelayAuth(span) => struck.delay = Some(self.draw(*span, venue, request)),
                Fault::RefuseAuth => struck.is_refused = true,
                _ => {}
            }
        }
        struck
    }

    /// A delay for `number`: the same for the same seed.
    pub(super) fn draw(&self, span: Span, venue: Venue, number: u64) -> Duration {
        span.draw(&mut Rng::new(self.ordered.seed ^ 0x0064_656C_6179, number << 3 | venue.index() as u64))
    }

    /// Whether a window is open, and what is left of it; without a window it is open, with nothing to wait for.
    pub(super) fn is_within(&self, window: Option<Span>, now: Instant) -> Option<Duration> {
        let Some(window) = window else { return Some(Duration::ZERO) };
        let since = now.saturating_duration_since(self.ordered_at);
        (since >= window.min && since < window.max).then(|| window.max - since)
    }

    /// Whether TCP is refused now, and when that changes.
    pub(super) fn refuses_connects(&self, venue: Venue, now: Instant) -> (bool, Option<Instant>) {
        let windows = self.striking(venue, 1).filter_map(|fault| match fault {
            Fault::RefuseConnects(window) => Some(*window),
            _ => None,
        });
        let (mut is_refusing, mut change_at): (_, Option<Instant>) = (false, None);
        for window in windows {
            is_refusing |= self.is_within(Some(window), now).is_some();
            for edge in [self.ordered_at + window.min, self.ordered_at + window.max] {
                if edge > now && change_at.is_none_or(|at| edge < at) {
                    change_at = Some(edge);
                }
            }
        }
        (is_refusing, change_at)
    }
}

/// Whether a rule strikes `number`.
fn strikes(which: Which, seed: u64, fault: &Fault, number: u64) -> bool {
    match which {
        Which::All => true,
        Which::Numbers(first, last) => (first..=last).contains(&number),
        Which::Share(millionths) => {
            let purpose = fault.index().map_or(99, |index| index as u64);
            Rng::new(seed ^ purpose << 48, number).below(1_000_000) < u64::from(millionths)
        }
    }
}

fn take_one(count: &mut u32) -> bool {
    let is_left = *count > 0;
    *count = count.saturating_sub(1);
    is_left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(rules: Vec<FaultRule>, seed: u64) -> PendingFaults {
        PendingFaults::new(Faults { rules, seed, ..Faults::default() })
    }

    fn rule(which: Which, fault: Fault) -> FaultRule {
        FaultRule { venue: None, which, fault }
    }

    #[test]
    fn every_fault_counts_under_a_name_of_its_own() {
        let mut names = FAULT_NAMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FAULT_NAMES.len());
        assert_eq!(FAULT_NAMES[Fault::HangRest.index().unwrap()], "rest-delayed");
        assert_eq!(FAULT_NAMES[Fault::OldDepth.index().unwrap()], "depth-old");
        assert_eq!(FAULT_NAMES[Fault::LoseEvery(1).index().unwrap()], "lose-every");
        assert_eq!(FAULT_NAMES[Fault::CutMidFrame(1).index().unwrap()], "cut-mid-frame");
        assert_eq!(FAULT_NAMES[Fault::StreamSilentAfter(1).index().unwrap()], "stream-silent-after");
    }

    #[test]
    fn a_share_strikes_about_that_many_and_the_same_ones_for_the_same_seed() {
        let struck = |seed| -> Vec<u64> {
            let mut pending = pending(vec![rule(Which::Share(100_000), Fault::LoseAck)], seed);
            (1..=10_000).filter(|&n| pending.of_request(Venue::BybitSpot, n).is_lost).collect()
        };
        assert_eq!(struck(7), struck(7));
        assert_ne!(struck(7), struck(8));
        assert!((800..1_200).contains(&struck(7).len()), "{}", struck(7).len());
    }

    #[test]
    fn numbers_and_venues_choose_exactly() {
        let mut one = rule(Which::Numbers(2, 3), Fault::Close { at: Duration::from_secs(1), code: 1012 });
        one.venue = Some(Venue::BybitLinear);
        let pending = pending(vec![one], 1);
        let close = |venue, number| pending.of_connection(venue, number).close().map(|close| close.1);
        let closes: Vec<_> = (1..5).map(|number| close(Venue::BybitLinear, number)).collect();
        assert_eq!(closes, [None, Some(1012), Some(1012), None]);
        assert_eq!(close(Venue::BybitSpot, 2), None);
    }

    #[test]
    fn a_share_of_silent_streams_is_drawn_anew_for_each_subscribe() {
        let pending = pending(vec![rule(Which::Share(500_000), Fault::SilentAfterAck)], 3);
        let faults = pending.of_connection(Venue::BinanceSpot, 1);
        let silent = |nonce| (0..1_000).filter(|n| faults.silence(&format!("s{n}@trade"), nonce).is_some()).count();
        assert!((400..600).contains(&silent(1)), "{}", silent(1));
        let both = (0..1_000).filter(|n| {
            let stream = format!("s{n}@trade");
            faults.silence(&stream, 1).is_some() && faults.silence(&stream, 2).is_some()
        });
        assert!((180..320).contains(&both.count()), "independent draws");
    }

    #[test]
    fn a_stream_is_named_by_itself_or_by_its_symbol() {
        for (stream, name, is_named) in [
            ("btcusdt@trade", "btcusdt@trade", true),
            ("btcusdt@trade", "BTCUSDT", true),
            ("orderbook.50.BTCUSDT", "BTCUSDT", true),
            ("orderbook.50.BTCUSDT", "50.BTCUSDT", false),
            ("ethbtcusdt@trade", "BTCUSDT", false),
        ] {
            assert_eq!(names(stream, name), is_named, "{stream} {name}");
        }
    }

    #[test]
    fn a_window_opens_and_closes_by_the_time_since_its_order() {
        let window = Span { min: Duration::from_secs(1), max: Duration::from_secs(3) };
        let pending = pending(vec![rule(Which::All, Fault::RefuseConnects(window))], 1);
        let at = |ms| pending.refuses_connects(Venue::BybitSpot, pending.ordered_at + Duration::from_millis(ms));
        let edge = |s| Some(pending.ordered_at + Duration::from_secs(s));
        assert_eq!(at(500), (false, edge(1)));
        assert_eq!(at(1_000), (true, edge(3)));
        assert_eq!(at(2_999), (true, edge(3)));
        assert_eq!(at(3_000), (false, None));
    }
}
