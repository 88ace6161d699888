//! `decode/<venue>/<channel>/<tier>[/<instructions>]`: one message to typed events, in ns and bytes a second.
//!
//! Messages are generated here to the venues' documented shapes, 512 different ones a channel. Tier two is measured on the
//! same messages with one space in front, which tier one refuses at the first byte. Every message's result is checked
//! before anything is measured. `serde_json` into typed structs (`&str` fields, no number conversion) stands beside it
//! in the same run; it does less than the engine, which also looks up the symbol and reads the numbers.
//!
//! `decode/<venue>/<channel>-<known>-of-<elements>/..`: arrays of the whole market, 16 different ones a channel, of which the
//! core knows so many symbols. Beside tier one and tier two stands `tape`: a decoder that expects nothing.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use std::hint::black_box;
use tickwire::limits::READ_PADDING_BYTES;
use tickwire::market::{
    AggTrade, Backlog, BookUpdate, Kline, Liquidation, MarkPrice, MonoNs, Quote, Received, SymbolTable, Ticker, Trade,
    Venue,
};
use tickwire::venue::{Cpu, Decoded, Decoder, DecoderScratch, Form, HotSymbols, Payload, Reason, Sink, Tier};

const MESSAGE_COUNT: u64 = 512;
/// Different arrays of a channel.
const ARRAY_COUNT: u64 = 16;
/// Symbols of an array that the core knows.
const KNOWN_COUNT: usize = 20;
const RECEIVED: Received = Received { mono: MonoNs(1), wall_ns: 1, backlog: Backlog::NONE };

/// Counts events and sums what they say, so that nothing is optimised away.
#[derive(Default)]
struct Sum {
    events: u64,
    refused: u64,
    value: i64,
}

impl Sum {
    fn add(&mut self, value: i64) {
        self.events += 1;
        self.value = self.value.wrapping_add(value);
    }
}

impl Sink for Sum {
    fn trade(&mut self, event: &Trade) {
        self.add(event.price.mantissa() ^ event.qty.mantissa());
    }
    fn agg_trade(&mut self, event: &AggTrade) {
        self.add(event.price.mantissa() ^ event.qty.mantissa());
    }
    fn quote(&mut self, event: &Quote) {
        self.add(event.bid.price.mantissa() ^ event.ask.qty.mantissa());
    }
    fn ticker(&mut self, event: &Ticker) {
        self.add(event.last_price.mantissa());
    }
    fn book(&mut self, event: &BookUpdate<'_>) {
        self.add(event.bids.iter().chain(event.asks).map(|level| level.qty.mantissa()).sum());
    }
    fn kline(&mut self, event: &Kline) {
        self.add(i64::from(event.is_closed));
    }
    fn mark_price(&mut self, event: &MarkPrice) {
        self.add(i64::from(event.mark.scale()));
    }
    fn liquidation(&mut self, event: &Liquidation) {
        self.add(event.price.mantissa());
    }
    fn refused(&mut self, _reason: Reason) {
        self.refused += 1;
    }
    fn wants_sample(&self, _reason: Reason) -> bool {
        // A connection keeps one message for each reason, and no more.
        false
    }
}

/// The `n`-th number below `bound`, well mixed.
fn mixed(n: u64, salt: u64, bound: u64) -> u64 {
    (n ^ salt << 32)
        .wrapping_add(1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(29)
        .wrapping_mul(0xbf58_476d_1ce4_e5b9)
        % bound
}

fn price(n: u64, salt: u64) -> String {
    format!("{}.{:02}", 60_000 + mixed(n, salt, 9_000), mixed(n, salt + 1, 100))
}

fn qty(n: u64, salt: u64) -> String {
    format!("{}.{:03}", mixed(n, salt + 2, 4).pow(4), mixed(n, salt + 3, 1_000))
}

fn levels(n: u64, count: u64) -> String {
    let levels = (0..count).map(|at| format!("[\"{}\",\"{}\"]", price(n, 10 * at), qty(n, 10 * at)));
    format!("[{}]", levels.collect::<Vec<_>>().join(","))
}

fn binance_spot_trade(n: u64) -> String {
    format!(
        r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{time},"s":"BTCUSDT","t":{id},"p":"{price}000000","q":"{qty}00000","T":{time},"m":{maker},"M":true}}}}"#,
        time = 1_700_000_000_000 + n,
        id = 3_735_683_259 + n,
        price = price(n, 1),
        qty = qty(n, 1),
        maker = n.is_multiple_of(2)
    )
}

