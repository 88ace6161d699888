//! Messages as a user of a JSON library writes their types: texts borrowed, prices and quantities parsed as `f64`.

use crate::messages::{Message, Truth};
use serde::Deserialize;
use std::hint::black_box;
use tickwire::market::Decimal;

/// What a message's type, as a user writes it, says.
pub(crate) trait Typed {
    /// Its symbol's name, as the message writes it; of several the first.
    fn symbol(&self) -> &str;
    /// Every name that has to be looked up.
    fn symbols(&self, mut each: impl FnMut(&str)) {
        each(self.symbol());
    }
    /// Its whole numbers, as a truth has them.
    fn number(&self) -> u64;
    /// Its other numbers, in the order of a truth.
    fn numbers(&self, each: impl FnMut(f64));
}

fn number(text: &str) -> f64 {
    text.parse().expect("a number")
}

/// Each of these, as a number.
fn all<'t>(texts: impl IntoIterator<Item = &'t str>, each: impl FnMut(f64)) {
    texts.into_iter().map(number).for_each(each);
}

type Pairs<'a> = Vec<[&'a str; 2]>;

/// What both venues put their data into.
#[derive(Deserialize)]
pub(crate) struct Combined<T> {
    pub(crate) data: T,
}

impl<T: Typed> Typed for Combined<T> {
    fn symbol(&self) -> &str {
        self.data.symbol()
    }
    fn symbols(&self, each: impl FnMut(&str)) {
        self.data.symbols(each);
    }
    fn number(&self) -> u64 {
        self.data.number()
    }
    fn numbers(&self, each: impl FnMut(f64)) {
        self.data.numbers(each);
    }
}

/// Several in one message: a name that comes again is not looked up again.
impl<T: Typed> Typed for Vec<T> {
    fn symbol(&self) -> &str {
        self[0].symbol()
    }
    fn symbols(&self, mut each: impl FnMut(&str)) {
        let mut before = None;
        for one in self {
            if before.replace(one.symbol()) != Some(one.symbol()) {
                each(one.symbol());
            }
        }
    }
    fn number(&self) -> u64 {
        self.iter().map(T::number).fold(0, u64::wrapping_add)
    }
    fn numbers(&self, mut each: impl FnMut(f64)) {
        self.iter().for_each(|one| one.numbers(&mut each));
    }
}

// ---------------------------------------------------------------------------------------------- Binance

#[derive(Deserialize)]
pub(crate) struct Trade<'a> {
    s: &'a str,
    p: &'a str,
    q: &'a str,
    #[serde(rename = "T")]
    time: u64,
    t: u64,
    m: bool,
}

impl Typed for Trade<'_> {
    fn symbol(&self) -> &str {
        self.s
    }
    fn number(&self) -> u64 {
        black_box((self.t, self.m));
        self.time
    }
    fn numbers(&self, each: impl FnMut(f64)) {
        all([self.p, self.q], each);
    }
}

#[derive(Deserialize)]
pub(crate) struct AggTrade<'a> {
    s: &'a str,
    a: u64,
    p: &'a str,
    q: &'a str,
    f: u64,
    l: u64,
    #[serde(rename = "T")]
    time: u64,
    m: bool,
}

impl Typed for AggTrade<'_> {
    fn symbol(&self) -> &str {
        self.s
    }
    fn number(&self) -> u64 {
        black_box(self.m);
        self.a.wrapping_add(self.f).wrapping_add(self.l).wrapping_add(self.time)
    }
    fn numbers(&self, each: impl FnMut(f64)) {
        all([self.p, self.q], each);
    }
}

#[derive(Deserialize)]
pub(crate) struct Quote<'a> {
    u: u64,
    s: &'a str,
    b: &'a str,
    #[serde(rename = "B")]
    bid_qty: &'a str,
    a: &'a str,
    #[serde(rename = "A")]
    ask_qty: &'a str,
}

impl Typed for Quote<'_> {
    fn symbol(&self) -> &str {
        self.s
    }
    fn number(&self) -> u64 {
        self.u
    }
    fn numbers(&self, each: impl FnMut(f64)) {
        all([self.b, self.bid_qty, self.a, self.ask_qty], each);
    }
}

