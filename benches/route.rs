//! `route/*`: from an event to a strategy's function, against an `Option` check and a boxed trait object in one run.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tickwire::hot::Router;
use tickwire::limits::SYMBOL_COUNT_MAX;
use tickwire::market::{Level, Meta, Quote, Received, Symbol};

#[derive(Default)]
struct Mine {
    quotes: u64,
}

/// A handler as a strategy writes it.
type OnQuote = fn(&mut Mine, &Quote);

fn on_quote(mine: &mut Mine, quote: &Quote) {
    mine.quotes += quote.update_id;
}

trait Handler {
    fn on_quote(&self, mine: &mut Mine, quote: &Quote);
}

struct Boxed;

impl Handler for Boxed {
    fn on_quote(&self, mine: &mut Mine, quote: &Quote) {
        on_quote(mine, quote);
    }
}

fn quotes(count: usize) -> Vec<Quote> {
    (0..count)
        .map(|at| Quote {
            meta: Meta {
                symbol: Symbol::new(at * 7_919 % count).expect("below the limit"),
                received: Received::default(),
                event_time: None,
                matching_time: None,
            },
            bid: Level::default(),
            ask: Level::default(),
            update_id: 1,
            sequence: None,
        })
        .collect()
}

fn route(c: &mut Criterion) {
    for count in [50, 1_000, 8_192] {
        let quotes = quotes(count);
        let mut router = Router::new();
        let mut optional: Vec<Option<OnQuote>> = vec![None; SYMBOL_COUNT_MAX];
        let mut boxed: Vec<Option<Box<dyn Handler>>> = (0..SYMBOL_COUNT_MAX).map(|_| None).collect();
        for quote in &quotes {
            let symbol = quote.meta.symbol;
            router.on_quote(symbol, on_quote);
            optional[symbol.index()] = Some(on_quote);
            boxed[symbol.index()] = Some(Box::new(Boxed));
        }
        let mut mine = Mine::default();
        quotes.iter().for_each(|quote| router.quote(&mut mine, quote));
        assert_eq!(mine.quotes, count as u64, "every event reached its handler");
        let mut group = c.benchmark_group("route");
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("table/{count}"), |b| {
            b.iter(|| quotes.iter().for_each(|quote| router.quote(&mut mine, black_box(quote))));
        });
        group.bench_function(format!("option/{count}"), |b| {
            b.iter(|| {
                for quote in &quotes {
                    if let Some(handler) = optional[black_box(quote).meta.symbol.index()] {
                        handler(&mut mine, quote);
                    }
                }
            });
        });
        group.bench_function(format!("dyn/{count}"), |b| {
            b.iter(|| {
                for quote in &quotes {
                    if let Some(handler) = &boxed[black_box(quote).meta.symbol.index()] {
                        handler.on_quote(&mut mine, quote);
                    }
                }
            });
        });
        let empty = Router::<Mine>::new();
        group.bench_function(format!("fallback/{count}"), |b| {
            b.iter(|| quotes.iter().for_each(|quote| empty.quote(&mut mine, black_box(quote))));
        });
        group.finish();
    }
}

criterion_group!(benches, route);
criterion_main!(benches);