fn binance_spot_quote(n: u64) -> String {
    format!(
        r#"{{"stream":"btcusdt@bookTicker","data":{{"u":{},"s":"BTCUSDT","b":"{}000000","B":"{}00000","a":"{}000000","A":"{}00000"}}}}"#,
        50_093_239_212 + n,
        price(n, 1),
        qty(n, 2),
        price(n, 3),
        qty(n, 4)
    )
}

fn binance_usdm_trade(n: u64) -> String {
    let time = 1_700_000_000_000 + n;
    format!(
        r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{time},"T":{time},"s":"BTCUSDT","t":{},"p":"{}","q":"{}","X":"MARKET","m":{}}}}}"#,
        5_266_583_935 + n,
        price(n, 1),
        qty(n, 2),
        n.is_multiple_of(2)
    )
}

fn binance_usdm_quote(n: u64) -> String {
    let time = 1_700_000_000_000 + n;
    format!(
        r#"{{"stream":"btcusdt@bookTicker","data":{{"e":"bookTicker","u":{},"E":{time},"T":{time},"s":"BTCUSDT","b":"{}","B":"{}","a":"{}","A":"{}","st":1,"ps":"BTCUSDT"}}}}"#,
        5_123_107_839_020 + n,
        price(n, 1),
        qty(n, 2),
        price(n, 3),
        qty(n, 4)
    )
}

fn binance_usdm_depth(n: u64) -> String {
    let time = 1_700_000_000_000 + n;
    format!(
        r#"{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":{time},"T":{time},"s":"BTCUSDT","U":{n},"u":{n},"pu":{n},"b":{},"a":{}}}}}"#,
        levels(n, 25),
        levels(n + 1, 25)
    )
}

fn bybit_linear_trade(n: u64) -> String {
    let time = 1_700_000_000_000 + n;
    format!(
        r#"{{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":{time},"data":[{{"T":{time},"s":"BTCUSDT","S":"{}","v":"{}","p":"{}","L":"PlusTick","i":"{:08x}-d8dd-5b31-9112-a178eb6023af","BT":false,"RPI":false,"seq":{}}}]}}"#,
        if n.is_multiple_of(2) { "Buy" } else { "Sell" },
        qty(n, 2),
        price(n, 1),
        mixed(n, 5, 1 << 32),
        753_843_954_913 + n
    )
}

fn bybit_spot_trade(n: u64) -> String {
    let time = 1_700_000_000_000 + n;
    format!(
        r#"{{"topic":"publicTrade.BTCUSDT","ts":{time},"type":"snapshot","data":[{{"i":"{}","T":{time},"p":"{}","v":"{}","S":"{}","seq":{},"s":"BTCUSDT","BT":false,"RPI":false}}]}}"#,
        2_290_000_001_189_048_101 + n,
        price(n, 1),
        qty(n, 2),
        if n.is_multiple_of(2) { "Buy" } else { "Sell" },
        112_488_547_164 + n
    )
}

fn bybit_linear_quote(n: u64) -> String {
    let time = 1_700_000_000_000 + n;
    format!(
        r#"{{"topic":"orderbook.1.BTCUSDT","ts":{time},"type":"snapshot","data":{{"s":"BTCUSDT","b":{},"a":{},"u":{},"seq":{}}},"cts":{time}}}"#,
        levels(n, 1),
        levels(n + 1, 1),
        18_521_288 + n,
        7_961_638_724 + n
    )
}

