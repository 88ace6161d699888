//! Legs: the same streams on several connections, first message wins. The settings with their defaults, how they are read,
//! checked and shown.

use super::check::{HOUR, MS, One, SECOND, shown_url, url_fault};
use super::reader::Section;
use crate::control::RaceSettings;
use crate::limits::LEG_COUNT_MAX;
use std::fmt::{self, Write};
use std::net::IpAddr;
use std::time::Duration;
use url::Url;

/// How many connections carry the same streams, and where each goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LegsConfig {
    /// Connections that carry the same streams: 1 to 3.
    pub count: usize,
    /// Where each leg connects to, in their order, instead of `url`; empty: all to `url`.
    pub urls: Vec<Url>,
    /// Where each leg connects from, in their order, instead of `socket.source_address`; empty: all from there.
    pub source_addresses: Vec<IpAddr>,
    /// What becomes of a leg that falls silent, or keeps losing.
    pub race: RaceConfig,
}

/// What becomes of a leg that falls silent, or keeps losing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RaceConfig {
    /// What has no identity is taken from another leg after this long without an event of it, while that leg has some.
    pub failover: Duration,
    /// Whether a leg that keeps losing is replaced, by a rotation to another address of its host where there is one.
    pub replace: bool,
    /// Time over which wins and losses are compared.
    pub window: Duration,
    /// A leg loses a window of which it won at most this share, in percent,
    pub share_percent_max: usize,
    /// and in which it was this late on average.
    pub lag_min: Duration,
    /// Windows to be lost until it is replaced. A good one between them forgives the others.
    pub windows: u32,
    /// After a replacement no leg of the connection is replaced for this long.
    pub hold_off: Duration,
}

impl Default for LegsConfig {
    fn default() -> Self {
        Self { count: 1, urls: Vec::new(), source_addresses: Vec::new(), race: RaceConfig::default() }
    }
}

impl Default for RaceConfig {
    fn default() -> Self {
        let RaceSettings { is_replacing, window, share_percent_max, lag_min, windows, raced_min: _, hold_off } =
            RaceSettings::default();
        Self {
            failover: Duration::from_secs(2),
            replace: is_replacing,
            window,
            share_percent_max: usize::from(share_percent_max),
            lag_min,
            windows,
            hold_off,
        }
    }
}

impl LegsConfig {
    /// The name of a socket's leg, from 0.
    #[must_use]
    pub fn name(&self, socket: &str, leg: usize) -> String {
        if self.count > 1 { format!("{socket}/leg-{}", leg + 1) } else { socket.to_owned() }
    }

    /// Where a leg connects to, if that is a place of its own.
    #[must_use]
    pub fn url(&self, leg: usize) -> Option<&Url> {
        self.urls.get(leg)
    }

    /// Where a leg connects from, if that is a place of its own.
    #[must_use]
    pub fn source_address(&self, leg: usize) -> Option<IpAddr> {
        self.source_addresses.get(leg).copied()
    }

    /// Reads `legs`, `legs_urls` and `legs_source_addresses`. A list says how many there are.
    pub(super) fn read(&mut self, section: &mut Section<'_>) {
        const URLS: &str = "a list of ws://HOST[:PORT] or wss://HOST[:PORT], without path: the venue's path is added";
        let urls = section.list("legs_urls", URLS).unwrap_or_default();
        for (value, place) in urls {
            match value.as_str().map(Url::parse) {
                Some(Ok(url)) if url_fault(&url, &["ws", "wss"]).is_none() => self.urls.push(url),
                _ => section.source.push(place.error(shown_url(value.to_string().trim()), URLS)),
            }
        }
        const ADDRESSES: &str = "a list of IPv4 or IPv6 addresses of this machine";
        for (value, place) in section.list("legs_source_addresses", ADDRESSES).unwrap_or_default() {
            match value.as_str().and_then(|text| text.parse().ok()) {
                Some(address) => self.source_addresses.push(address),
                None => section.source.push(place.error(value.to_string().trim(), ADDRESSES)),
            }
        }
        self.count = self.urls.len().max(self.source_addresses.len()).max(1);
        section.count("legs", &mut self.count);
    }

