//! The faults as a person writes them: `[VENUE:]NAME[=VALUE][#WHICH]`.
//!
//! ```text
//! binance-spot:close-1012=60s#2-4
//! └─ venue ──┘ └ name ─┘ └age┘└ connections 2 to 4
//! ```
//! Called by the command line and by tests. Refuses what it does not know with what is allowed.

use super::faults::{Fault, FaultRule, Faults, Span, Which};
use crate::market::Venue;
use std::str::FromStr;
use std::time::Duration;

/// Most rules of one order.
const RULE_COUNT_MAX: usize = 256;

/// The language, as `--help` teaches it.
pub const FAULT_HELP: &str = "\
Faults: [VENUE:]NAME[=VALUE][#WHICH], several separated by commas
  WHICH    #3, #2-5, #4- (the 3rd, 2nd to 5th, 4th and later) or #10% (drawn by --fault-seed) of what is struck:
           connections; subscribe requests (ack-*, refuse-subscribe, bad-stream, cut-before-ack); auth requests (auth-*);
           REST requests (rest-*, depth-old). Counted per venue from 1. NAME=10% is the same as NAME#10%.
  AGE      of a connection: 500ms, 60s, 5m.  TIME  200ms, or drawn anew each time from 200ms..2s.
  WINDOW   10s: for 10 seconds from the start; 5s..15s: from then to then. Without it: always.
  connect  refuse-connects=WINDOW  hang-tls  hang-upgrade  slow-upgrade=TIME  cut-upgrade  upgrade-with-frame
           upgrade-STATUS[=WINDOW] (403, 404, 418, 429, 503 ...; 418, 429 and 503 say Retry-After)
  answers  ack-loss  ack-delay=TIME  ack-twice  ack-reorder  refuse-subscribe  bad-stream=NAME (stream or symbol)
           cut-before-ack  auth-delay=TIME  auth-loss  auth-refused
  silence  silent-after-ack[=SHARE] (of streams)  silent-stream=NAME  silent-connection  silent-after=MESSAGES
           stream-silent-after=MESSAGES  lose-every=MESSAGES (each such is left out)  half-open-after=AGE  deaf-after=AGE
  end      close-at=AGE (1000)  close-CODE=AGE  reset-every=AGE  shutdown-notice=AGE (Binance)  cut-mid-frame=BYTES
  REST     rest-STATUS[=WINDOW]  rest-delay=TIME  rest-hang  depth-old (Binance: the book as it began)
  measures leg-skew=TIME  connect-limit=COUNT/TIME  rest-limit=WEIGHT/TIME  stream-limit=COUNT (Binance)
Example: --faults shutdown-notice=55s,close-1001=60s,ack-loss=5%,bybit-linear:silent-after-ack=10%";

/// Why a fault's text is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("fault `{text}`: {what}")]
pub struct FaultSpecError {
    /// As it was written.
    pub text: String,
    /// What is wrong, and what is allowed.
    pub what: String,
}

impl Faults {
    /// Reads rules separated by commas, as [`FAULT_HELP`] teaches them.
    ///
    /// # Errors
    /// [`FaultSpecError`]: the first rule that is not understood, and what is allowed in its place.
    pub fn parse(text: &str, seed: u64) -> Result<Self, FaultSpecError> {
        let rules = text.split(',').map(str::trim).filter(|rule| !rule.is_empty());
        let rules: Vec<FaultRule> = rules.map(str::parse).collect::<Result<_, _>>()?;
        if rules.len() > RULE_COUNT_MAX {
            let what = format!("{} rules: at most {RULE_COUNT_MAX} are allowed", rules.len());
            return Err(FaultSpecError { text: text.chars().take(40).collect(), what });
        }
        Ok(Self { rules, seed, ..Self::default() })
    }
}

impl FromStr for FaultRule {
    type Err = FaultSpecError;

    fn from_str(text: &str) -> Result<Self, FaultSpecError> {
        read_rule(text).map_err(|what| FaultSpecError { text: text.to_owned(), what })
    }
}