fn bybit_linear_depth(n: u64) -> String {
    let time = 1_700_000_000_000 + n;
    format!(
        r#"{{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":{time},"data":{{"s":"BTCUSDT","b":{},"a":{},"u":{n},"seq":{n}}},"cts":{time}}}"#,
        levels(n, 3),
        levels(n + 1, 2)
    )
}

/// The symbol of an element.
fn name(at: usize) -> String {
    let short = ["AAVE", "1000PEPE", "OP", "LINK"][at % 4];
    format!("{short}{at}USDT")
}

fn binance_usdm_ticker(n: u64, name: &str) -> String {
    let (low, high) = (price(n, 1), price(n, 2));
    format!(
        r#"{{"e":"24hrTicker","E":1700000000000,"s":"{name}","p":"-{}","P":"-1.405","w":"{low}34","c":"{high}","Q":"{}","o":"{low}","h":"{high}","l":"{low}","v":"{}","q":"{high}18","O":1699913600000,"C":1700000000000,"F":{n},"L":{n},"n":{n},"st":1}}"#,
        qty(n, 3),
        qty(n, 4),
        qty(n, 5),
    )
}

fn binance_spot_mini_ticker(n: u64, name: &str) -> String {
    let (low, high) = (price(n, 1), price(n, 2));
    format!(
        r#"{{"e":"24hrMiniTicker","E":1700000000000,"s":"{name}","c":"{high}000000","o":"{low}000000","h":"{high}000000","l":"{low}000000","v":"{}00000","q":"{high}18000000"}}"#,
        qty(n, 5),
    )
}

fn binance_usdm_mark_price(n: u64, name: &str) -> String {
    let [mark, average, index, settlement] = [1, 2, 3, 4].map(|salt| price(n, salt));
    format!(
        r#"{{"e":"markPriceUpdate","E":1700000000000,"s":"{name}","p":"{mark}147532","ap":"{average}","i":"{index}659091","P":"{settlement}641265","r":"-0.00038167","T":1700006400000,"st":1}}"#
    )
}

/// One connection and its core's scratch.
struct Engine {
    decoder: Decoder,
    symbols: HotSymbols,
    scratch: DecoderScratch,
}

impl Engine {
    fn new(venue: Venue, cpu: Cpu) -> Self {
        Self::of(Decoder::with_cpu(venue, Form::Combined, None, cpu), venue, ["BTCUSDT".to_owned()])
    }

    fn of(decoder: Decoder, venue: Venue, names: impl IntoIterator<Item = String>) -> Self {
        let mut table = SymbolTable::default();
        let mut symbols = HotSymbols::new();
        for name in names {
            let symbol = table.add(venue, &name, 2, 3, None).expect("a few symbols fit");
            symbols.add(table.spec(symbol).expect("it was just added"));
        }
        Self { decoder, symbols, scratch: DecoderScratch::new() }
    }

    /// Decodes the message in front of its padding.
    fn decode(&mut self, padded: &mut [u8], sum: &mut Sum) -> Decoded {
        let length = padded.len() - READ_PADDING_BYTES;
        let message = Payload::new(padded, length).expect("it is padded");
        self.decoder
            .decode(message, &RECEIVED, &self.symbols, &mut self.scratch, sum)
            .expect("the message was generated to be decoded")
    }
}

/// Every message gives one event and no refusal, at the tier that is to be measured.
fn check(engine: &mut Engine, messages: &[Vec<u8>], tier: Tier) {
    let mut sum = Sum::default();
    for message in messages {
        let decoded = engine.decode(&mut message.clone(), &mut sum);
        assert_eq!(decoded, Decoded::Data(tier), "{}", String::from_utf8_lossy(message));
    }
    assert_eq!((sum.events, sum.refused), (MESSAGE_COUNT, 0));
}