    pub(super) fn describe(&self, out: &mut impl Write) -> fmt::Result {
        if self.count == 1 {
            return Ok(());
        }
        let RaceConfig { failover, replace, window, share_percent_max, lag_min, windows, hold_off } = self.race;
        writeln!(
            out,
            "  legs         {}, first message wins; what has no id is taken from one, for {failover:?} of silence at most",
            self.count
        )?;
        if !self.source_addresses.is_empty() {
            let from: Vec<String> = self.source_addresses.iter().map(ToString::to_string).collect();
            writeln!(out, "               from {}", from.join(", "))?;
        }
        match replace {
            true => writeln!(
                out,
                "               one that wins up to {share_percent_max} %, {lag_min:?} late, in {windows} times {window:?} is replaced, at most every {hold_off:?}"
            ),
            false => writeln!(out, "               one that keeps losing is not replaced"),
        }
    }
}

impl RaceConfig {
    pub(super) fn apply(&mut self, mut table: Section<'_>) {
        table.millis("failover_ms", &mut self.failover);
        table.flag("replace", &mut self.replace);
        table.seconds("window_s", &mut self.window);
        table.count("share_percent_max", &mut self.share_percent_max);
        let mut lag_us = self.lag_min.as_micros().try_into().unwrap_or(u64::MAX);
        table.count("lag_us_min", &mut lag_us);
        self.lag_min = Duration::from_micros(lag_us);
        table.count("windows", &mut self.windows);
        table.seconds("hold_off_s", &mut self.hold_off);
        table.finish();
    }

    /// As the rule has them.
    #[must_use]
    pub fn settings(&self) -> RaceSettings {
        RaceSettings {
            is_replacing: self.replace,
            window: self.window,
            share_percent_max: u8::try_from(self.share_percent_max).unwrap_or(100),
            lag_min: self.lag_min,
            windows: self.windows,
            hold_off: self.hold_off,
            ..RaceSettings::default()
        }
    }
}