fn read_rule(text: &str) -> Result<FaultRule, String> {
    let (venue, rest) = match text.split_once(':') {
        None => (None, text),
        Some((venue, rest)) => {
            let found = Venue::ALL.into_iter().find(|known| known.name() == venue);
            let known = Venue::ALL.map(Venue::name).join(", ");
            (Some(found.ok_or_else(|| format!("venue `{venue}`: {known} are allowed"))?), rest)
        }
    };
    let (rest, which) = match rest.split_once('#') {
        None => (rest, None),
        Some((rest, which)) => (rest, Some(read_which(which)?)),
    };
    let (name, value) = match rest.split_once('=') {
        None => (rest, None),
        Some((name, value)) => (name, Some(value)),
    };
    // `ack-loss=5%` says the share where it is read most naturally.
    let (which, value) = match (which, value) {
        (None, Some(share)) if share.ends_with('%') => (read_which(share)?, None),
        (which, value) => (which.unwrap_or(Which::All), value),
    };
    Ok(FaultRule { venue, which, fault: read_fault(name, value)? })
}

fn read_which(text: &str) -> Result<Which, String> {
    let allowed = || format!("`{text}`: a number from 1, a range like 2-5 or 4-, or a share like 10% is allowed");
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.parse().map_err(|_| allowed())?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(allowed());
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to a million")]
        return Ok(Which::Share((percent * 10_000.0).round() as u32));
    }
    let number = |text: &str| text.parse::<u64>().ok().filter(|&number| number > 0).ok_or_else(allowed);
    let (first, last) = match text.split_once('-') {
        None => (number(text)?, number(text)?),
        Some((first, "")) => (number(first)?, u64::MAX),
        Some((first, last)) => (number(first)?, number(last)?),
    };
    if first > last {
        return Err(allowed());
    }
    Ok(Which::Numbers(first, last))
}

/// The value a fault was given, read as it needs it.
struct Value<'a> {
    name: &'a str,
    text: Option<&'a str>,
}

impl<'a> Value<'a> {
    fn none(&self) -> Result<(), String> {
        match self.text {
            None => Ok(()),
            Some(text) => Err(format!("`{text}`: {} takes no value but a share like 10%", self.name)),
        }
    }

    fn some(&self, example: &str) -> Result<&'a str, String> {
        let text = self.text.filter(|text| !text.is_empty());
        text.ok_or_else(|| format!("{} needs a value: {}={example}", self.name, self.name))
    }

    fn time(&self) -> Result<Duration, String> {
        read_time(self.some("60s")?)
    }

    /// A time, or a shortest and a longest one.
    fn span(&self) -> Result<Span, String> {
        let text = self.some("200ms..2s")?;
        match text.split_once("..") {
            None => read_time(text).map(Span::exactly),
            Some(both) => read_span(text, both),
        }
    }

    /// A window: until then, or from then to then.
    fn window(&self) -> Result<Option<Span>, String> {
        match self.text {
            None => Ok(None),
            Some(text) => match text.split_once("..") {
                None => read_time(text).map(|end| Some(Span::until(end))),
                Some(both) => read_span(text, both).map(Some),
            },
        }
    }

    fn count<T: FromStr>(&self, example: &str) -> Result<T, String> {
        let text = self.some(example)?;
        text.parse().map_err(|_| format!("`{text}`: a whole number like {example} is allowed"))
    }

    /// `COUNT/TIME`.
    fn rate(&self) -> Result<(u32, Duration), String> {
        let text = self.some("300/5m")?;
        let allowed = || format!("`{text}`: a count and a time like 300/5m are allowed");
        let (count, time) = text.split_once('/').ok_or_else(allowed)?;
        let count = count.parse().map_err(|_| allowed())?;
        let time = read_time(time)?;
        if count == 0 || time.is_zero() { Err(allowed()) } else { Ok((count, time)) }
    }
}

fn read_span(text: &str, (min, max): (&str, &str)) -> Result<Span, String> {
    let span = Span { min: read_time(min)?, max: read_time(max)? };
    if span.min > span.max {
        return Err(format!("`{text}`: the shorter time comes first"));
    }
    Ok(span)
}

