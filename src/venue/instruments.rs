//! What every venue's instrument list needs: a step and its scale, the name of a delivery date, a symbol in a URL.
//! Cold: called while a list is read, before subscribing.

use super::{InstrumentError, InstrumentSpec};
use crate::limits::SCALE_MAX;
use crate::market::Decimal;

/// A tick or step size without trailing zeros, whose scale is that of the symbol: `0.01000000` has 2 decimals, `10` has none.
/// `Ok(None)` for zero, which venues write where the rule is switched off.
///
/// # Errors
/// What is wrong with the text, as a sentence.
pub(super) fn step_size(step: &str) -> Result<Option<Decimal>, String> {
    let decimal = Decimal::parse(step.as_bytes()).map_err(|error| error.to_string())?;
    let (mut mantissa, mut scale) = (decimal.mantissa(), decimal.scale());
    if mantissa < 0 {
        return Err("a step cannot be negative".to_owned());
    }
    if mantissa == 0 {
        return Ok(None);
    }
    while scale > 0 && mantissa % 10 == 0 {
        mantissa /= 10;
        scale -= 1;
    }
    if scale > SCALE_MAX {
        return Err(format!("{scale} decimals, at most {SCALE_MAX} fit"));
    }
    Ok(Some(Decimal::new(mantissa, scale)))
}

/// `YYMMDD` of a delivery time in milliseconds since the epoch (UTC); `None` before 1970 (venues write 0 for "never")
/// and behind 2099.
pub(super) fn delivery_date(ms: i64) -> Option<String> {
    let days = ms.div_euclid(86_400_000);
    if days <= 0 {
        return None;
    }
    // Howard Hinnant's days-to-civil: years start in March, so that the leap day is a year's last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year < 2_100).then(|| format!("{:02}{month:02}{day:02}", year % 100))
}

/// A symbol as a query value: names may hold any UTF-8.
pub(super) fn percent_encoded(symbol: &str) -> String {
    url::form_urlencoded::byte_serialize(symbol.as_bytes()).collect()
}

/// The rows of an instrument list that can be read. One odd row (a symbol before its listing, say) takes no other down: it
/// is logged, and who wants it hears that it is not listed.
///
/// # Errors
/// The first row's, where no row can be read: then it is the list that has changed.
pub(super) fn readable(
    rows: impl Iterator<Item = Result<InstrumentSpec, InstrumentError>>,
) -> Result<Vec<InstrumentSpec>, InstrumentError> {
    let mut specs = Vec::new();
    let mut first_error = None;
    for row in rows {
        match row {
            Ok(spec) => specs.push(spec),
            Err(error) => {
                tracing::warn!(%error, "a row of the instrument list is left out");
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) if specs.is_empty() => Err(error),
        _ => Ok(specs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_odd_row_takes_no_other_down_and_a_list_of_nothing_else_is_an_error() {
        let spec = || InstrumentSpec {
            name: "BTCUSDT".to_owned(),
            price_scale: 2,
            qty_scale: 5,
            tick_size: Some(Decimal::new(1, 2)),
            lot_size: Some(Decimal::new(1, 5)),
            instrument: crate::market::Instrument {
                base: "BTC".into(),
                quote: "USDT".into(),
                kind: crate::market::InstrumentKind::Spot,
            },
            is_trading: true,
        };
        let odd = || InstrumentError { venue: crate::market::Venue::BinanceSpot, what: "no LOT_SIZE".to_owned() };
        assert_eq!(readable([Err(odd()), Ok(spec())].into_iter()), Ok(vec![spec()]));
        assert_eq!(readable([Err(odd())].into_iter()), Err(odd()));
        assert_eq!(readable([].into_iter()), Ok(Vec::new()));
    }

    #[test]
    fn a_scale_is_the_decimals_that_matter() {
        for (step, scale) in
            [("0.01000000", 2), ("0.00000001", 8), ("1.00000000", 0), ("10", 0), ("0.5", 1), ("0.0025", 4)]
        {
            let size = step_size(step).unwrap().expect("not zero");
            assert_eq!((size.scale(), size), (scale, Decimal::parse(step.as_bytes()).unwrap()), "{step}");
        }
        assert_eq!(step_size("0.00000000"), Ok(None));
    }

    #[test]
    fn a_step_that_is_no_decimal_or_too_fine_is_refused() {
        for step in ["", "x", "1e-8", "-0.1", "0.", "0.0000000000000000001"] {
            assert!(step_size(step).is_err(), "{step}");
        }
    }

    #[test]
    fn a_delivery_time_is_named_by_its_day() {
        for (ms, date) in [
            (1_798_185_600_000, "261225"),
            (1_709_164_800_000, "240229"),
            (1_709_251_199_999, "240229"),
            (1_709_251_200_000, "240301"),
            (1_767_225_600_000, "260101"),
        ] {
            assert_eq!(delivery_date(ms).as_deref(), Some(date), "{ms}");
        }
        for never in [0, -1, i64::MIN, i64::MAX, 4_133_404_800_000] {
            assert_eq!(delivery_date(never), None, "{never}");
        }
    }
}
