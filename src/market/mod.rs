//! The nouns both planes share: what is traded, where, and what a venue says about it.
//!
//! ```text
//! venue ── symbol ── instrument        who and what      (venue.rs, symbol.rs, instrument.rs)
//! price, qty, decimal                  how much          (fixed.rs)
//! time                                 when              (time.rs)
//! trade, quote, ticker, book, ...      what happened     (event.rs)
//! kind of stream                       on which stream   (stream_kind.rs)
//! hole in a stream                     what was missed   (gap.rs)
//! state of a book                      is it true        (book_state.rs)
//! touch                                memory that is there before it is needed
//! table                                memory on large pages
//! ```
//! Plain data. Does no I/O, reads no clock, and allocates only where a symbol is added.

mod book_state;
mod event;
mod fixed;
mod gap;
mod instrument;
mod stream_kind;
mod symbol;
pub(crate) mod table;
mod time;
pub(crate) mod touch;
mod venue;

pub use book_state::{BookState, StaleReason};
pub use event::{
    AggTrade, BookKind, BookUpdate, EventKind, Kline, KlineInterval, Level, Liquidation, MarkPrice, Meta, Quote,
    SequenceIds, Side, Ticker, TickerFields, Trade, TradeId, Uuid,
};
pub use fixed::{Decimal, Price, Qty, ValueError, parse_fixed};
pub use gap::{Gap, GapReason};
pub use instrument::{Instrument, InstrumentId, InstrumentKind, InstrumentTable};
pub use stream_kind::StreamKind;
pub(crate) use symbol::pack;
pub use symbol::{Symbol, SymbolIndex, SymbolSpec, SymbolTable, SymbolTableError};
pub use time::{Backlog, MonoNs, Received, VenueTime};
pub use venue::Venue;
