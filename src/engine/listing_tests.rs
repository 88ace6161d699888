//! A venue's listing over a real loopback REST server that lists, refuses and holds its answers as told.

use super::super::books::Message;
use super::*;
use crate::control::{GovernorSettings, Permit};
use crate::hot::mono_now;
use crate::market::Symbol;
use crate::telemetry::ControlEvent;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::Semaphore;
use url::Url;

/// A venue whose list can change and whose answers can be held.
struct Server {
    names: Mutex<Vec<String>>,
    /// Answers still to be failures.
    failures: Mutex<usize>,
    asked: watch::Sender<usize>,
    /// One permit lets one answer out.
    gate: Semaphore,
}

impl Server {
    /// Lets answers out from now on.
    fn open(&self) {
        self.gate.add_permits(1_000);
    }

    fn list(&self, names: &[&str]) {
        *self.names.lock().unwrap() = names.iter().map(|&name| name.to_owned()).collect();
    }

    fn count(&self) -> usize {
        *self.asked.borrow()
    }

    /// Until it has been asked this often. The answer is not out yet, unless the gate is open.
    async fn asked(&self, count: usize) {
        self.asked.subscribe().wait_for(|&asked| asked >= count).await.unwrap();
    }

    async fn answer(&self) -> Response {
        // What is listed is what was listed when the question came.
        let rows: Vec<_> = self.names.lock().unwrap().iter().map(|name| row(name)).collect();
        self.asked.send_modify(|asked| *asked += 1);
        self.gate.acquire().await.unwrap().forget();
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return (StatusCode::SERVICE_UNAVAILABLE, "maintenance").into_response();
        }
        axum::Json(json!({ "symbols": rows })).into_response()
    }
}

/// `BTCUSDT`, `BTCUSDT 0.1` with that tick, or `BTCUSDT 0.1 BREAK` with that status, too.
fn row(words: &str) -> serde_json::Value {
    let mut words = words.split(' ');
    let name = words.next().unwrap_or_default();
    let (tick, status) = (words.next().unwrap_or("0.01"), words.next().unwrap_or("TRADING"));
    json!({
        "symbol": name, "status": status, "baseAsset": name.trim_end_matches("USDT"), "quoteAsset": "USDT",
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": tick}, {"filterType": "LOT_SIZE", "stepSize": "0.001"},
        ],
    })
}

struct Bench {
    server: Arc<Server>,
    handle: ListingHandle,
    core: mpsc::Receiver<Command>,
    symbols: Symbols,
    task: tokio::task::JoinHandle<()>,
    governor: Arc<SharedGovernor>,
    rest: GovernedRest,
    events: tokio::sync::broadcast::Receiver<Arc<ControlEvent>>,
    /// What the keeper of books is told.
    told_keeper: mpsc::UnboundedReceiver<Message>,
}

/// A listing that wants these names at the start, of a server that lists those.
async fn bench(wanted: &[&str], wants_all: bool, stated: Vec<InstrumentSpec>, listed: &[&str]) -> Bench {
    looking((wanted, wants_all, stated), listed, None, BookDesk::new()).await
}

