//! Every number the engine is sized by, with its unit, its reason, and the relations it must keep.
//!
//! What an operator may change lives in `config`; what is fixed when the engine is compiled lives here.

/// Symbols per process. Ids are dense and never reused, so this bounds listings over a process's whole life.
/// Binance and Bybit list about 6,000 spot and futures instruments together.
pub const SYMBOL_COUNT_MAX: usize = 16_384;

/// Instruments per process: at most one per symbol.
pub const INSTRUMENT_COUNT_MAX: usize = SYMBOL_COUNT_MAX;

/// Longest native symbol name in bytes, UTF-8. The longest listed today are near 30.
pub const SYMBOL_NAME_BYTES_MAX: usize = 128;

/// Decimal digits after the point that a grid scale may have. 10^18 is the largest power of ten in an `i64`.
pub const SCALE_MAX: u8 = 18;

/// Connections one hot core may own. A visit to an idle socket costs a quarter of a microsecond, so a core with
/// more sockets than this would be late on each of them.
pub const CONNECTION_COUNT_MAX: usize = 256;

/// Bytes of one connection's read buffer. Eight times the longest depth message seen on the wire (19 KiB), and twice
/// what one `recv` takes, so that a partial frame never blocks the next read. Longer messages go to the spill.
pub const READ_BUFFER_BYTES: usize = 128 * 1024;

/// Readable bytes kept behind the filled part of a buffer, so that a wide load at the last byte stays inside, and the decoder
/// asks once for each member of an object, not for each load, whether the bytes are there.
pub const READ_PADDING_BYTES: usize = 64;

/// Most bytes taken from one socket in one visit, so that one burst cannot starve the others.
pub const VISIT_BYTES_MAX: usize = 64 * 1024;

/// Plaintext bytes of one TLS record (RFC 8446 section 5.1) and its overhead (section 5.2: 256, plus the header).
pub const TLS_RECORD_BYTES_MAX: usize = 16 * 1024 + 256 + 5;

/// Default of `limits.max_message_bytes`: one message, fragments joined.
pub const MESSAGE_BYTES_DEFAULT: usize = 4 * 1024 * 1024;

/// Fragments one message may have (RFC 6455 sets no limit; a peer that sends empty ones for ever must be stopped).
pub const FRAGMENT_COUNT_MAX: u32 = 131_072;

/// Bytes a connection may have waiting to be written: subscriptions of a whole reconnect fit, a peer that never reads
/// is dropped instead of growing it.
pub const WRITE_BUFFER_BYTES: usize = 256 * 1024;

/// Bytes of one request's frame where the venue states no limit: no request of 200 streams comes near, and a quarter of
/// what may wait to be written.
pub const REQUEST_BYTES_DEFAULT: usize = 64 * 1024;

/// Levels of one book update, both sides together. Binance's longest depth event recorded has about 700.
pub const LEVEL_COUNT_MAX: usize = 10_000;

/// Threads of one `[[lane]]`. A lane's number is a byte, and more threads than this want another design.
pub const LANE_THREADS_MAX: usize = 64;

/// Default of a lane's `slots`: events that it holds at most. At 20,000 events a second, 50 ms of a stalled handler.
pub const LANE_SLOTS_DEFAULT: usize = 1_024;

/// Most slots of a lane: four streams of every symbol there can be.
pub const LANE_SLOTS_MAX: usize = 65_536;

/// Default of a lane's `levels`: levels of a book, both sides together, that a slot has room for (8 KiB). Snapshots of 200
/// levels a side fit; most changes have below 100.
pub const LANE_LEVELS_DEFAULT: usize = 512;

/// Most memory of one lane for the levels of books, all slots together.
pub const LANE_BYTES_MAX: usize = 1 << 30;

/// Levels a side that one book keeps at most, and where a channel has no bound and the operator none of his own. The deepest
/// snapshot offered has 5,000 a side (Binance spot; Bybit's full book 10,000), and levels beyond it come by and by.
pub const BOOK_LEVEL_COUNT_MAX: usize = 10_000;

/// Levels of a side that count as its top where nothing else is asked for.
pub const BOOK_TOP_LEVELS_DEFAULT: usize = 10;

/// Messages in a row that may lie behind a live book. A snapshot that is ahead of its stream is caught up with in seconds,
/// at 20 messages a second; a venue whose numbers start again never does.
pub const BOOK_SKIPPED_COUNT_MAX: u32 = 256;

/// Levels a side of the deepest stream that begins with a snapshot of its own (Bybit).
pub const SNAPSHOT_BOOK_LEVEL_COUNT_MAX: usize = 1_000;

/// How long a book that its leg does not go on with is published as it stands, until another leg's is as far: legs lag each
/// other by far less than this second.
pub const LEG_BOOK_WAIT_NS: u64 = 1_000_000_000;

