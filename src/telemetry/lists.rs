//! What was seen of a venue's instrument list since the start, as every output has it.

use serde::{Deserialize, Serialize};

/// The instrument list of one venue: asked for at the start, for symbols that come later, and again after `rest.relist_s`. Of
/// symbols: how many there are now. Of lists and changes: totals.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ListReport {
    /// The venue.
    pub venue: String,
    /// Lists that were read.
    pub lists: u64,
    /// Lists that could not be read.
    pub lists_failed: u64,
    /// Times the list was not asked for again when it was due, because others needed the venue's weight.
    pub lists_put_off: u64,
    /// Times the tick or the lot of a symbol was another than in the list before.
    pub ticks_changed: u64,
    /// Symbols whose tick or lot has more decimals than the engine reads of them.
    pub ticks_too_fine: u64,
    /// Symbols that do not trade, or are not listed any more.
    pub not_trading: u64,
}
