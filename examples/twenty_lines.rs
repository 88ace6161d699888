//! A strategy of one's own: how many quotes came, and the widest spread among them. Run it against the embedded exchange:
//!
//! ```text
//! cargo run --release -- sim > endpoints.json &
//! cargo run --release --example twenty_lines -- configs/binance.toml --endpoints endpoints.json --duration 10
//! ```

use tickwire::prelude::*;

#[derive(Default)]
struct Mine {
    quotes: u64,
    widest_ticks: i64,
}

fn on_quote(mine: &mut Mine, quote: &Quote) {
    mine.quotes += 1;
    mine.widest_ticks = mine.widest_ticks.max(quote.ask.price.mantissa() - quote.bid.price.mantissa());
}

fn on_symbol(_mine: &mut Mine, router: &mut Router<Mine>, spec: &SymbolSpec) {
    router.on_quote(spec.symbol, on_quote);
}

fn main() -> std::process::ExitCode {
    tickwire::cli::run_with("mine", || Strategy { state: Mine::default(), on_symbol })
}
