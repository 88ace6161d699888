//! `print`: writes every event as a line, on a thread of its own.
//!
//! ```text
//! handler ─► ring (a copy of the event, fixed size) ─► printing thread ─► stderr
//! ```
//! The handler never waits: when the ring is full the event is counted as not printed. It never wakes the printer
//! either, for that would be a syscall an event; the printer looks every millisecond.

use crate::hot::{Counter, Router, Strategy};
use crate::limits::{RING_SLOTS, SYMBOL_COUNT_MAX};
use crate::market::{
    AggTrade, BookKind, BookUpdate, Decimal, EventKind, Gap, GapReason, Kline, Level, Liquidation, MarkPrice, Meta,
    Price, Qty, Quote, Side, StreamKind, SymbolSpec, Ticker, Trade,
};
use rtrb::{Consumer, Producer, RingBuffer};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// One event as it crosses the ring.
#[derive(Clone, Copy, Debug)]
struct Line {
    kind: EventKind,
    meta: Meta,
    side: Option<Side>,
    first: Level,
    second: Option<Level>,
    /// What has no place in a level: a kline's close, a mark price.
    value: Option<Decimal>,
    /// Levels of a book update: (kind, bids, asks).
    levels: Option<(BookKind, usize, usize)>,
    /// Of a marker: the stream, why, and how many ids are missing.
    gap: Option<(StreamKind, GapReason, Option<u64>)>,
}

impl Line {
    fn new(kind: EventKind, meta: &Meta) -> Self {
        Self {
            kind,
            meta: *meta,
            side: None,
            first: Level::default(),
            second: None,
            value: None,
            levels: None,
            gap: None,
        }
    }

    fn with(kind: EventKind, meta: &Meta, side: Option<Side>, price: Price, qty: Qty) -> Self {
        Self { side, first: Level { price, qty }, ..Self::new(kind, meta) }
    }
}

type Names = Arc<Mutex<Vec<Option<SymbolSpec>>>>;

/// The state of `print`.
#[derive(Debug)]
pub struct Print {
    lines: Producer<Line>,
    names: Names,
    dropped: Arc<Counter>,
}

impl Print {
    fn push(&mut self, line: Line) {
        if self.lines.push(line).is_err() {
            self.dropped.add(1);
        }
    }
}

/// The printing thread; ends, after what is in the ring, when dropped.
#[derive(Debug)]
pub struct Printer {
    is_ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    dropped: Arc<Counter>,
}

impl Printer {
    /// Events that found the ring full and were not printed.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn on_symbol(state: &mut Print, router: &mut Router<Print>, spec: &SymbolSpec) {
    let symbol = spec.symbol;
    {
        let mut names = state.names.lock().unwrap_or_else(PoisonError::into_inner);
        names[symbol.index()] = Some(spec.clone());
    }
    router.on_trade(symbol, |state, e: &Trade| {
        state.push(Line::with(EventKind::Trade, &e.meta, Some(e.taker), e.price, e.qty));
    });
    router.on_agg_trade(symbol, |state, e: &AggTrade| {
        state.push(Line::with(EventKind::AggTrade, &e.meta, Some(e.taker), e.price, e.qty));
    });
    router.on_quote(symbol, |state, e: &Quote| {
        state.push(Line { first: e.bid, second: Some(e.ask), ..Line::new(EventKind::Quote, &e.meta) });
    });
    router.on_ticker(symbol, |state, e: &Ticker| {
        state.push(Line::with(EventKind::Ticker, &e.meta, None, e.last_price, e.last_qty));
    });
    router.on_book_delta(symbol, |state, e: &BookUpdate<'_>| {
        let levels = Some((e.kind, e.bids.len(), e.asks.len()));
        let first = e.bids.first().copied().unwrap_or_default();
        let second = e.asks.first().copied();
        state.push(Line { first, second, levels, ..Line::new(EventKind::Book, &e.meta) });
    });
    router.on_kline(symbol, |state, e: &Kline| {
        state.push(Line { value: Some(e.close), ..Line::new(EventKind::Kline, &e.meta) });
    });
    router.on_mark_price(symbol, |state, e: &MarkPrice| {
        state.push(Line { value: Some(e.mark), ..Line::new(EventKind::MarkPrice, &e.meta) });
    });
    router.on_gap(symbol, |state, e: &Gap| {
        let gap = Some((e.stream_kind, e.reason, e.missing));
        state.push(Line { gap, ..Line::new(EventKind::Gap, &e.meta) });
    });
    router.on_liquidation(symbol, |state, e: &Liquidation| {
        state.push(Line::with(EventKind::Liquidation, &e.meta, Some(e.position), e.price, e.qty));
    });
}