/// Changes of a book, or its best levels; Bybit's, too.
#[derive(Deserialize)]
pub(crate) struct Book<'a> {
    s: &'a str,
    u: u64,
    #[serde(borrow)]
    b: Pairs<'a>,
    #[serde(borrow)]
    a: Pairs<'a>,
}

impl Typed for Book<'_> {
    fn symbol(&self) -> &str {
        self.s
    }
    fn number(&self) -> u64 {
        self.u
    }
    fn numbers(&self, each: impl FnMut(f64)) {
        all(self.b.iter().chain(&self.a).flatten().copied(), each);
    }
}

/// The best levels of a book of which only the stream says whose it is.
#[derive(Deserialize)]
pub(crate) struct PartialBook<'a> {
    stream: &'a str,
    #[serde(borrow)]
    data: PartialSides<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartialSides<'a> {
    last_update_id: u64,
    #[serde(borrow)]
    bids: Pairs<'a>,
    #[serde(borrow)]
    asks: Pairs<'a>,
}

impl Typed for PartialBook<'_> {
    fn symbol(&self) -> &str {
        self.stream.split_once('@').expect("a symbol and a channel").0
    }
    fn number(&self) -> u64 {
        self.data.last_update_id
    }
    fn numbers(&self, each: impl FnMut(f64)) {
        all(self.data.bids.iter().chain(&self.data.asks).flatten().copied(), each);
    }
}

#[derive(Deserialize)]
pub(crate) struct Kline<'a> {
    s: &'a str,
    #[serde(borrow)]
    k: Candle<'a>,
}

#[derive(Deserialize)]
struct Candle<'a> {
    t: u64,
    #[serde(rename = "T")]
    close_time: u64,
    i: &'a str,
    o: &'a str,
    c: &'a str,
    h: &'a str,
    l: &'a str,
    v: &'a str,
    n: u64,
    x: bool,
    q: &'a str,
    #[serde(rename = "V")]
    taker_buy_volume: &'a str,
}

impl Typed for Kline<'_> {
    fn symbol(&self) -> &str {
        self.s
    }
    fn number(&self) -> u64 {
        black_box(self.k.i);
        self.k.t.wrapping_add(self.k.close_time).wrapping_add(self.k.n).wrapping_add(self.k.x.into())
    }
    fn numbers(&self, each: impl FnMut(f64)) {
        let Candle { o, h, l, c, v, q, taker_buy_volume, .. } = self.k;
        all([o, h, l, c, v, q, taker_buy_volume], each);
    }
}

#[derive(Deserialize)]
pub(crate) struct MiniTicker<'a> {
    #[serde(rename = "E")]
    time: u64,
    s: &'a str,
    c: &'a str,
    o: &'a str,
    h: &'a str,
    l: &'a str,
    v: &'a str,
    q: &'a str,
}

impl Typed for MiniTicker<'_> {
    fn symbol(&self) -> &str {
        self.s
    }
    fn number(&self) -> u64 {
        self.time
    }
    fn numbers(&self, each: impl FnMut(f64)) {
        all([self.c, self.o, self.h, self.l, self.v, self.q], each);
    }
}

/// Spot's has a bid and an ask, USD-M's has none.
#[derive(Deserialize)]
pub(crate) struct DayTicker<'a> {
    #[serde(rename = "E")]
    time: u64,
    s: &'a str,
    #[serde(rename = "P")]
    percent: &'a str,
    w: &'a str,
    c: &'a str,
    #[serde(rename = "Q")]
    last_qty: &'a str,
    b: Option<&'a str>,
    #[serde(rename = "B")]
    bid_qty: Option<&'a str>,
    a: Option<&'a str>,
    #[serde(rename = "A")]
    ask_qty: Option<&'a str>,
    o: &'a str,
    h: &'a str,
    l: &'a str,
    v: &'a str,
    q: &'a str,
    n: u64,
}

impl Typed for DayTicker<'_> {
    fn symbol(&self) -> &str {
        self.s
    }
    fn number(&self) -> u64 {
        self.time
    }
    fn numbers(&self, mut each: impl FnMut(f64)) {
        all([self.c, self.last_qty], &mut each);
        all([self.b, self.bid_qty, self.a, self.ask_qty].into_iter().flatten(), &mut each);
        all([self.o, self.h, self.l, self.v, self.q], &mut each);
        each(number(self.percent) / 100.0);
        each(number(self.w));
        each(self.n as f64);
    }
}

