//! tickwire: an ultra-low-latency market-data engine for high-frequency trading.
//!
//! One process keeps WebSocket connections to exchanges open, turns every frame into a typed market event on a pinned
//! core, and calls a strategy's plain functions with it. The folders, in the order in which a byte meets them:
//!
//! ```text
//! limits      every sizing constant
//! market      the nouns: Symbol, Price, Trade, Quote, BookUpdate, ...
//! book        the level-2 book, the seam of sequence rules that keep it true, and what a strategy is told of it
//! venue       one folder per exchange: how its messages decode, and what its protocol asks for
//! hot         once per packet: stream, read buffer, frame, decode, legs, kept books, holes, router, handler, lanes
//! control     once per connection or command: session, subscriptions, liveness, rotation, governor, requests, reconnect
//! config      TOML in, checked types out; what a second reading changes
//! net         the only I/O of the control plane: connect, TLS, upgrade, REST, tokens, the control socket
//! telemetry   reads what hot and control publish: reports, status, events
//! strategy    compiled-in handlers, chosen by name
//! sim         the embedded exchange
//! engine      ties them: builds from a config, starts, changes while it runs, stops
//! cli         one file per subcommand
//! ```
//! A room uses the rooms above it in this list where the table of floors allows it (`tests/floors.rs` holds them to it).

pub mod book;
pub mod cli;
pub mod config;
pub mod control;
pub mod engine;
pub mod hot;
pub mod limits;
pub mod market;
pub mod net;
pub mod prelude;
pub mod sim;
pub mod strategy;
pub mod telemetry;
pub mod venue;
