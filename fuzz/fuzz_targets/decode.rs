//! Any bytes, at every venue's decoder: no panic, and what the scanners take, in the expected order or in any, a parser's tape
//! says alike.
//!
//! The first byte chooses the venue. A space in front of a message keeps tier one from it and changes nothing else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use tickwire::market::{
    AggTrade, Backlog, BookUpdate, Kline, Liquidation, MarkPrice, MonoNs, Quote, Received, SymbolTable, Ticker, Trade, Venue,
};
use tickwire::venue::{Decoded, Decoder, DecoderScratch, Form, HotSymbols, Payload, Reason, Sink, Tier};

#[derive(Default)]
struct Texts(Vec<String>);

impl Sink for Texts {
    fn trade(&mut self, event: &Trade) {
        self.0.push(format!("{event:?}"));
    }
    fn agg_trade(&mut self, event: &AggTrade) {
        self.0.push(format!("{event:?}"));
    }
    fn quote(&mut self, event: &Quote) {
        self.0.push(format!("{event:?}"));
    }
    fn ticker(&mut self, event: &Ticker) {
        self.0.push(format!("{event:?}"));
    }
    fn book(&mut self, event: &BookUpdate<'_>) {
        self.0.push(format!("{event:?}"));
    }
    fn kline(&mut self, event: &Kline) {
        self.0.push(format!("{event:?}"));
    }
    fn mark_price(&mut self, event: &MarkPrice) {
        self.0.push(format!("{event:?}"));
    }
    fn liquidation(&mut self, event: &Liquidation) {
        self.0.push(format!("{event:?}"));
    }
    fn refused(&mut self, reason: Reason) {
        self.0.push(format!("{reason:?}"));
    }
}

thread_local! {
    static CORE: RefCell<(HotSymbols, DecoderScratch)> = RefCell::new((symbols(), DecoderScratch::new()));
}

fn symbols() -> HotSymbols {
    let mut table = SymbolTable::default();
    let mut symbols = HotSymbols::new();
    for venue in Venue::ALL {
        for name in ["BTCUSDT", "ETHUSDT"] {
            let symbol = table.add(venue, name, 2, 3, None).expect("a few symbols fit");
            symbols.add(table.spec(symbol).expect("it was just added"));
        }
    }
    symbols
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, message)) = data.split_first() else { return };
    let venue = Venue::ALL[usize::from(choice) % Venue::ALL.len()];
    let received = Received { mono: MonoNs(1), wall_ns: 1, backlog: Backlog::NONE };
    CORE.with_borrow_mut(|(symbols, scratch)| {
        let mut read = |mut bytes: Vec<u8>, mut decoder: Decoder| {
            let mut texts = Texts::default();
            let decoded = decoder.decode(Payload::of_vec(&mut bytes), &received, symbols, scratch, &mut texts);
            (decoded, texts.0)
        };
        let expecting = || Decoder::new(venue, Form::Combined, None);
        let expected = read(message.to_vec(), Decoder::without_expectation(venue, Form::Combined, None));
        assert_eq!(read([b" ", message].concat(), expecting()), expected);
        let (decoded, events) = read(message.to_vec(), expecting());
        assert_eq!(events, expected.1);
        if decoded == Ok(Decoded::Data(Tier::One)) {
            assert!(matches!(expected.0, Ok(Decoded::Data(_))));
        } else {
            assert_eq!(decoded, expected.0);
        }
    });
});
