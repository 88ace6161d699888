//! Which books are kept on the hot cores, from configuration and listing to the rings, and how anyone reads one.
//!
//! ```text
//! manager: streams of every connection ─► BookPlan.. wanted ─► BookDesk ─► AddBook, RemoveBook ─► core      keeper: Keep, Forget
//! Handle::book ─► ReadBook ─► core ─► BookRead ─► link ─► BookDesk ─► who asked
//! link: board changed, fetch begun, snapshot taken ─► keeper (keeper.rs): what is repaired next
//! ```
//! A book is made before its stream is subscribed, so that no message of it comes too early. State is behind one lock that is
//! never held while anything is waited for.

mod keeper;
mod report;

pub(super) use keeper::{Keeper, Message};
pub(super) use report::report_of;

use super::shared::{CoreLink, Shared};
use crate::book::{BookCopy, BookSettings, FetchError, Slot, Step, Ticket};
use crate::control::SnapshotDepth;
use crate::hot::{Command, LegBooks, mono_now};
use crate::market::{Symbol, Venue};
use crate::net::GovernedRest;
use crate::telemetry::BooksStatus;
use crate::venue::{VenueSequence, protocol};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};

/// How long a core has to copy a book.
const READ_WAIT: Duration = Duration::from_secs(2);

/// Books that are read at once at most, so that their copies do not fill the memory.
const READS_AT_ONCE: usize = 16;

/// A book as the connections ask for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Wanted {
    /// The connection that it is told of by.
    pub(super) connection: String,
    /// The stream that it is made of.
    pub(super) stream: Box<str>,
    /// Levels a side of that stream; 0 without a bound.
    pub(super) depth: u16,
    /// How many legs have a book of their own; 1 where all feed one.
    pub(super) legs: usize,
    /// Position of the core.
    pub(super) core: usize,
    pub(super) settings: BookSettings,
    pub(super) snapshots: Vec<SnapshotDepth>,
    pub(super) heaviness: u32,
}

impl Wanted {
    /// True where the core's book would be the same.
    fn is_same_book(&self, other: &Self) -> bool {
        let of = |wanted: &Self| (wanted.depth, wanted.legs, wanted.core, wanted.settings);
        self.stream == other.stream && of(self) == of(other)
    }
}

/// By venue and native name.
pub(super) type WantedBooks = BTreeMap<(&'static str, Box<str>), (Venue, Wanted)>;

/// A book that a core was told to keep.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) venue: Venue,
    pub(super) name: Arc<str>,
    pub(super) wanted: Wanted,
}

impl Made {
    /// A book of it, of which nothing has come.
    fn slot(&self, symbol: Symbol) -> Slot<VenueSequence> {
        Slot::new(symbol, self.wanted.depth, VenueSequence::of(self.venue), self.wanted.settings)
    }

    /// Tells its core to keep so many more of it.
    fn leg_books(&self, symbol: Symbol, count: usize) -> Command {
        Command::AddLegBooks(Box::new(LegBooks::new(symbol, count, || self.slot(symbol))))
    }
}

/// What a core says of a book.
#[derive(Debug)]
pub(super) enum BookNotice {
    /// Changes are kept from now on, or why not.
    FetchBegun { symbol: Symbol, begun: Result<Ticket, FetchError> },
    /// A snapshot was taken: by its ticket, and what became of it.
    SnapshotTaken { symbol: Symbol, ticket: Ticket, step: Option<Step> },
}

/// What is to be done so that what is made is what is wanted.
struct Differences {
    ended: Vec<(Symbol, Made)>,
    begun: Vec<(Symbol, Made)>,
    /// The book stays as it is; how it is looked after changes.
    changed: Vec<(Symbol, Made)>,
}

/// Who waits for a copy: how many levels a side were asked for.
type Reader = (usize, oneshot::Sender<Box<BookCopy>>);

