//! Binance's depth snapshots by REST, exact at the symbol's scales. Cold: once per repair of a book.
//!
//! ```text
//! {"lastUpdateId":50093239218,"bids":[["61837.63000000","3.78826000"], ...],"asks":[ ... ]}      USD-M: also "E" and "T"
//! {"code":-1121,"msg":"Invalid symbol."}                                                         a refusal
//! ```
//! Source: spot `GET /api/v3/depth`, USD-M `GET /fapi/v1/depth`.

use crate::limits::BOOK_LEVEL_COUNT_MAX;
use crate::market::{Level, Price, Qty, SymbolSpec, VenueTime};
use crate::venue::DepthSnapshot;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What is read of a snapshot; other members are the venue's business.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Depth<'a> {
    last_update_id: Option<u64>,
    /// USD-M: milliseconds since the epoch.
    #[serde(rename = "E")]
    event_time: Option<i64>,
    // As they stand, so that an error can name the level.
    #[serde(borrow)]
    bids: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    asks: Option<Vec<&'a RawValue>>,
    code: Option<i64>,
    msg: Option<String>,
}

/// Reads a snapshot of a symbol.
///
/// # Errors
/// What is wrong, with the field: `bids[3]: price "1.005": more than 2 decimals: ...`.
pub(super) fn read(spec: &SymbolSpec, body: &[u8]) -> Result<DepthSnapshot, String> {
    let depth: Depth<'_> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if let Some(code) = depth.code {
        return Err(format!("{} (code {code})", depth.msg.unwrap_or_default()));
    }
    Ok(DepthSnapshot {
        last_update_id: depth.last_update_id.ok_or("lastUpdateId is missing")?,
        event_time: depth.event_time.and_then(VenueTime::from_ms),
        bids: levels(spec, "bids", depth.bids)?,
        asks: levels(spec, "asks", depth.asks)?,
    })
}

fn levels(spec: &SymbolSpec, side: &str, raw: Option<Vec<&RawValue>>) -> Result<Vec<Level>, String> {
    let raw = raw.ok_or_else(|| format!("{side} is missing"))?;
    if raw.len() > BOOK_LEVEL_COUNT_MAX {
        return Err(format!("{side}: {} levels, at most {BOOK_LEVEL_COUNT_MAX} fit", raw.len()));
    }
    let mut levels = Vec::with_capacity(raw.len());
    for (at, raw) in raw.into_iter().enumerate() {
        let level = level(spec, raw).map_err(|what| format!("{side}[{at}]: {what}"))?;
        // A level without quantity is no level.
        levels.extend(Some(level).filter(|level| level.qty != Qty::ZERO));
    }
    Ok(levels)
}

fn level(spec: &SymbolSpec, raw: &RawValue) -> Result<Level, String> {
    let pair: (Cow<'_, str>, Cow<'_, str>) = serde_json::from_str(raw.get())
        .map_err(|_error| format!("{} is no pair of price and quantity as texts", sample(raw.get())))?;
    let refused = |what: &str, text: &str, why: String| format!("{what} \"{}\": {why}", sample(text));
    let price = Price::parse(pair.0.as_bytes(), spec.price_scale)
        .map_err(|error| refused("price", &pair.0, error.to_string()))?;
    let qty = Qty::parse(pair.1.as_bytes(), spec.qty_scale)
        .map_err(|error| refused("quantity", &pair.1, error.to_string()))?;
    if qty < Qty::ZERO {
        return Err(refused("quantity", &pair.1, "below zero".to_owned()));
    }
    Ok(Level { price, qty })
}