#[derive(Deserialize)]
pub(crate) struct MarkPrice<'a> {
    s: &'a str,
    p: &'a str,
    i: &'a str,
    #[serde(rename = "P")]
    settlement: &'a str,
    r: &'a str,
    #[serde(rename = "T")]
    next_funding_time: u64,
}

impl Typed for MarkPrice<'_> {
    fn symbol(&self) -> &str {
        self.s
    }
    fn number(&self) -> u64 {
        self.next_funding_time
    }
    fn numbers(&self, each: impl FnMut(f64)) {
        all([self.p, self.i, self.settlement, self.r], each);
    }
}

#[derive(Deserialize)]
pub(crate) struct ForceOrder<'a> {
    #[serde(borrow)]
    o: Order<'a>,
}

#[derive(Deserialize)]
struct Order<'a> {
    s: &'a str,
    #[serde(rename = "S")]
    side: &'a str,
    q: &'a str,
    p: &'a str,
    ap: &'a str,
    #[serde(rename = "T")]
    time: u64,
}

impl Typed for ForceOrder<'_> {
    fn symbol(&self) -> &str {
        self.o.s
    }
    fn number(&self) -> u64 {
        black_box(self.o.side);
        self.o.time
    }
    fn numbers(&self, each: impl FnMut(f64)) {
        all([self.o.p, self.o.q, self.o.ap], each);
    }
}

// ---------------------------------------------------------------------------------------------- Bybit

#[derive(Deserialize)]
pub(crate) struct BybitTrade<'a> {
    #[serde(rename = "T")]
    time: u64,
    s: &'a str,
    #[serde(rename = "S")]
    side: &'a str,
    v: &'a str,
    p: &'a str,
    i: &'a str,
    seq: u64,
}

impl Typed for BybitTrade<'_> {
    fn symbol(&self) -> &str {
        self.s
    }
    fn number(&self) -> u64 {
        black_box((self.side, self.i, self.seq));
        self.time
    }
    fn numbers(&self, each: impl FnMut(f64)) {
        all([self.p, self.v], each);
    }
}

/// A book of one level a side.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct BestOf<'a> {
    #[serde(borrow)]
    book: Book<'a>,
}

impl Typed for BestOf<'_> {
    fn symbol(&self) -> &str {
        self.book.s
    }
    fn number(&self) -> u64 {
        self.book.u
    }
    fn numbers(&self, each: impl FnMut(f64)) {
        all([self.book.b[0], self.book.a[0]].into_iter().flatten(), each);
    }
}

/// Candles, of which only the topic says whose they are.
#[derive(Deserialize)]
pub(crate) struct BybitKlines<'a> {
    topic: &'a str,
    #[serde(borrow)]
    data: Vec<BybitCandle<'a>>,
}

#[derive(Deserialize)]
struct BybitCandle<'a> {
    start: u64,
    end: u64,
    interval: &'a str,
    open: &'a str,
    close: &'a str,
    high: &'a str,
    low: &'a str,
    volume: &'a str,
    turnover: &'a str,
    confirm: bool,
}

impl Typed for BybitKlines<'_> {
    fn symbol(&self) -> &str {
        self.topic.rsplit_once('.').expect("a channel and a symbol").1
    }
    fn number(&self) -> u64 {
        let number = |candle: &BybitCandle<'_>| {
            black_box(candle.interval);
            candle.start.wrapping_add(candle.end).wrapping_add(candle.confirm.into())
        };
        self.data.iter().map(number).fold(0, u64::wrapping_add)
    }
    fn numbers(&self, mut each: impl FnMut(f64)) {
        for candle in &self.data {
            let &BybitCandle { open, high, low, close, volume, turnover, .. } = candle;
            all([open, high, low, close, volume, turnover], &mut each);
        }
    }
}

