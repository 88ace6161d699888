//! Binance: spot and USD-M futures, JSON streams.

pub mod decode;
pub mod protocol;
pub mod sequence;
