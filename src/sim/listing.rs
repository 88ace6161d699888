//! What the exchange lists: names, grids, and how each venue writes numbers on them.
//!
//! ```text
//! ASSETS ──(seed, venue, count)──► synthetic listings ──┐
//! recorded frames ──(scales seen)──► recorded listings ─┴──► REST instrument list, subscriptions
//! ```

use super::text::{NumberText, Rng};
use crate::market::Venue;

/// One instrument of a venue.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Listing {
    /// As the venue's messages spell it.
    pub(super) name: String,
    pub(super) base: String,
    pub(super) quote: String,
    pub(super) price_scale: u8,
    pub(super) qty_scale: u8,
    pub(super) is_trading: bool,
}

/// Quote assets, longest first, so that `USDT` is not taken for an asset that ends in `T`.
const QUOTES: [&str; 14] =
    ["FDUSD", "USDT", "USDC", "TUSD", "BUSD", "USDE", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "DAI", "USD"];

impl Listing {
    /// An instrument known by its name only: base and quote are told from its end, `_210625` and `-26SEP25` aside.
    pub(super) fn named(name: &str, price_scale: u8, qty_scale: u8) -> Self {
        let pair = name.split(['_', '-']).next().unwrap_or(name);
        let quote = QUOTES.into_iter().find(|quote| pair.len() > quote.len() && pair.ends_with(quote)).unwrap_or("");
        let base = &pair[..pair.len() - quote.len()];
        Self { name: name.into(), base: base.into(), quote: quote.into(), price_scale, qty_scale, is_trading: true }
    }

    /// The pair without its delivery date.
    pub(super) fn pair(&self) -> String {
        format!("{}{}", self.base, self.quote)
    }

    /// True for an instrument with a delivery date in its name.
    pub(super) fn is_dated(&self) -> bool {
        self.name.contains(['_', '-'])
    }

    /// How this venue writes this symbol's prices.
    pub(super) fn price_text(&self, venue: Venue) -> NumberText {
        let decimals = match venue {
            Venue::BinanceSpot => 8,
            // The price precision of the futures venues may be finer than their tick: `61800.20` on a tick of 0.10.
            Venue::BinanceUsdm | Venue::BybitLinear if self.price_scale == 1 => 2,
            _ => self.price_scale,
        };
        NumberText { scale: self.price_scale, decimals, is_trimmed: venue == Venue::BybitSpot }
    }

    /// How this venue writes this symbol's quantities.
    pub(super) fn qty_text(&self, venue: Venue) -> NumberText {
        let decimals = if venue == Venue::BinanceSpot { 8 } else { self.qty_scale };
        NumberText { scale: self.qty_scale, decimals, is_trimmed: venue == Venue::BybitSpot }
    }
}

/// (asset, price in millionths of the quote, decimals of the price and of the quantity on Binance spot).
const ASSETS: [(&str, u64, u8, u8); 30] = [
    ("BTC", 65_120_000_000, 2, 5),
    ("ETH", 1_922_000_000, 2, 4),
    ("SOL", 148_000_000, 2, 3),
    ("BNB", 612_000_000, 2, 3),
    ("XRP", 582_100, 4, 1),
    ("DOGE", 112_340, 5, 0),
    ("ADA", 402_300, 4, 1),
    ("TRX", 134_500, 4, 1),
    ("AVAX", 24_310_000, 2, 2),
    ("LINK", 11_780_000, 2, 2),
    ("DOT", 5_214_000, 3, 2),
    ("LTC", 63_420_000, 2, 3),
    ("BCH", 341_300_000, 1, 3),
    ("NEAR", 4_312_000, 3, 1),
    ("UNI", 6_512_000, 3, 2),
    ("ATOM", 4_781_000, 3, 2),
    ("ETC", 19_430_000, 2, 2),
    ("FIL", 3_812_000, 3, 2),
    ("APT", 6_341_000, 3, 2),
    ("ARB", 562_300, 4, 1),
    ("OP", 1_433_000, 3, 2),
    ("SUI", 982_300, 4, 1),
    ("INJ", 19_220_000, 2, 2),
    ("AAVE", 98_410_000, 2, 3),
    ("TIA", 5_021_000, 3, 1),
    ("SEI", 301_200, 4, 1),
    ("PEPE", 8, 8, 0),
    ("SHIB", 14, 8, 0),
    ("WIF", 1_732_000, 3, 2),
    ("FTM", 339_930, 4, 0),
];

/// A synthetic instrument: its listing, and where its price starts.
#[derive(Clone, Debug)]
pub(super) struct SyntheticListing {
    pub(super) listing: Listing,
    /// Starting price as a mantissa at the listing's price scale.
    pub(super) price: u64,
    /// Most units of quantity at one level.
    pub(super) qty_max: u64,
}

/// The first `count` instruments of a venue: real names first, then generated ones.
pub(super) fn synthetic_listings(venue: Venue, seed: u64, count: u32) -> Vec<SyntheticListing> {
    let mut rng = Rng::new(seed, 0x4C69_7374 + venue.index() as u64);
    (0..count as usize)
        .map(|index| {
            let (base, price_millionths, price_scale, qty_scale) = match ASSETS.get(index) {
                Some(&(base, price, price_scale, qty_scale)) => (base.to_owned(), price, price_scale, qty_scale),
                None => (format!("SIM{index:04}"), 100_000 + rng.below(50_000_000), 4, 1),
            };
            let (price_scale, qty_scale) = match venue {
                Venue::BinanceSpot => (price_scale, qty_scale),
                Venue::BybitSpot if base == "BTC" => (1, 6),
                Venue::BybitSpot => (price_scale, qty_scale + 1),
                _ if base == "BTC" => (1, 3),
                _ => (price_scale, qty_scale.saturating_sub(2)),
            };
            let price = u128::from(price_millionths) * 10_u128.pow(u32::from(price_scale)) / 1_000_000;
            let price = u64::try_from(price).expect("prices are far below 2^64");
            // A tenth of a per mille either way, so that two seeds do not start at one price.
            let price = (price + rng.below(price / 5_000 + 2)).max(2_000);
            // About 20,000 of the quote at one level.
            let qty_max = 20_000 * 1_000_000 * 10_u64.pow(u32::from(qty_scale)) / price_millionths;
            let listing = Listing::named(&format!("{base}USDT"), price_scale, qty_scale);
            SyntheticListing { listing, price, qty_max: qty_max.max(10) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_and_quote_are_told_from_the_name() {
        for (name, base, quote) in [
            ("BTCUSDT", "BTC", "USDT"),
            ("SXPBTC", "SXP", "BTC"),
            ("BTCUSDT_210625", "BTC", "USDT"),
            ("BTCUSDT-26SEP25", "BTC", "USDT"),
            ("币安人生USDT", "币安人生", "USDT"),
            ("BTC", "BTC", ""),
        ] {
            let listing = Listing::named(name, 2, 2);
            assert_eq!((listing.base.as_str(), listing.quote.as_str()), (base, quote), "{name}");
        }
    }

    #[test]
    fn a_seed_names_the_same_listings_and_every_name_is_listed_once() {
        let (a, b) = [7, 7].map(|seed| synthetic_listings(Venue::BybitLinear, seed, 3_000)).into();
        assert!(a.iter().zip(&b).all(|(a, b)| a.listing == b.listing && a.price == b.price));
        let names: std::collections::BTreeSet<_> = a.iter().map(|item| &item.listing.name).collect();
        assert_eq!(names.len(), 3_000);
        assert!(a.iter().all(|item| item.price >= 2_000 && item.qty_max >= 10));
    }
}