/// A ticker, or what has changed of one; what was said before is the user's own to keep.
#[derive(Deserialize)]
pub(crate) struct BybitTicker<'a> {
    ts: u64,
    #[serde(borrow)]
    data: BybitTickerData<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BybitTickerData<'a> {
    symbol: &'a str,
    last_price: Option<&'a str>,
    bid1_price: Option<&'a str>,
    bid1_size: Option<&'a str>,
    ask1_price: Option<&'a str>,
    ask1_size: Option<&'a str>,
    #[serde(rename = "prevPrice24h")]
    open: Option<&'a str>,
    #[serde(rename = "highPrice24h")]
    high: Option<&'a str>,
    #[serde(rename = "lowPrice24h")]
    low: Option<&'a str>,
    #[serde(rename = "volume24h")]
    volume: Option<&'a str>,
    #[serde(rename = "turnover24h")]
    turnover: Option<&'a str>,
    #[serde(rename = "price24hPcnt")]
    change_ratio: Option<&'a str>,
    mark_price: Option<&'a str>,
    #[serde(alias = "usdIndexPrice")]
    index_price: Option<&'a str>,
    funding_rate: Option<&'a str>,
    next_funding_time: Option<&'a str>,
    open_interest: Option<&'a str>,
    open_interest_value: Option<&'a str>,
}

impl Typed for BybitTicker<'_> {
    fn symbol(&self) -> &str {
        self.data.symbol
    }
    fn number(&self) -> u64 {
        self.ts
    }
    fn numbers(&self, mut each: impl FnMut(f64)) {
        let data = &self.data;
        // No list of them: to make one would cost as much as some of its numbers.
        let mut told = |text: Option<&str>| {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                each(number(text));
            }
        };
        told(data.last_price);
        told(data.bid1_price);
        told(data.bid1_size);
        told(data.ask1_price);
        told(data.ask1_size);
        told(data.open);
        told(data.high);
        told(data.low);
        told(data.volume);
        told(data.turnover);
        told(data.change_ratio);
        told(data.mark_price);
        told(data.index_price);
        told(data.funding_rate);
        told(data.next_funding_time);
        told(data.open_interest);
        told(data.open_interest_value);
    }
}

/// One of a list, or alone under the topic that was before, with names written out.
#[derive(Deserialize)]
pub(crate) struct BybitLiquidation<'a> {
    #[serde(rename = "T", alias = "time")]
    time: u64,
    #[serde(rename = "s", alias = "symbol")]
    symbol: &'a str,
    #[serde(rename = "S", alias = "side")]
    side: &'a str,
    #[serde(rename = "v", alias = "qty")]
    qty: &'a str,
    #[serde(rename = "p", alias = "price")]
    price: &'a str,
}

impl Typed for BybitLiquidation<'_> {
    fn symbol(&self) -> &str {
        self.symbol
    }
    fn number(&self) -> u64 {
        black_box(self.side);
        self.time
    }
    fn numbers(&self, each: impl FnMut(f64)) {
        all([self.price, self.qty], each);
    }
}

// ---------------------------------------------------------------------------------------------- families

/// A type of message, for texts of any lifetime.
pub(crate) trait Family {
    type Message<'t>: Typed + Deserialize<'t>;
}

macro_rules! families {
    ($($family:ident: $message:ty;)*) => {$(
        pub(crate) struct $family;

        impl Family for $family {
            type Message<'t> = $message;
        }
    )*};
}

families! {
    Trades: Combined<Trade<'t>>;
    AggTrades: Combined<AggTrade<'t>>;
    Quotes: Combined<Quote<'t>>;
    Books: Combined<Book<'t>>;
    PartialBooks: PartialBook<'t>;
    Klines: Combined<Kline<'t>>;
    MiniTickers: Combined<MiniTicker<'t>>;
    DayTickers: Combined<DayTicker<'t>>;
    ManyDayTickers: Combined<Vec<DayTicker<'t>>>;
    MarkPrices: Combined<MarkPrice<'t>>;
    ManyMarkPrices: Combined<Vec<MarkPrice<'t>>>;
    ForceOrders: Combined<ForceOrder<'t>>;
    BybitTrades: Combined<Vec<BybitTrade<'t>>>;
    BybitQuotes: Combined<BestOf<'t>>;
    BybitCandles: BybitKlines<'t>;
    BybitTickers: BybitTicker<'t>;
    BybitLiquidations: Combined<Vec<BybitLiquidation<'t>>>;
    BybitOldLiquidations: Combined<BybitLiquidation<'t>>;
}