/// The strategy `print` and its printing thread, which calls `on_start` and then writes to `out`.
///
/// # Errors
/// The kernel's, when no thread can be made.
pub fn print(
    out: impl Write + Send + 'static,
    on_start: impl FnOnce() + Send + 'static,
) -> std::io::Result<(Strategy<Print>, Printer)> {
    let (lines, from_hot) = RingBuffer::new(RING_SLOTS);
    let names = Names::new(Mutex::new(vec![None; SYMBOL_COUNT_MAX]));
    let is_ending = Arc::new(AtomicBool::new(false));
    let dropped = Arc::new(Counter::default());
    let (for_thread, ending) = (Arc::clone(&names), Arc::clone(&is_ending));
    let thread = std::thread::Builder::new().name("print".into()).spawn(move || {
        on_start();
        print_until(from_hot, &for_thread, &ending, out);
    })?;
    let state = Print { lines, names, dropped: Arc::clone(&dropped) };
    Ok((Strategy { state, on_symbol }, Printer { is_ending, thread: Some(thread), dropped }))
}

fn print_until(mut lines: Consumer<Line>, names: &Names, is_ending: &AtomicBool, mut out: impl Write) {
    loop {
        // Read before the ring is emptied: what was pushed before the end is still printed.
        let is_last = is_ending.load(Ordering::Acquire);
        while let Ok(line) = lines.pop() {
            // Written outside of the lock: a symbol may be added on the hot core while this waits for its reader.
            let spec = {
                let names = names.lock().unwrap_or_else(PoisonError::into_inner);
                names.get(line.meta.symbol.index()).and_then(Clone::clone)
            };
            if spec.is_none_or(|spec| write_line(&mut out, &spec, &line).is_err()) && is_last {
                return;
            }
        }
        let _ = out.flush();
        if is_last {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn write_line(out: &mut impl Write, spec: &SymbolSpec, line: &Line) -> std::io::Result<()> {
    let level =
        |level: Level| format!("{} x {}", level.price.at_scale(spec.price_scale), level.qty.at_scale(spec.qty_scale));
    write!(out, "{} {} {:?}", spec.venue, spec.name, line.kind)?;
    if let Some(side) = line.side {
        write!(out, " {side:?}")?;
    }
    if let Some((stream_kind, reason, missing)) = line.gap {
        let missing = missing.map_or_else(|| "unknown".to_owned(), |missing| missing.to_string());
        return writeln!(out, " {stream_kind} {}, missing {missing}", reason.name());
    }
    if let Some((kind, bids, asks)) = line.levels {
        write!(out, " {kind:?} {bids} bids {asks} asks")?;
    }
    match (line.value, line.second) {
        (Some(value), _) => write!(out, " {value}")?,
        (None, Some(ask)) => write!(out, " {} / {}", level(line.first), level(ask))?,
        (None, None) => write!(out, " {}", level(line.first))?,
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Received, Symbol, TradeId, Venue};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn trade() -> Trade {
        let symbol = Symbol::new(0).unwrap();
        Trade {
            meta: Meta { symbol, received: Received::default(), event_time: None, matching_time: None },
            id: TradeId::Number(1),
            price: Price::from_mantissa(6_183_763),
            qty: Qty::from_mantissa(2_000),
            taker: Side::Sell,
            sequence: None,
            is_block: false,
            is_rpi: false,
            is_refilled: false,
        }
    }

    fn started(out: Shared) -> (Print, Router<Print>, Printer) {
        let (Strategy { mut state, on_symbol }, printer) = print(out, || {}).unwrap();
        let mut router = Router::new();
        let spec = SymbolSpec {
            symbol: Symbol::new(0).unwrap(),
            venue: Venue::BinanceSpot,
            name: "BTCUSDT".into(),
            price_scale: 2,
            qty_scale: 5,
            instrument: None,
        };
        on_symbol(&mut state, &mut router, &spec);
        (state, router, printer)
    }

    #[test]
    fn every_event_before_the_end_is_a_line_at_the_symbols_scale() {
        let out = Shared::default();
        let (mut state, router, printer) = started(out.clone());
        for _ in 0..100 {
            router.trade(&mut state, &trade());
        }
        drop(printer);
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 100);
        assert_eq!(text.lines().next(), Some("binance-spot BTCUSDT Trade Sell 61837.63 x 0.02000"));
    }

    #[test]
    fn what_does_not_fit_the_ring_is_counted() {
        let out = Shared::default();
        let (mut state, router, printer) = started(out.clone());
        let held = out.0.lock().unwrap();
        for _ in 0..3 * RING_SLOTS {
            router.trade(&mut state, &trade());
        }
        let dropped = printer.dropped();
        assert!(dropped >= RING_SLOTS as u64, "{dropped}");
        drop(held);
        drop(printer);
        let printed = out.0.lock().unwrap().iter().filter(|&&byte| byte == b'\n').count() as u64;
        assert_eq!(printed + dropped, 3 * RING_SLOTS as u64);
    }
}
