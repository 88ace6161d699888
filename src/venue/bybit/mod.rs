//! Bybit v5: spot and linear, public topics.

pub mod decode;
pub mod protocol;
pub mod sequence;
