//! Binance: spot and USD-M futures, JSON streams.

pub mod decode;
mod depth;
pub mod protocol;
pub mod sequence;
pub(super) mod trades;