/// A message as it lies in a read buffer: with readable bytes behind it.
fn padded(message: &[u8]) -> Vec<u8> {
    [message, &[0; READ_PADDING_BYTES]].concat()
}

fn measure(criterion: &mut Criterion, venue: Venue, channel: &str, generate: fn(u64) -> String) {
    let texts: Vec<String> = (0..MESSAGE_COUNT).map(generate).collect();
    let mut group = criterion.benchmark_group(format!("decode/{venue}/{channel}"));
    group.throughput(Throughput::Bytes(texts.iter().map(String::len).sum::<usize>() as u64 / MESSAGE_COUNT));
    let mut next = 0;
    let mut sum = Sum::default();
    // Tier one changes nothing, so the same bytes are decoded again and again.
    let mut messages: Vec<Vec<u8>> = texts.iter().map(|text| padded(text.as_bytes())).collect();
    for cpu in Cpu::ALL.into_iter().filter(|cpu| cpu.is_here()) {
        let mut engine = Engine::new(venue, cpu);
        check(&mut engine, &messages, Tier::One);
        group.bench_function(format!("one/{}", cpu.name()), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % messages.len();
                black_box(engine.decode(black_box(&mut messages[next]), &mut sum))
            });
        });
    }
    // Tier two may rewrite its message: each gets a copy, made outside the measured time.
    let spaced: Vec<Vec<u8>> = texts.iter().map(|text| padded(format!(" {text}").as_bytes())).collect();
    let mut engine = Engine::new(venue, Cpu::best());
    check(&mut engine, &spaced, Tier::TwoAfterOne);
    group.bench_function("two", |bencher| {
        bencher.iter_batched_ref(
            || {
                next = (next + 1) % spaced.len();
                spaced[next].clone()
            },
            |message| black_box(engine.decode(message, &mut sum)),
            BatchSize::LargeInput,
        );
    });
    black_box(sum.value);
    group.finish();
}

/// Arrays of so many elements, of which the core knows `KNOWN_COUNT`, evenly among the others.
fn measure_array(
    criterion: &mut Criterion,
    venue: Venue,
    channel: &str,
    count: usize,
    generate: fn(u64, &str) -> String,
) {
    let array = |n: u64| {
        let elements = (0..count).map(|at| generate(n * count as u64 + at as u64, &name(at)));
        format!(r#"{{"stream":"{channel}","data":[{}]}}"#, elements.collect::<Vec<_>>().join(","))
    };
    let texts: Vec<String> = (0..ARRAY_COUNT).map(array).collect();
    let known = || (0..count).step_by(count / KNOWN_COUNT).map(name);
    let mut group = criterion.benchmark_group(format!("decode/{venue}/{channel}-{KNOWN_COUNT}-of-{count}"));
    group.throughput(Throughput::Bytes(texts.iter().map(String::len).sum::<usize>() as u64 / ARRAY_COUNT));
    let mut next = 0;
    let mut sum = Sum::default();
    let mut messages: Vec<Vec<u8>> = texts.iter().map(|text| padded(text.as_bytes())).collect();
    let spaced: Vec<Vec<u8>> = texts.iter().map(|text| padded(format!(" {text}").as_bytes())).collect();
    let check = |engine: &mut Engine, messages: &[Vec<u8>], tier: Tier| {
        let mut sum = Sum::default();
        for message in messages {
            assert_eq!(engine.decode(&mut message.clone(), &mut sum), Decoded::Data(tier));
        }
        let known = ARRAY_COUNT * KNOWN_COUNT as u64;
        assert_eq!((sum.events, sum.refused), (known, ARRAY_COUNT * count as u64 - known));
        sum.value
    };
    let mut values = Vec::new();
    for cpu in Cpu::ALL.into_iter().filter(|cpu| cpu.is_here()) {
        let mut engine = Engine::of(Decoder::with_cpu(venue, Form::Combined, None, cpu), venue, known());
        values.push(check(&mut engine, &messages, Tier::One));
        group.bench_function(format!("one/{}", cpu.name()), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % messages.len();
                black_box(engine.decode(black_box(&mut messages[next]), &mut sum))
            });
        });
    }
    let any_order = Decoder::with_cpu(venue, Form::Combined, None, Cpu::best());
    let tape = Decoder::without_expectation(venue, Form::Combined, None);
    for (row, decoder, messages) in [("two", any_order, &spaced), ("tape", tape, &messages)] {
        let mut engine = Engine::of(decoder, venue, known());
        values.push(check(&mut engine, messages, Tier::TwoAfterOne));
        group.bench_function(row, |bencher| {
            bencher.iter_batched_ref(
                || {
                    next = (next + 1) % messages.len();
                    messages[next].clone()
                },
                |message| black_box(engine.decode(message, &mut sum)),
                BatchSize::LargeInput,
            );
        });
    }
    assert!(values.iter().all(|value| *value == values[0]), "all say the same");
    black_box(sum.value);
    group.finish();
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    data: SpotTrade<'a>,
}