/// Messages that are kept while a book's snapshot is under way: 25 seconds of the fastest stream recorded (20 a second).
pub const HOLD_UPDATE_COUNT: usize = 512;

/// Levels of those messages. The longest message fits at any time; at the 30 to 60 levels that messages have on average this
/// is half of their number.
pub const HOLD_LEVEL_COUNT: usize = 16_384;

/// Snapshots of books that may be under way at a time on one core, each with room for the changes that come meanwhile (300
/// KiB). A venue's budget allows a few a second, and an answer takes a part of one.
pub const BOOK_FETCH_COUNT_MAX: usize = 8;

/// Slots of each ring between a hot core and the cold side.
pub const RING_SLOTS: usize = 4_096;

/// Bytes of a pooled buffer that carries one control-plane message (ack, error, pong) from hot to cold.
pub const CONTROL_MESSAGE_BYTES: usize = 4 * 1024;

/// Pooled control-message buffers per core. When all are under way a message is counted as dropped, with its reason.
pub const CONTROL_MESSAGE_POOL: usize = 256;

/// Bytes of a server's ping in a text message, at most. The longest documented have about 60; every message that is
/// longer is refused by its length alone.
pub const SERVER_PING_BYTES_MAX: usize = 256;

/// Rotations one core may have under way at a time: each holds its tables, up to 44 MB, until its overlap has ended.
pub const OVERLAP_COUNT_MAX: usize = 8;

/// Sockets with legs that one core may have: each holds the tables of its legs, 22 to 44 MB, for as long as it is wanted.
pub const LEGGED_SOCKET_COUNT_MAX: usize = 24;

/// Legs of one connection: a third takes from the second's cost what it adds in luck, a fourth found nothing to win.
pub const LEG_COUNT_MAX: usize = 3;

/// Places of an overlap: one for each leg, and one for the successor of one of them.
pub const LEG_PLACES: usize = 4;

/// Batches of books of one overlap that may wait for what they join to: a few of each of the busiest books.
pub const EARLY_BATCH_COUNT: usize = 512;

/// Levels of those batches: at the 30 to 60 that batches have on average there is room for all.
pub const EARLY_LEVEL_COUNT: usize = 32_768;

/// Trade ids there is room for in one overlap. Sets of 16 fill unevenly: the first id is forgotten when about a third is
/// taken, after 8 seconds at 20,000 trades a second; the oldest of its set, and a leg lags another by far less.
pub const TRADE_WINDOW_IDS: usize = 524_288;

/// Holes in the ids of trades that one core may know of at a time: those that the other leg of an overlap may still fill, and
/// those that are being refilled. A connection of 200 symbols that is lost leaves 400 (trades and aggregates).
pub const HOLE_COUNT_MAX: usize = 1_024;

/// Quotes that may be held on one core while newer ones may lie behind them: a visit's 64 KiB hold some 500.
pub const HELD_QUOTE_COUNT_MAX: usize = 512;

/// Bytes kept of a message that could not be used, one sample for each reason.
pub const SAMPLE_BYTES: usize = 512;

const _: () = assert!(EARLY_LEVEL_COUNT >= LEVEL_COUNT_MAX, "the longest batch may wait");
const _: () = assert!(LEG_COUNT_MAX < LEG_PLACES, "a leg has a place for its successor");
const _: () = assert!(HOLD_LEVEL_COUNT >= LEVEL_COUNT_MAX, "the longest message fits an empty buffer");
const _: () = assert!(SYMBOL_COUNT_MAX < u16::MAX as usize, "a symbol id is a u16, and two values are left over");
const _: () = assert!(LANE_THREADS_MAX < u8::MAX as usize, "a lane's number is a byte, and one value is left over");
const _: () = assert!(LANE_SLOTS_MAX < u32::MAX as usize, "a slot's number is a u32, and one value is left over");
const _: () = assert!(LANE_SLOTS_DEFAULT * LANE_LEVELS_DEFAULT * 16 <= LANE_BYTES_MAX, "the defaults are allowed");
const _: () = assert!(SYMBOL_COUNT_MAX.is_multiple_of(64), "whole words in a set of symbols");
const _: () = assert!(READ_BUFFER_BYTES >= 2 * VISIT_BYTES_MAX, "a partial frame never blocks the next read");
const _: () = assert!(READ_BUFFER_BYTES >= 2 * TLS_RECORD_BYTES_MAX, "a record always fits behind a partial frame");
const _: () = assert!(READ_PADDING_BYTES >= 64, "one AVX-512 load");
const _: () = assert!(4 * REQUEST_BYTES_DEFAULT <= WRITE_BUFFER_BYTES, "a request never fills the write buffer alone");
