//! What a strategy's file needs, in one line: `use tickwire::prelude::*;`.

pub use crate::book::{Book, BookEvent, Changes, Known};
pub use crate::config::{Config, ConnectionConfig};
pub use crate::engine::{Engine, EngineBuilder, RunningEngine};
pub use crate::hot::{Router, Strategy};
pub use crate::market::{
    AggTrade, BookKind, BookState, BookUpdate, Decimal, EventKind, Gap, GapReason, Instrument, InstrumentId, Kline,
    Level, Liquidation, MarkPrice, Meta, Price, Qty, Quote, Received, Side, StaleReason, Symbol, SymbolSpec, Ticker,
    TickerFields, Trade, TradeId, Venue, VenueTime,
};