impl One<'_> {
    /// Legs and their race.
    pub(super) fn legs(&mut self) {
        let LegsConfig { count, urls, source_addresses, race } = &self.connection.legs;
        self.range("legs", *count, 1..=LEG_COUNT_MAX, "legs");
        for (key, length) in [("legs_urls", urls.len()), ("legs_source_addresses", source_addresses.len())] {
            if length > 0 && length != *count {
                self.refuse(key, format!("{length} of them for legs = {count}"), "one for each leg, or none");
            }
        }
        for (index, url) in urls.iter().enumerate() {
            if url_fault(url, &["ws", "wss"]).is_some() {
                let key = format!("legs_urls[{index}]");
                self.refuse(&key, url.scheme(), "ws or wss://HOST[:PORT], without path");
            }
        }
        self.millis("race.failover_ms", race.failover, 10 * MS..=HOUR);
        self.seconds("race.window_s", race.window, SECOND..=HOUR);
        self.range("race.share_percent_max", race.share_percent_max, 0..=40, "percent");
        self.range("race.lag_us_min", race.lag_min.as_micros(), 0..=10_000_000, "microseconds");
        self.range("race.windows", race.windows, 1..=100, "windows");
        self.seconds("race.hold_off_s", race.hold_off, SECOND..=24 * HOUR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConnectionConfig, describe};
    use crate::market::Venue;

    fn of(change: impl FnOnce(&mut LegsConfig)) -> Result<Config, String> {
        let mut connection =
            ConnectionConfig::new("one", Venue::BinanceSpot).subscribed_to(&["BTCUSDT"], &["trade"]).unwrap();
        change(&mut connection.legs);
        Config::from_connections(vec![connection]).map_err(|errors| errors.to_string())
    }

    #[test]
    fn what_legs_cannot_be_is_refused_with_what_they_can() {
        for (change, expected) in [
            ((|legs| legs.count = 0) as fn(&mut LegsConfig), "1 to 3 legs"),
            (|legs| legs.count = 4, "1 to 3 legs"),
            (|legs| legs.urls = vec!["ws://127.0.0.1:1/".parse().unwrap()], ""),
            (
                |legs| (legs.count, legs.urls) = (2, vec!["ws://127.0.0.1:1/".parse().unwrap()]),
                "one for each leg, or none",
            ),
            (
                |legs| (legs.count, legs.source_addresses) = (3, vec![[127, 0, 0, 1].into(); 2]),
                "one for each leg, or none",
            ),
            (|legs| (legs.count, legs.urls) = (2, vec!["http://127.0.0.1:1/".parse().unwrap(); 2]), "ws or wss"),
            (|legs| legs.race.failover = Duration::ZERO, "10 to 3600000 milliseconds"),
            (|legs| legs.race.share_percent_max = 50, "0 to 40 percent"),
            (|legs| legs.race.windows = 0, "1 to 100 windows"),
            (|legs| legs.race.hold_off = Duration::ZERO, "1 to 86400 seconds"),
        ] {
            let result = of(change).map(drop);
            match expected {
                "" => assert_eq!(result, Ok(())),
                expected => {
                    assert!(result.as_ref().is_err_and(|text| text.contains(expected)), "{expected}: {result:?}")
                }
            }
        }
    }

    #[test]
    fn legs_show_each_with_its_place_and_what_becomes_of_one_that_loses() {
        let config = of(|legs| {
            legs.count = 2;
            legs.urls = ["ws://127.0.0.1:1/", "ws://127.0.0.1:2/"].map(|text| text.parse().unwrap()).to_vec();
        });
        let text = describe(&config.unwrap());
        for expected in [
            "    ws://127.0.0.1:1/stream  (leg 1 of 2)\n",
            "    ws://127.0.0.1:2/stream  (leg 2 of 2)\n",
            "  legs         2, first message wins; what has no id is taken from one, for 2s of silence at most\n",
            "               one that wins up to 5 %, 1ms late, in 5 times 60s is replaced, at most every 1800s\n",
            "2 sockets",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(!describe(&of(|_| ()).unwrap()).contains("legs"));
    }

    #[test]
    fn legs_are_read_from_a_file_by_number_or_by_the_length_of_a_list_and_what_is_none_is_named() {
        let read = |keys: &str, race: &str| {
            let text = format!(
                "[[connection]]\nname = \"one\"\nvenue = \"binance-spot\"\nsymbols = [\"BTCUSDT\"]\nchannels = [\"trade\"]\n{keys}\n{race}"
            );
            super::super::tests::load_text(&text)
                .map(|config| config.connections[0].legs.clone())
                .map_err(|error| error.to_string())
        };
        assert_eq!(read("", "").unwrap(), LegsConfig::default());
        assert_eq!(read("legs = 2", "").unwrap().count, 2);
        let two = read(r#"legs_urls = ["ws://127.0.0.1:1", "wss://localhost:2"]"#, "").unwrap();
        assert_eq!((two.count, two.urls.len()), (2, 2));
        let three = read(r#"legs_source_addresses = ["127.0.0.1", "127.0.0.2", "::1"]"#, "").unwrap();
        assert_eq!((three.count, three.source_address(2)), (3, Some("::1".parse().unwrap())));
        let raced = read(
            "legs = 2",
            "[connection.race]\nfailover_ms = 300\nreplace = false\nwindow_s = 5\nshare_percent_max = 9\nlag_us_min = 250\nwindows = 2\nhold_off_s = 60",
        );
        let race = RaceConfig {
            failover: Duration::from_millis(300),
            replace: false,
            window: Duration::from_secs(5),
            share_percent_max: 9,
            lag_min: Duration::from_micros(250),
            windows: 2,
            hold_off: Duration::from_secs(60),
        };
        assert_eq!(raced.unwrap().race, race);
        for (keys, race, expected) in [
            ("legs = 4", "", "legs"),
            ("legs = \"two\"", "", "legs"),
            (r#"legs_urls = ["ws://127.0.0.1:1/path", "ws://127.0.0.1:2"]"#, "", "legs_urls[0]"),
            (r#"legs_urls = ["ws://me:hunter2@127.0.0.1:1", "ws://127.0.0.1:2"]"#, "", "a user name or a password"),
            (
                r#"legs_urls = ["wss://me:hunter2@127.0.0.1:99999", "ws://127.0.0.1:2"]"#,
                "",
                "a user name or a password",
            ),
            (r#"legs_urls = "wss://me:hunter2@127.0.0.1""#, "", "a user name or a password"),
            (r#"legs_urls = [["wss://me:hunter2@127.0.0.1"]]"#, "", "a user name or a password"),
            (r#"legs_source_addresses = ["eth0", "127.0.0.1"]"#, "", "legs_source_addresses[0]"),
            ("legs = 3\nlegs_urls = [\"ws://127.0.0.1:1\"]", "", "one for each leg, or none"),
            ("legs = 2", "[connection.race]\nfailover = 3", "failover_ms"),
        ] {
            let error = read(keys, race).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{keys} {race}: {error}");
        }
    }
}