#[derive(Debug, Default)]
struct Inner {
    wanted: WantedBooks,
    made: BTreeMap<usize, (Symbol, Made)>,
    reads: HashMap<Symbol, Vec<Reader>>,
    rests: HashMap<Venue, GovernedRest>,
    /// Symbols that have a book for a leg's successor.
    spares: HashSet<usize>,
}

/// See the module. A handle: clones mean the same desk.
#[derive(Clone, Debug)]
pub(super) struct BookDesk {
    inner: Arc<Mutex<Inner>>,
    keeper: mpsc::UnboundedSender<Message>,
    /// Some core's board has changed.
    changed: Arc<Notify>,
    /// Held by whoever makes what is wanted, until every core has been told.
    settling: Arc<tokio::sync::Mutex<()>>,
}

impl BookDesk {
    /// A desk, and what its keeper hears.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Message>) {
        let (keeper, heard) = mpsc::unbounded_channel();
        (Self { inner: Arc::default(), keeper, changed: Arc::default(), settling: Arc::default() }, heard)
    }

    /// One that has had books of these symbols made, on the first core.
    #[cfg(test)]
    pub(super) fn keeping(venue: Venue, symbols: &[Symbol]) -> (Self, mpsc::UnboundedReceiver<Message>) {
        let (desk, heard) = Self::new();
        let wanted = Wanted {
            connection: "a".into(),
            stream: "stream".into(),
            depth: 0,
            legs: 1,
            core: 0,
            settings: BookSettings::for_depth(0),
            snapshots: Vec::new(),
            heaviness: 1,
        };
        for symbol in symbols {
            let name = format!("S{:05}", symbol.index()).into();
            desk.lock().made.insert(symbol.index(), (*symbol, Made { venue, name, wanted: wanted.clone() }));
        }
        (desk, heard)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True where this stream is what a symbol's book is made of, with all its levels, and that core says that the book is live:
    /// whoever takes the lead of its changes can begin with the whole book.
    pub(super) fn is_whole(&self, symbol: Symbol, stream: &str, core: &CoreLink) -> bool {
        let is_made_of_it = self.lock().made.get(&symbol.index()).is_some_and(|(_, made)| {
            let Wanted { stream: of, depth, settings, .. } = &made.wanted;
            &**of == stream && *depth > 0 && settings.depth_kept >= usize::from(*depth)
        });
        is_made_of_it && core.stats.board.get(symbol).is_some_and(|row| row.state.is_live())
    }

    /// Readable after a board has changed.
    fn changed(&self) -> &Notify {
        &self.changed
    }

    /// A board has changed.
    pub(super) fn board_changed(&self) {
        self.changed.notify_one();
    }

    /// A core says something of a book. Once the keeper has ended, the engine is stopping.
    pub(super) fn notice(&self, notice: BookNotice) {
        let _ = self.keeper.send(Message::Notice(notice));
    }

    /// A core has copied a book: for whoever asked first for as many levels.
    pub(super) fn was_read(&self, copy: Box<BookCopy>) {
        let mut inner = self.lock();
        let Some(readers) = inner.reads.get_mut(&copy.symbol) else { return };
        if let Some(at) = readers.iter().position(|(depth, _)| *depth == copy.depth) {
            // One who has given up needs none.
            let _ = readers.remove(at).1.send(copy);
        }
    }

    /// Where this venue's snapshots come from.
    pub(super) fn set_rest(&self, venue: Venue, rest: GovernedRest) {
        self.lock().rests.insert(venue, rest);
    }

    fn rest(&self, venue: Venue) -> Option<GovernedRest> {
        self.lock().rests.get(&venue).cloned()
    }

    /// These books are wanted from now on, and no others. Done by [`settle`](Self::settle).
    pub(super) fn want(&self, wanted: WantedBooks) {
        self.lock().wanted = wanted;
    }

    /// A book that a core was told to keep.
    pub(super) fn made(&self, symbol: Symbol) -> Option<Made> {
        self.lock().made.get(&symbol.index()).map(|(_, made)| made.clone())
    }

    /// Every book that a core was told to keep, by venue and name.
    pub(super) fn all(&self) -> Vec<(Symbol, Made)> {
        let mut all: Vec<_> = self.lock().made.values().cloned().collect();
        all.sort_by(|a, b| (a.1.venue.name(), &a.1.name).cmp(&(b.1.venue.name(), &b.1.name)));
        all
    }

    /// True where a book of this venue is kept.
    pub(super) fn keeps_any_of(&self, venue: Venue) -> bool {
        self.lock().made.values().any(|(_, made)| made.venue == venue)
    }

    /// The venue has changed this symbol's tick or lot: its book, if one is kept, is worth nothing.
    pub(super) fn tick_changed(&self, symbol: Symbol) {
        let _ = self.keeper.send(Message::TickChanged { symbol });
    }

    /// Makes what is wanted of the symbols known by now, and ends what is not. The books are on their way to their cores once
    /// this returns: what is subscribed after that finds them. That holds for everybody: whoever comes while another is at it
    /// waits until that one has told the cores.
    pub(super) async fn settle(&self, shared: &Shared, cores: &[CoreLink]) {
        let _settling = self.settling.lock().await;
        let Differences { ended, begun, changed } = self.take_differences(shared);
        for (symbol, made) in changed {
            let _ = self.keeper.send(Message::Change { symbol, made: Box::new(made) });
        }
        for (symbol, made) in ended {
            let _ = self.keeper.send(Message::Forget { symbol });
            // A core that has ended keeps no books.
            let _ = cores[made.wanted.core].commands.send(Command::RemoveBook { symbol }).await;
        }
        let mut kept = Vec::new();
        for (symbol, made) in begun {
            let Wanted { legs, core, .. } = made.wanted;
            let at = mono_now();
            // Its memory is brought in here: not on the hot thread.
            let slot = Box::new(made.slot(symbol));
            let _ = cores[core].commands.send(Command::AddBook(slot)).await;
            if legs > 1 {
                let _ = cores[core].commands.send(made.leg_books(symbol, legs - 1)).await;
            }
            kept.push(Message::Keep { symbol, made: Box::new(made), at });
            tokio::task::yield_now().await;
        }
        // All at once: what is heard together is planned, and told, together.
        for message in kept {
            let _ = self.keeper.send(message);
        }
    }

    /// A socket of a connection that carries these streams is to have a successor: each book of them that begins with snapshots
    /// on its own connection gets one more of its symbol, the first time. It stays for the next rotation. They are on their way
    /// to their cores once this returns.
    pub(super) async fn make_spares(&self, venue: Venue, streams: &[Box<str>], cores: &[CoreLink]) {
        let _settling = self.settling.lock().await;
        let protocol = protocol(venue);
        let without: Vec<(Symbol, Made)> = {
            let mut inner = self.lock();
            let Inner { made, spares, .. } = &mut *inner;
            let is_snapshot_book =
                |stream: &str| protocol.channel_of(stream).is_some_and(|(channel, _)| channel.is_snapshot_book());
            let wanted: HashSet<&str> =
                streams.iter().map(|stream| &**stream).filter(|s| is_snapshot_book(s)).collect();
            let books = made.values().filter(|(_, made)| made.venue == venue && wanted.contains(&*made.wanted.stream));
            books.filter(|(symbol, _)| spares.insert(symbol.index())).cloned().collect()
        };
        for (symbol, made) in without {
            let _ = cores[made.wanted.core].commands.send(made.leg_books(symbol, 1)).await;
            tokio::task::yield_now().await;
        }
    }

    /// What is made and not wanted, and what is wanted and not made: from now on it counts as done.
    fn take_differences(&self, shared: &Shared) -> Differences {
        let symbols = shared.symbols.lock().unwrap_or_else(PoisonError::into_inner);
        let mut inner = self.lock();
        let Inner { wanted, made, spares, .. } = &mut *inner;
        let is_wanted = |made: &Made| wanted.contains_key(&(made.venue.name(), Box::from(&*made.name)));
        let gone: Vec<usize> = made.iter().filter(|(_, (_, made))| !is_wanted(made)).map(|(&at, _)| at).collect();
        let ended = gone.iter().filter_map(|at| made.remove(at)).collect();
        spares.retain(|at| !gone.contains(at));
        let (mut begun, mut changed) = (Vec::new(), Vec::new());
        for ((_, name), (venue, wanted)) in wanted.iter() {
            let Some(symbol) = symbols.find(*venue, name) else { continue };
            let known = made.get(&symbol.index()).map(|(_, made)| &made.wanted);
            if known.is_some_and(|known| known == wanted) {
                continue;
            }
            let is_kept = known.is_some_and(|known| known.is_same_book(wanted));
            let one = Made { venue: *venue, name: Arc::from(&**name), wanted: wanted.clone() };
            made.insert(symbol.index(), (symbol, one.clone()));
            if is_kept {
                changed.push((symbol, one));
            } else {
                spares.remove(&symbol.index());
                begun.push((symbol, one));
            }
        }
        Differences { ended, begun, changed }
    }

    /// A copy of one book, with this many levels a side. `None`: its core does not answer.
    pub(super) async fn read(&self, symbol: Symbol, depth: usize, core: &CoreLink) -> Option<Box<BookCopy>> {
        let (reply, answer) = oneshot::channel();
        let copy = Box::new(BookCopy::new(symbol, depth));
        self.lock().reads.entry(symbol).or_default().push((depth, reply));
        let read = async {
            core.commands.send(Command::ReadBook(copy)).await.ok()?;
            answer.await.ok()
        };
        let copy = tokio::time::timeout(READ_WAIT, read).await.ok().flatten();
        if copy.is_none() {
            let mut inner = self.lock();
            inner.reads.entry(symbol).or_default().retain(|(_, reader)| !reader.is_closed());
        }
        copy
    }

    /// Gives a copy of every book, with this many levels a side, by venue and name, and how many are still to come, until it is
    /// told to stop. No more copies than are read at once are there at a time.
    pub(super) async fn read_each(
        &self,
        depth: usize,
        cores: &[CoreLink],
        mut give: impl FnMut(Symbol, Option<Box<BookCopy>>, usize) -> ControlFlow<()>,
    ) {
        let all = self.all();
        let mut left = all.len();
        for books in all.chunks(READS_AT_ONCE) {
            let reads = books.iter().map(|(symbol, made)| self.read(*symbol, depth, &cores[made.wanted.core]));
            let read = futures_util::future::join_all(reads).await;
            for ((symbol, _), copy) in books.iter().zip(read) {
                left -= 1;
                if give(*symbol, copy, left).is_break() {
                    return;
                }
            }
        }
    }

    /// The books as the keeper looks after them; none once it has ended. It may wait for a core that hangs: whoever asks does not
    /// hang with it.
    pub(super) async fn status(&self) -> BooksStatus {
        self.status_within(READ_WAIT).await
    }

    async fn status_within(&self, wait: Duration) -> BooksStatus {
        let (reply, answer) = oneshot::channel();
        let _ = self.keeper.send(Message::Status(reply));
        match tokio::time::timeout(wait, answer).await {
            Ok(answer) => answer.unwrap_or_default(),
            Err(_) => BooksStatus { is_unanswered: true, ..BooksStatus::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::shared::Whole;
    use super::super::slots::SlotTable;
    use super::*;
    use crate::hot::{CoreStats, Halted};
    use crate::net::SharedGovernor;
    use crate::telemetry::EventBus;
    use futures_util::FutureExt;
    use std::pin::pin;

    #[tokio::test]
    async fn a_keeper_that_does_not_answer_leaves_nobody_waiting_and_one_that_has_ended_has_no_books() {
        let (desk, heard) = BookDesk::new();
        assert!(desk.status_within(Duration::ZERO).await.is_unanswered);
        drop(heard);
        assert_eq!(desk.status().await, BooksStatus::default());
    }

    /// A core that takes so many commands before any is done, and what it takes.
    fn core(queue: usize) -> (CoreLink, mpsc::Receiver<Command>) {
        let stats = Arc::new(CoreStats::new(0));
        let (commands, taken) = mpsc::channel(queue);
        (CoreLink { cpu: 0, commands, slots: SlotTable::new(), pulses: Arc::clone(&stats.pulses), stats }, taken)
    }

    #[tokio::test]
    async fn books_are_read_a_few_at_a_time_in_order_and_no_further_than_somebody_wants_them() {
        let mut table = crate::market::SymbolTable::default();
        let symbols: Vec<Symbol> =
            (0..50).map(|at| table.add(Venue::BinanceSpot, &format!("S{at:05}"), 2, 5, None).unwrap()).collect();
        let (books, _heard) = BookDesk::keeping(Venue::BinanceSpot, &symbols);
        let (link, mut taken) = core(1_000);
        let desk = books.clone();
        let copying = tokio::spawn(async move {
            let (mut most, mut all) = (0, 0);
            while let Some(command) = taken.recv().await {
                // Everything that is asked for before anything is answered.
                let mut copies = vec![command];
                tokio::task::yield_now().await;
                copies.extend(std::iter::from_fn(|| taken.try_recv().ok()));
                (most, all) = (most.max(copies.len()), all + copies.len());
                for copy in copies {
                    let Command::ReadBook(copy) = copy else { panic!("nothing but reads") };
                    desk.was_read(copy);
                }
            }
            (most, all)
        });
        let cores = [link];
        let mut given = Vec::new();
        books
            .read_each(5, &cores, |symbol, copy, left| {
                assert_eq!(copy.map(|copy| (copy.symbol, copy.depth)), Some((symbol, 5)));
                given.push((symbol, left));
                ControlFlow::Continue(())
            })
            .await;
        let expected: Vec<(Symbol, usize)> = symbols.iter().copied().zip((0..50).rev()).collect();
        assert_eq!(given, expected);
        let mut count = 0;
        books
            .read_each(5, &cores, |_, _, _| {
                count += 1;
                if count == 20 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .await;
        drop(cores);
        assert_eq!((count, copying.await.unwrap()), (20, (READS_AT_ONCE, 50 + 2 * READS_AT_ONCE)));
    }

    #[tokio::test]
    async fn whoever_settles_while_another_does_waits_until_the_cores_were_told() {
        let (books, _heard) = BookDesk::new();
        let (moves, _moves) = mpsc::unbounded_channel();
        let events = EventBus::new();
        let shared = Shared {
            governor: SharedGovernor::new(crate::control::GovernorSettings::default()),
            whole: Whole::new(Halted::new(), READ_WAIT, events.clone()),
            events,
            symbols: Arc::default(),
            books: books.clone(),
            moves,
            requests_per_second: 1,
            kernel_stamps: false,
            lanes: Vec::new(),
            beats: super::super::watchdog::Beats::default(),
        };
        shared.symbols.lock().unwrap().add(Venue::BinanceSpot, "BTCUSDT", 2, 5, None).unwrap();
        let (link, mut taken) = core(1);
        link.commands.try_send(Command::Stop).unwrap();
        let cores = [link];
        let wanted = Wanted {
            connection: "a".into(),
            stream: "btcusdt@depth20".into(),
            depth: 20,
            legs: 1,
            core: 0,
            settings: BookSettings::for_depth(20),
            snapshots: Vec::new(),
            heaviness: 1,
        };
        books.want([((Venue::BinanceSpot.name(), "BTCUSDT".into()), (Venue::BinanceSpot, wanted))].into());
        let (mut first, mut second) = (pin!(books.settle(&shared, &cores)), pin!(books.settle(&shared, &cores)));
        assert!((&mut first).now_or_never().is_none(), "its core has no room");
        assert!((&mut second).now_or_never().is_none(), "the book is on its way to no core yet");
        assert!(matches!(taken.recv().await, Some(Command::Stop)));
        first.await;
        second.await;
        assert!(matches!(taken.try_recv(), Ok(Command::AddBook(_))));
        assert!(taken.try_recv().is_err(), "one book is made once");
    }
}