#[derive(Deserialize)]
struct SpotTrade<'a> {
    #[serde(rename = "E")]
    event_time: u64,
    s: &'a str,
    t: u64,
    p: &'a str,
    q: &'a str,
    #[serde(rename = "T")]
    trade_time: u64,
    m: bool,
}

fn serde_json_trade(criterion: &mut Criterion) {
    let messages: Vec<Vec<u8>> = (0..MESSAGE_COUNT).map(|n| binance_spot_trade(n).into_bytes()).collect();
    let mut group = criterion.benchmark_group("decode/binance-spot/trade");
    group.throughput(Throughput::Bytes(messages.iter().map(Vec::len).sum::<usize>() as u64 / MESSAGE_COUNT));
    let mut next = 0;
    group.bench_function("serde_json", |bencher| {
        bencher.iter(|| {
            next = (next + 1) % messages.len();
            let trade = serde_json::from_slice::<Wrapped<'_>>(black_box(&messages[next])).expect("it is JSON").data;
            assert!(trade.s == "BTCUSDT" && !trade.p.is_empty() && !trade.q.is_empty());
            black_box((trade.event_time, trade.t, trade.trade_time, trade.m))
        });
    });
    group.finish();
}

fn benches(criterion: &mut Criterion) {
    measure(criterion, Venue::BinanceSpot, "trade", binance_spot_trade);
    serde_json_trade(criterion);
    measure(criterion, Venue::BinanceSpot, "bookTicker", binance_spot_quote);
    measure(criterion, Venue::BinanceUsdm, "trade", binance_usdm_trade);
    measure(criterion, Venue::BinanceUsdm, "bookTicker", binance_usdm_quote);
    measure(criterion, Venue::BinanceUsdm, "depth-50-levels", binance_usdm_depth);
    measure_array(criterion, Venue::BinanceSpot, "!miniTicker@arr", 1_000, binance_spot_mini_ticker);
    measure_array(criterion, Venue::BinanceUsdm, "!ticker@arr", 600, binance_usdm_ticker);
    measure_array(criterion, Venue::BinanceUsdm, "!markPrice@arr@1s", 700, binance_usdm_mark_price);
    measure(criterion, Venue::BybitSpot, "publicTrade", bybit_spot_trade);
    measure(criterion, Venue::BybitLinear, "publicTrade", bybit_linear_trade);
    measure(criterion, Venue::BybitLinear, "orderbook.1", bybit_linear_quote);
    measure(criterion, Venue::BybitLinear, "orderbook.50-delta-5-levels", bybit_linear_depth);
}

criterion_group!(decode, benches);
criterion_main!(decode);