/// Does something with the family of a generated case.
macro_rules! with_family {
    ($case:expr, $family:ident => $then:expr) => {
        match $case {
            Case::BinanceSpotTrade => {
                type $family = crate::typed::Trades;
                $then
            }
            Case::BinanceSpotQuote => {
                type $family = crate::typed::Quotes;
                $then
            }
            Case::BybitLinearTrade => {
                type $family = crate::typed::BybitTrades;
                $then
            }
            Case::BinanceUsdmDepth50 | Case::BybitLinearDelta5 | Case::BybitLinearSnapshot100 => {
                type $family = crate::typed::Books;
                $then
            }
        }
    };
}

pub(crate) use with_family;

/// A JSON library, as its users call it.
pub(crate) trait Library {
    const NAME: &'static str;
    const VERSION: &'static str;

    fn read<'t, T: Deserialize<'t>>(&mut self, text: &'t mut [u8]) -> T;
}

/// One that leaves the text as it is, and so may be given what others hold, too.
pub(crate) trait Shared: Library {
    fn read_shared<'t, T: Deserialize<'t>>(text: &'t [u8]) -> T;
}

pub(crate) struct SerdeJson;

impl Library for SerdeJson {
    const NAME: &'static str = "serde_json";
    const VERSION: &'static str = "1.0";

    fn read<'t, T: Deserialize<'t>>(&mut self, text: &'t mut [u8]) -> T {
        Self::read_shared(text)
    }
}

impl Shared for SerdeJson {
    fn read_shared<'t, T: Deserialize<'t>>(text: &'t [u8]) -> T {
        serde_json::from_slice(text).expect("JSON")
    }
}

pub(crate) struct SonicRs;

impl Library for SonicRs {
    const NAME: &'static str = "sonic-rs";
    const VERSION: &'static str = "0.5";

    fn read<'t, T: Deserialize<'t>>(&mut self, text: &'t mut [u8]) -> T {
        Self::read_shared(text)
    }
}

impl Shared for SonicRs {
    fn read_shared<'t, T: Deserialize<'t>>(text: &'t [u8]) -> T {
        sonic_rs::from_slice(text).expect("JSON")
    }
}

/// With the buffers that it lets its users keep.
pub(crate) struct SimdJson(simd_json::Buffers);

impl SimdJson {
    pub(crate) fn new() -> Self {
        Self(simd_json::Buffers::new(16 << 10))
    }
}

impl Library for SimdJson {
    const NAME: &'static str = "simd-json";
    const VERSION: &'static str = "0.19";

    fn read<'t, T: Deserialize<'t>>(&mut self, text: &'t mut [u8]) -> T {
        simd_json::serde::from_slice_with_buffers(text, &mut self.0).expect("JSON")
    }
}

/// What a typed message adds to the sum of a pass.
pub(crate) fn used(message: &impl Typed) -> u64 {
    let mut sum = message.number() ^ message.symbol().len() as u64;
    message.numbers(|number| sum = sum.wrapping_add(number.to_bits()));
    sum
}

/// The nearest `f64`, by the standard library's reading of the text.
pub(crate) fn nearest(number: Decimal) -> f64 {
    number.to_string().parse().expect("a number")
}

/// A message's type must say exactly what the message itself says, but for the rounding of a float.
pub(crate) fn checked(typed: &impl Typed, message: &Message, names: &[String]) {
    let Message { text, truth, carried } = message;
    let text = String::from_utf8_lossy(text);
    let mut symbols = Vec::new();
    typed.symbols(|symbol| symbols.push(names.iter().position(|name| name == symbol).expect("a listed name")));
    let Truth { symbols: true_symbols, number, numbers } = truth;
    assert_eq!((&symbols, typed.number()), (true_symbols, *number), "{text}");
    let said = (0..).zip(numbers).filter(|(at, _)| !carried.contains(at)).map(|(_, number)| nearest(*number));
    let said: Vec<f64> = said.collect();
    let mut read = Vec::with_capacity(said.len());
    typed.numbers(|number| read.push(number));
    let is_near = |(said, read): (&f64, &f64)| (said - read).abs() <= said.abs() * 4.0 * f64::EPSILON;
    assert!(said.len() == read.len() && said.iter().zip(&read).all(is_near), "{said:?} {read:?} {text}");
}
