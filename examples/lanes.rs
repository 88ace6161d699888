//! Two strategies: one whose function must be fast runs on the hot core, one whose function may take its time runs on lanes.
//! Against the embedded exchange:
//!
//! ```text
//! cargo run --release -- sim > endpoints.json &
//! cargo run --release --example lanes -- configs/binance.toml --engine examples/lanes.toml --endpoints endpoints.json --duration 10
//! ```

use std::time::{Duration, Instant};
use tickwire::prelude::*;

/// On the hot core: quotes, and the widest spread among them.
#[derive(Default)]
struct Fast {
    quotes: u64,
    widest_ticks: i64,
}

fn on_quote(fast: &mut Fast, quote: &Quote) {
    fast.quotes += 1;
    fast.widest_ticks = fast.widest_ticks.max(quote.ask.price.mantissa() - quote.bid.price.mantissa());
}

fn on_symbol(_fast: &mut Fast, router: &mut Router<Fast>, spec: &SymbolSpec) {
    router.on_quote(spec.symbol, on_quote);
}

/// On lanes, a state for each: something that takes a fifth of a millisecond for every trade.
#[derive(Default)]
struct Slow {
    trades: u64,
}

fn on_trade(slow: &mut Slow, _trade: &Trade) {
    slow.trades += 1;
    let started = Instant::now();
    while started.elapsed() < Duration::from_micros(200) {
        std::hint::spin_loop();
    }
}

fn on_slow_symbol(_slow: &mut Slow, router: &mut Router<Slow>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, on_trade);
}

fn main() -> std::process::ExitCode {
    tickwire::cli::run_with_all(&["slow", "fast"], |builder| {
        builder
            .strategy("slow", || Strategy { state: Slow::default(), on_symbol: on_slow_symbol })
            .strategy("fast", || Strategy { state: Fast::default(), on_symbol })
    })
}