/// The beginning of a text that is shown.
fn sample(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut shown: String = text.chars().take(CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{SymbolTable, Venue};
    use crate::venue::{Protocol as _, binance};
    use proptest::prelude::*;

    fn spec() -> SymbolSpec {
        let mut table = SymbolTable::default();
        let symbol = table.add(Venue::BinanceSpot, "BTCUSDT", 2, 5, None).unwrap();
        table.spec(symbol).unwrap().clone()
    }

    fn level_of(price: i64, qty: i64) -> Level {
        Level { price: Price::from_mantissa(price), qty: Qty::from_mantissa(qty) }
    }

    #[test]
    fn a_snapshot_is_read_exactly_at_the_symbols_scales() {
        let body = br#"{"lastUpdateId":50093239218,"E":1723161256501,"T":1723161256493,
            "bids":[["61837.63000000","3.78826000"],["61837.6","1"]],"asks":[["61837.64000000","0.00001000"]]}"#;
        let expected = DepthSnapshot {
            last_update_id: 50_093_239_218,
            event_time: VenueTime::from_ms(1_723_161_256_501),
            bids: vec![level_of(6_183_763, 378_826), level_of(6_183_760, 100_000)],
            asks: vec![level_of(6_183_764, 1)],
        };
        assert_eq!(read(&spec(), body), Ok(expected));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_field_and_symbol() {
        let around = |bids: &str| format!("{{\"lastUpdateId\":7,\"bids\":{bids},\"asks\":[]}}");
        for (body, what) in [
            (String::new(), "EOF"),
            ("[]".into(), "expected"),
            ("{}".into(), "lastUpdateId is missing"),
            (r#"{"lastUpdateId":7}"#.into(), "bids is missing"),
            (r#"{"lastUpdateId":7,"bids":[]}"#.into(), "asks is missing"),
            (r#"{"lastUpdateId":-7,"bids":[],"asks":[]}"#.into(), "-7"),
            (r#"{"code":-1121,"msg":"Invalid symbol."}"#.into(), "Invalid symbol. (code -1121)"),
            (around(r#"[["1.00","1"],["1.005","1"]]"#), "bids[1]: price \"1.005\": more than 2 decimals"),
            (around(r#"[["1.00","0.000001"]]"#), "bids[0]: quantity \"0.000001\": more than 5 decimals"),
            (around(r#"[["1.00","-1"]]"#), "bids[0]: quantity \"-1\": below zero"),
            (around(r#"[["1e3","1"]]"#), "bids[0]: price \"1e3\": byte 0x65"),
            (around(r#"[["1.00"]]"#), "bids[0]: [\"1.00\"] is no pair"),
            (around(r#"[[1.00,2]]"#), "bids[0]: [1.00,2] is no pair"),
            (around(r#"[["1.00","1",[]]]"#), "is no pair"),
            (around(r#"["1.00"]"#), "is no pair"),
            (around("{}"), "expected a sequence"),
            (around(&format!("[{}]", vec![r#"["1","1"]"#; 10_001].join(","))), "bids: 10001 levels, at most 10000"),
        ] {
            let error = binance::protocol::SPOT.read_depth(&spec(), body.as_bytes()).unwrap_err().to_string();
            assert!(
                error.starts_with("depth snapshot of BTCUSDT on binance-spot: ") && error.contains(what),
                "{error}"
            );
        }
    }

    #[test]
    fn a_level_without_quantity_is_no_level() {
        let body = br#"{"lastUpdateId":7,"bids":[["2.00","0.00000"],["1.00","1"]],"asks":[]}"#;
        assert_eq!(read(&spec(), body).unwrap().bids, [level_of(100, 100_000)]);
    }

    proptest! {
        #[test]
        fn every_book_that_is_written_is_read_back(levels in proptest::collection::vec((1..=i64::MAX / 2, 1..=i64::MAX / 2), 0..40), id: u64) {
            let text = |mantissa: i64, scale: u32| format!("{}.{:0>width$}", mantissa / 10_i64.pow(scale), mantissa % 10_i64.pow(scale), width = scale as usize);
            let side: Vec<String> = levels.iter().map(|&(price, qty)| format!("[\"{}\",\"{}\"]", text(price, 2), text(qty, 5))).collect();
            let body = format!("{{\"lastUpdateId\":{id},\"bids\":[{0}],\"asks\":[{0}]}}", side.join(","));
            let expected: Vec<Level> = levels.iter().map(|&(price, qty)| level_of(price, qty)).collect();
            let snapshot = read(&spec(), body.as_bytes()).unwrap();
            prop_assert_eq!((snapshot.last_update_id, &snapshot.bids, &snapshot.asks), (id, &expected, &expected));
        }

        #[test]
        fn a_body_cut_anywhere_is_refused(cut in 0..110_usize) {
            let body = br#"{"lastUpdateId":7,"bids":[["61837.63000000","3.78826000"],["61837.6","1"]],"asks":[["61837.64000000","1"]]}"#;
            prop_assume!(cut < body.len());
            prop_assert!(read(&spec(), &body[..cut]).is_err());
        }
    }
}