/// The same, asking for the list again this often for these books.
async fn looking(
    (wanted, wants_all, stated): (&[&str], bool, Vec<InstrumentSpec>),
    listed: &[&str],
    relist: Option<Duration>,
    (books, told_keeper): (BookDesk, mpsc::UnboundedReceiver<Message>),
) -> Bench {
    let server = Arc::new(Server {
        names: Mutex::default(),
        failures: Mutex::default(),
        asked: watch::Sender::new(0),
        gate: Semaphore::new(0),
    });
    server.list(listed);
    let of_router = Arc::clone(&server);
    let handler = async move || of_router.answer().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = RestOptions::new(Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
    let protocol = protocol(Venue::BinanceSpot);
    let governor = SharedGovernor::new(GovernorSettings::default());
    let rest = GovernedRest::new(&options, protocol, Arc::clone(&governor), BudgetLimits::of(protocol)).unwrap();
    let (core_in, core) = mpsc::channel(1_000);
    let symbols = Symbols::default();
    let wanted = (wanted.iter().map(|&name| name.to_owned()).collect(), wants_all, stated);
    let bus = EventBus::new();
    let events = bus.subscribe();
    let ms = Duration::from_millis(1);
    let waits = LookWaits { every: relist, put_off: ms, retry: ms };
    let news = (waits, (books, bus));
    let (listing, handle) =
        VenueListing::of(Venue::BinanceSpot, wanted, rest.clone(), vec![core_in], Arc::clone(&symbols), news);
    let task = tokio::spawn(listing.run());
    Bench { server, handle, core, symbols, task, governor, rest, events, told_keeper }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn spec(name: &str, price_scale: u8) -> InstrumentSpec {
    let instrument = Instrument { base: "A".into(), quote: "B".into(), kind: InstrumentKind::Spot };
    InstrumentSpec {
        name: name.to_owned(),
        price_scale,
        qty_scale: 3,
        tick_size: None,
        lot_size: None,
        instrument,
        is_trading: true,
    }
}

/// The symbols a core was told so far, in order.
fn told(core: &mut mpsc::Receiver<Command>) -> Vec<String> {
    let mut told = Vec::new();
    while let Ok(command) = core.try_recv() {
        let Command::AddSymbol(spec) = command else { panic!("a listing tells symbols only") };
        told.push(spec.name.to_string());
    }
    told
}

impl Bench {
    async fn started(&self) -> Listing {
        self.handle.progress().wait_for(|listing| listing.is_known).await.unwrap().clone()
    }

    fn ensuring(&self, wanted: &[&str]) -> tokio::task::JoinHandle<Result<Listed, ListingEnded>> {
        let (handle, wanted) = (self.handle.clone(), names(wanted));
        tokio::spawn(async move { handle.ensure_with(wanted, Vec::new()).await })
    }
}

#[tokio::test]
async fn at_the_start_what_is_stated_is_not_asked_and_what_is_not_listed_is_named() {
    let stated = vec![spec("STATED", 5)];
    let mut bench = bench(&["STATED", "BTCUSDT", "NOSUCH"], false, stated, &["ETHUSDT", "BTCUSDT"]).await;
    bench.server.open();
    let listing = bench.started().await;
    assert_eq!(*listing.unlisted, BTreeSet::from(["NOSUCH".to_owned()]));
    assert_eq!(told(&mut bench.core), ["STATED", "BTCUSDT"]);
    let symbols = bench.symbols.lock().unwrap();
    let scales: Vec<_> = symbols.iter().map(|spec| (spec.price_scale, spec.qty_scale)).collect();
    assert_eq!((scales, bench.server.count()), (vec![(5, 3), (2, 3)], 1));
}

#[tokio::test]
async fn where_everything_is_stated_the_venue_is_not_asked() {
    let mut bench = bench(&["A", "B"], false, vec![spec("A", 1), spec("B", 2)], &[]).await;
    assert!(bench.started().await.unlisted.is_empty());
    assert_eq!((told(&mut bench.core), bench.server.count()), (names(&["A", "B"]), 0));
}

#[tokio::test]
async fn an_all_market_channel_brings_every_symbol() {
    let mut bench = bench(&[], true, Vec::new(), &["B", "A", "C"]).await;
    bench.server.open();
    bench.started().await;
    assert_eq!(told(&mut bench.core), ["B", "A", "C"]);
    bench.server.list(&["B", "A", "C", "NEW"]);
    assert_eq!(bench.handle.ensure_all().await, Ok(Listed::default()));
    assert_eq!(told(&mut bench.core), ["NEW"]);
}

#[tokio::test]
async fn many_callers_at_once_share_one_list_and_are_answered_after_the_cores_are_told() {
    let mut bench = bench(&[], false, Vec::new(), &["A", "B", "C"]).await;
    bench.started().await;
    let first = bench.ensuring(&["A"]);
    bench.server.asked(1).await;
    // The list is under way: what it holds serves those who come meanwhile too.
    let rest = [bench.ensuring(&["A", "B"]), bench.ensuring(&["C"]), bench.ensuring(&["B"])];
    while bench.handle.asks.capacity() < ASKS_MAX || rest.iter().any(|task| task.is_finished()) {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    bench.server.open();
    assert_eq!(first.await.unwrap(), Ok(Listed::default()));
    let mut known = told(&mut bench.core);
    for task in rest {
        assert_eq!(task.await.unwrap(), Ok(Listed::default()));
    }
    known.extend(told(&mut bench.core));
    known.sort_unstable();
    assert_eq!(known, ["A", "B", "C"], "each once");
    assert_eq!(bench.server.count(), 1);
    // What is known is not asked again.
    assert_eq!(bench.handle.ensure_with(names(&["C", "A"]), Vec::new()).await, Ok(Listed::default()));
    assert_eq!(bench.server.count(), 1);
}

#[tokio::test]
async fn a_list_begun_before_the_question_tells_nobody_not_listed() {
    let bench = bench(&[], false, Vec::new(), &["OLD"]).await;
    bench.started().await;
    let early = bench.ensuring(&["OLD", "NOSUCH"]);
    bench.server.asked(1).await;
    // Listed a moment after the list under way was drawn up.
    bench.server.list(&["OLD", "NEW"]);
    let late = bench.ensuring(&["NEW", "GONE"]);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    bench.server.open();
    let unlisted = |name: &str| Ok(Listed { unlisted: BTreeSet::from([name.to_owned()]), ..Listed::default() });
    assert_eq!(early.await.unwrap(), unlisted("NOSUCH"));
    assert_eq!(late.await.unwrap(), unlisted("GONE"));
    assert_eq!(bench.server.count(), 2);
    let seen = bench.handle.progress().borrow().unlisted.clone();
    assert_eq!(*seen, BTreeSet::from(["GONE".to_owned(), "NOSUCH".to_owned()]));
    // Listed at last: no longer named.
    bench.server.list(&["GONE"]);
    assert_eq!(bench.handle.ensure_with(names(&["GONE"]), Vec::new()).await, Ok(Listed::default()));
    assert_eq!(*bench.handle.progress().borrow().unlisted, BTreeSet::from(["NOSUCH".to_owned()]));
}

#[tokio::test]
async fn a_failing_list_is_tried_again_and_its_error_is_seen_until_it_succeeds() {
    let bench = bench(&[], false, Vec::new(), &["A"]).await;
    bench.started().await;
    *bench.server.failures.lock().unwrap() = 1;
    let asked = bench.ensuring(&["A"]);
    bench.server.gate.add_permits(1);
    let mut progress = bench.handle.progress();
    let error = progress.wait_for(|listing| listing.error.is_some()).await.unwrap().error.clone().unwrap();
    assert!(error.contains("HTTP status 503") && error.contains("maintenance"), "{error}");
    assert!(!asked.is_finished());
    bench.server.open();
    assert_eq!(asked.await.unwrap(), Ok(Listed::default()));
    assert_eq!((bench.server.count(), progress.borrow().error.is_none()), (2, true));
}

#[tokio::test]
async fn who_gives_up_leaves_no_list_behind() {
    let bench = bench(&[], false, Vec::new(), &["A"]).await;
    bench.started().await;
    let gone = bench.ensuring(&["A"]);
    bench.server.asked(1).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    // A question that needs no list makes it look at who still waits.
    assert_eq!(bench.handle.ensure_with(Vec::new(), Vec::new()).await, Ok(Listed::default()));
    bench.server.open();
    assert_eq!(bench.handle.ensure_with(names(&["A"]), Vec::new()).await, Ok(Listed::default()));
    assert_eq!(bench.server.count(), 2, "the first list was dropped");
}

#[tokio::test]
async fn a_core_added_later_learns_what_is_known_and_what_comes_each_once() {
    let mut bench = bench(&["A"], false, Vec::new(), &["A", "B"]).await;
    bench.server.open();
    bench.started().await;
    let (core_in, mut core) = mpsc::channel(10);
    for _ in 0..2 {
        bench.handle.add_core(core_in.clone()).await.unwrap();
    }
    assert_eq!(told(&mut core), ["A"]);
    bench.handle.ensure_with(names(&["B"]), Vec::new()).await.unwrap();
    assert_eq!((told(&mut core), told(&mut bench.core)), (names(&["B"]), names(&["A", "B"])));
    // A core that has ended holds nobody up.
    drop(core);
    bench.server.list(&["C"]);
    assert_eq!(bench.handle.ensure_with(names(&["C"]), Vec::new()).await, Ok(Listed::default()));
    assert_eq!(told(&mut bench.core), ["C"]);
}

#[tokio::test]
async fn what_is_stated_at_run_time_is_not_looked_up_and_what_the_table_does_not_take_is_named() {
    let mut bench = bench(&[], false, Vec::new(), &[]).await;
    bench.started().await;
    let stated = vec![spec("GOOD", 4), spec("BAD", 19)];
    let listed = bench.handle.ensure_with(names(&["GOOD", "BAD"]), stated).await.unwrap();
    assert_eq!(listed.refused.keys().collect::<Vec<_>>(), ["BAD"]);
    assert!(listed.refused["BAD"].contains("scale 19") && listed.unlisted.is_empty(), "{listed:?}");
    assert_eq!((told(&mut bench.core), bench.server.count()), (names(&["GOOD"]), 0));
}

#[tokio::test]
async fn it_ends_with_its_last_handle() {
    let Bench { handle, task, .. } = bench(&[], false, Vec::new(), &[]).await;
    let other = handle.clone();
    drop(handle);
    assert_eq!(other.ensure_with(Vec::new(), Vec::new()).await, Ok(Listed::default()));
    drop(other);
    task.await.unwrap();
}

/// The symbol that a table gives first.
fn first_symbol() -> Symbol {
    SymbolTable::default().add(Venue::BinanceSpot, "A", 2, 3, None).unwrap()
}

/// A listing with two symbols, A and B, at a venue that books are kept of, both known at a tick of 0.01.
async fn watched(relist: Option<Duration>) -> Bench {
    let books = BookDesk::keeping(Venue::BinanceSpot, &[first_symbol()]);
    let bench = looking((&["A", "B"], false, Vec::new()), &["A", "B"], relist, books).await;
    bench.server.open();
    bench.started().await;
    bench
}

impl Bench {
    async fn next_event(&mut self) -> Happening {
        self.events.recv().await.unwrap().what.clone()
    }

    async fn lists_read(&self, count: u64) -> ListReport {
        self.handle.progress().wait_for(|listing| listing.report.lists >= count).await.unwrap().report.clone()
    }

    /// Symbols whose tick the keeper of books was told to have changed.
    fn told_changed(&mut self) -> Vec<Symbol> {
        let mut changed = Vec::new();
        while let Ok(message) = self.told_keeper.try_recv() {
            let Message::TickChanged { symbol } = message else { panic!("a listing tells of ticks only") };
            changed.push(symbol);
        }
        changed
    }
}

#[tokio::test]
async fn a_tick_that_changes_is_found_at_the_interval_told_counted_and_its_book_is_worth_nothing() {
    let mut bench = watched(Some(Duration::from_millis(10))).await;
    bench.lists_read(3).await;
    assert!(bench.events.try_recv().is_err() && bench.told_changed().is_empty(), "nothing has changed");
    bench.server.list(&["A 0.1", "B"]);
    let Happening::TicksChanged { changes } = bench.next_event().await else { panic!("the tick") };
    assert_eq!(changes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["A tick 0.01 -> 0.1"]);
    let Some(Message::TickChanged { symbol }) = bench.told_keeper.recv().await else { panic!("its book") };
    assert_eq!(symbol, first_symbol());
    let read = bench.lists_read(0).await.lists;
    let report = bench.lists_read(read + 3).await;
    assert_eq!((report.ticks_changed, report.ticks_too_fine, report.lists_failed), (1, 0, 0), "told once");
    assert!(bench.told_changed().is_empty());
}

#[tokio::test]
async fn a_tick_that_is_too_fine_is_told_so_and_the_scales_stay() {
    let mut bench = watched(None).await;
    bench.server.list(&["A 0.001", "B"]);
    bench.handle.look().await.unwrap();
    assert!(matches!(bench.next_event().await, Happening::TicksChanged { .. }));
    assert_eq!(bench.next_event().await, Happening::TicksTooFine { symbols: names(&["A"]) });
    let report = bench.lists_read(2).await;
    assert_eq!((report.ticks_changed, report.ticks_too_fine), (1, 1));
    assert_eq!(bench.symbols.lock().unwrap().spec(first_symbol()).unwrap().price_scale, 2);
}

#[tokio::test]
async fn who_trades_no_more_or_is_gone_or_trades_again_is_told() {
    let mut bench = watched(None).await;
    let not_trading =
        |reason: &str, name: &str| Happening::NotTrading { reason: reason.into(), symbols: names(&[name]) };
    bench.server.list(&["A 0.01 BREAK"]);
    bench.handle.look().await.unwrap();
    assert_eq!(bench.next_event().await, not_trading("halted", "A"));
    assert_eq!(bench.next_event().await, not_trading("unlisted", "B"));
    assert_eq!(bench.lists_read(2).await.not_trading, 2);
    bench.server.list(&["A", "B"]);
    bench.handle.look().await.unwrap();
    assert_eq!(bench.next_event().await, Happening::TradingAgain { symbols: names(&["A", "B"]) });
    assert_eq!(bench.lists_read(3).await.not_trading, 0);
    assert!(bench.told_changed().is_empty(), "their books are what they are");
}

#[tokio::test]
async fn where_no_book_is_kept_nothing_is_asked_again() {
    let bench = bench(&["A"], false, Vec::new(), &["A"]).await;
    bench.server.open();
    bench.started().await;
    for _ in 0..3 {
        bench.handle.look().await.unwrap();
    }
    // Two lists, one for each who waited: a third would be a look's.
    bench.handle.ensure_with(names(&["NOSUCH"]), Vec::new()).await.unwrap();
    assert_eq!(bench.server.count(), 2);
}

#[tokio::test]
async fn a_look_stands_in_nobodys_way_and_comes_when_the_line_is_empty() {
    let mut bench = watched(None).await;
    let budget = bench.rest.budget();
    // Of our share there is room for a look, and more than the rest of it is asked for: somebody waits.
    let (share, _) = bench.governor.lock().rest_share(budget).unwrap();
    let governor = bench.governor.clone();
    let ask = |weight: u64| governor.lock().rest(budget, u32::try_from(weight).unwrap(), mono_now());
    assert_eq!(ask(share / 2 - 60), Permit::Now);
    let Permit::At { ticket, .. } = ask(share) else { panic!("no room for all of it") };
    bench.server.list(&["A 0.1", "B"]);
    bench.handle.look().await.unwrap();
    let mut progress = bench.handle.progress();
    progress.wait_for(|listing| listing.report.lists_put_off > 3).await.unwrap();
    assert_eq!(bench.server.count(), 1, "not asked meanwhile");
    bench.governor.lock().cancel(ticket, mono_now());
    assert!(matches!(bench.next_event().await, Happening::TicksChanged { .. }), "it comes by itself");
    assert_eq!(bench.told_changed(), [first_symbol()]);
    // Half of the share is used: a look would take from what others may need.
    assert_eq!(ask(share / 2 - 60), Permit::Now);
    bench.server.list(&["A 0.01", "B"]);
    let before = progress.borrow().report.lists_put_off;
    bench.handle.look().await.unwrap();
    progress.wait_for(|listing| listing.report.lists_put_off > before + 3).await.unwrap();
    assert!(bench.events.try_recv().is_err());
    // Whoever waits for a list has it at once, and what it says is heard.
    bench.server.list(&["A 0.01", "B", "C"]);
    assert_eq!(bench.handle.ensure_with(names(&["C"]), Vec::new()).await, Ok(Listed::default()));
    assert!(matches!(bench.next_event().await, Happening::TicksChanged { .. }));
    assert_eq!(bench.told_changed(), [first_symbol()]);
}

#[tokio::test]
async fn a_look_that_fails_is_counted_told_nobody_and_tried_again_later() {
    let mut bench = watched(Some(Duration::from_secs(3_600))).await;
    *bench.server.failures.lock().unwrap() = 2;
    bench.server.list(&["A 0.1", "B"]);
    bench.handle.look().await.unwrap();
    assert!(matches!(bench.next_event().await, Happening::TicksChanged { .. }));
    let listing = bench.handle.progress().borrow().clone();
    assert_eq!((listing.report.lists_failed, listing.report.lists, listing.error), (2, 2, None));
}

#[tokio::test]
async fn who_asks_while_a_look_is_under_way_is_told_what_it_says_and_nothing_that_it_cannot_know() {
    let books = BookDesk::keeping(Venue::BinanceSpot, &[first_symbol()]);
    let bench = looking((&["A"], false, Vec::new()), &["A", "B"], None, books).await;
    bench.server.gate.add_permits(1);
    bench.started().await;
    bench.handle.look().await.unwrap();
    bench.server.asked(2).await;
    bench.server.list(&["A", "B", "C"]);
    let asked = bench.ensuring(&["B", "C"]);
    while bench.handle.asks.capacity() < ASKS_MAX {
        tokio::task::yield_now().await;
    }
    bench.server.open();
    assert_eq!(asked.await.unwrap(), Ok(Listed::default()));
    assert_eq!(bench.server.count(), 3, "C came with a list of its own");
}

#[tokio::test]
async fn a_look_that_is_asked_for_while_one_is_under_way_is_not_forgotten() {
    let books = BookDesk::keeping(Venue::BinanceSpot, &[first_symbol()]);
    let mut bench = looking((&["A"], false, Vec::new()), &["A"], None, books).await;
    bench.server.gate.add_permits(1);
    bench.started().await;
    bench.handle.look().await.unwrap();
    bench.server.asked(2).await;
    // Changed a moment after the list under way was drawn up.
    bench.server.list(&["A 0.1"]);
    bench.handle.look().await.unwrap();
    while bench.handle.asks.capacity() < ASKS_MAX {
        tokio::task::yield_now().await;
    }
    bench.server.open();
    assert!(matches!(bench.next_event().await, Happening::TicksChanged { .. }));
    assert_eq!(bench.lists_read(3).await.lists, 3);
}