/// `0`, `200ms`, `1.5s`, `5m`, `24h`: at most a year.
fn read_time(text: &str) -> Result<Duration, String> {
    let allowed = || format!("`{text}`: a time like 200ms, 1.5s, 5m or 24h is allowed");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
    let (number, unit) = units
        .iter()
        .find_map(|&(name, unit)| text.strip_suffix(name).map(|number| (number, unit)))
        .ok_or_else(allowed)?;
    let seconds = number.parse::<f64>().map_err(|_| allowed())? * unit;
    if !(0.0..=31_536_000.0).contains(&seconds) {
        return Err(allowed());
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn read_fault(name: &str, text: Option<&str>) -> Result<Fault, String> {
    let value = Value { name, text };
    let plain = |fault: Fault| value.none().map(|()| fault);
    match name {
        "hang-tls" => plain(Fault::HangTls),
        "hang-upgrade" => plain(Fault::HangUpgrade),
        "cut-upgrade" => plain(Fault::CutUpgrade),
        "upgrade-with-frame" => plain(Fault::UpgradeWithFrame),
        "ack-loss" => plain(Fault::LoseAck),
        "ack-twice" => plain(Fault::DoubleAck),
        "ack-reorder" => plain(Fault::ReorderAck),
        "refuse-subscribe" => plain(Fault::RefuseSubscribe),
        "cut-before-ack" => plain(Fault::CutBeforeAck),
        "silent-after-ack" => plain(Fault::SilentAfterAck),
        "silent-connection" => plain(Fault::SilentConnection),
        "auth-loss" => plain(Fault::LoseAuth),
        "auth-refused" => plain(Fault::RefuseAuth),
        "rest-hang" => plain(Fault::HangRest),
        "depth-old" => plain(Fault::OldDepth),
        "refuse-connects" => {
            value.some("10s")?;
            Ok(Fault::RefuseConnects(value.window()?.unwrap_or(Span::until(Duration::ZERO))))
        }
        "slow-upgrade" => value.span().map(Fault::SlowUpgrade),
        "ack-delay" => value.span().map(Fault::DelayAck),
        "auth-delay" => value.span().map(Fault::DelayAuth),
        "rest-delay" => value.span().map(Fault::SlowRest),
        "leg-skew" => value.span().map(Fault::LegSkew),
        "bad-stream" => value.some("BTCUSDT").map(|name| Fault::BadStream(name.to_owned())),
        "silent-stream" => value.some("BTCUSDT").map(|name| Fault::SilentStream(name.to_owned())),
        "silent-after" => value.count("1000").map(Fault::SilentAfter),
        "lose-every" => value.count("50").map(Fault::LoseEvery),
        "stream-silent-after" => value.count("1000").map(Fault::StreamSilentAfter),
        "cut-mid-frame" => value.count("5000").map(Fault::CutMidFrame),
        "half-open-after" => value.time().map(Fault::HalfOpen),
        "deaf-after" => value.time().map(Fault::Deaf),
        "reset-every" => value.time().map(Fault::Reset),
        "shutdown-notice" => value.time().map(Fault::ShutdownNotice),
        "close-at" => value.time().map(|at| Fault::Close { at, code: 1000 }),
        "connect-limit" => value.rate().map(|(count, time)| Fault::ConnectLimit(count, time)),
        "rest-limit" => value.rate().map(|(weight, time)| Fault::RestLimit(weight, time)),
        "stream-limit" => value.count("200").map(Fault::StreamLimit),
        _ => read_numbered(name, &value),
    }
}

/// Faults with a code in their name.
fn read_numbered(name: &str, value: &Value<'_>) -> Result<Fault, String> {
    let status = |text: &str| {
        let status = text.parse::<u16>().ok().filter(|status| (400..=599).contains(status));
        status.ok_or_else(|| format!("`{name}`: a status from 400 to 599 is allowed"))
    };
    if let Some(text) = name.strip_prefix("upgrade-") {
        return Ok(Fault::RefuseUpgrade { status: status(text)?, window: value.window()? });
    }
    if let Some(text) = name.strip_prefix("rest-") {
        return Ok(Fault::RefuseRest { status: status(text)?, window: value.window()? });
    }
    if let Some(text) = name.strip_prefix("close-") {
        // 1004 to 1006 and 1015 never stand in a frame (RFC 6455 section 7.4.1).
        let is_sent = |code: &u16| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let code = text.parse::<u16>().ok().filter(is_sent);
        let code = code.ok_or_else(|| format!("`{name}`: codes 1000-1003, 1007-1014 and 3000-4999 are allowed"))?;
        return Ok(Fault::Close { at: value.time()?, code });
    }
    Err(format!("`{name}` is no fault: see `tickwire sim --help` for all of them"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(text: &str) -> FaultRule {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_rule_has_a_venue_a_name_a_value_and_whom_it_strikes() {
        let close = rule("binance-spot:close-1012=60s#2-4");
        assert_eq!(close.venue, Some(Venue::BinanceSpot));
        assert_eq!(close.which, Which::Numbers(2, 4));
        assert_eq!(close.fault, Fault::Close { at: s(60), code: 1012 });
        assert_eq!(rule("ack-loss=5%"), rule("ack-loss#5%"));
        assert_eq!(rule("ack-loss=5%").which, Which::Share(50_000));
        assert_eq!(rule("deaf-after=1m#3-").which, Which::Numbers(3, u64::MAX));
        let delay = Fault::DelayAck(Span { min: Duration::from_millis(200), max: s(2) });
        assert_eq!(rule("ack-delay=200ms..2s").fault, delay);
        assert_eq!(rule("upgrade-429=5s").fault, Fault::RefuseUpgrade { status: 429, window: Some(Span::until(s(5))) });
        assert_eq!(rule("upgrade-403").fault, Fault::RefuseUpgrade { status: 403, window: None });
        assert_eq!(rule("connect-limit=300/5m").fault, Fault::ConnectLimit(300, s(300)));
        let stream = rule("bybit-linear:silent-stream=orderbook.50.BTCUSDT");
        assert_eq!(stream.fault, Fault::SilentStream("orderbook.50.BTCUSDT".into()));
        assert_eq!(rule("leg-skew=0..20ms").fault, Fault::LegSkew(Span::until(Duration::from_millis(20))));
    }

    #[test]
    fn a_rule_that_is_not_understood_is_refused_with_what_is_allowed() {
        for (text, what) in [
            ("fire", "is no fault"),
            ("kraken:hang-tls", "binance-spot, binance-usdm, bybit-spot, bybit-linear are allowed"),
            ("close-1006=5s", "1000-1003, 1007-1014 and 3000-4999 are allowed"),
            ("close-at", "needs a value: close-at=60s"),
            ("close-at=soon", "a time like 200ms"),
            ("close-at=60", "a time like 200ms"),
            ("close-at=-1s", "a time like 200ms"),
            ("ack-delay=2s..1s", "the shorter time comes first"),
            ("ack-loss=101%", "a share like 10%"),
            ("ack-loss=often", "takes no value"),
            ("hang-tls#0", "a number from 1"),
            ("hang-tls#5-2", "a range like 2-5"),
            ("upgrade-200", "from 400 to 599"),
            ("silent-after=x", "a whole number"),
            ("rest-limit=0/1s", "a count and a time"),
            ("bad-stream=", "needs a value"),
        ] {
            let error = text.parse::<FaultRule>().expect_err(text).to_string();
            assert!(error.contains(what) && error.starts_with(&format!("fault `{text}`: ")), "{text}: {error}");
        }
        assert!(Faults::parse("close-at=60s, ,ack-loss", 1).unwrap().rules.len() == 2);
        assert!(Faults::parse("close-at=60s,fire", 1).is_err());
    }

    #[test]
    fn every_fault_the_help_names_is_understood() {
        for text in [
            "refuse-connects=10s",
            "hang-tls",
            "hang-upgrade",
            "slow-upgrade=3s",
            "cut-upgrade",
            "upgrade-with-frame",
            "upgrade-503=1s..2s",
            "ack-loss",
            "ack-delay=1s",
            "ack-twice",
            "ack-reorder",
            "refuse-subscribe",
            "bad-stream=BTCUSDT",
            "cut-before-ack",
            "auth-delay=1s",
            "auth-loss",
            "auth-refused",
            "silent-after-ack=10%",
            "silent-stream=BTCUSDT",
            "silent-connection",
            "silent-after=1000",
            "stream-silent-after=100",
            "lose-every=50",
            "half-open-after=30s",
            "deaf-after=30s",
            "close-at=60s",
            "close-1001=60s",
            "reset-every=20s",
            "shutdown-notice=55s",
            "cut-mid-frame=5000",
            "rest-429=5s",
            "rest-delay=1s",
            "rest-hang",
            "depth-old",
            "leg-skew=0..20ms",
            "connect-limit=30/30s",
            "rest-limit=100/1s",
            "stream-limit=200",
        ] {
            rule(text);
            let name = text.split('=').next().unwrap();
            let taught = name.trim_end_matches(|character: char| character.is_ascii_digit());
            assert!(FAULT_HELP.contains(taught), "{name} is not taught");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,40}") {
            let _ = text.parse::<FaultRule>();
        }
    }
}
