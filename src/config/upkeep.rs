//! How a connection is kept alive, watched, brought back and renewed: the settings, with their defaults.
//!
//! ```text
//! Heartbeat  who pings            Liveness   which subscription is silent
//! Reconnect  how a lost one returns          Rotation   how an old one is replaced before the venue cuts it
//! Rest       the share of the venue's weight Auth       where the credentials come from
//! ```
//! Every field is one key of a TOML table of the same name. Holds values only; `check` knows their ranges.

use super::Secret;
use crate::venue::{Heartbeat, Protocol};
use std::time::Duration;

/// A text ping of ours is sent this often where nothing else is said: what most venues ask for.
const TEXT_PING_INTERVAL_DEFAULT: Duration = Duration::from_secs(20);

/// A ping of the server in the venue's own words, and what is answered. Recognised before anything is decoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerPing {
    /// The whole message is this text.
    Text {
        /// The text, to the byte.
        text: String,
        /// What is sent back; `{id}` and `{timestamp}` are filled in.
        reply: String,
    },
    /// The message is a JSON object with this member.
    Field {
        /// The member's name.
        field: String,
        /// What is sent back; `{value}` is the member's value as it came, `{id}` and `{timestamp}` are filled in.
        reply: String,
    },
}

/// How the connection is kept alive. Several ways may be active at once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeartbeatConfig {
    /// How often we send the venue's own ping, a second or more; where the venue pings, how often it says it does, which
    /// nobody can set.
    pub interval: Duration,
    /// After this long without a byte (venues that ping us), or without a byte since our ping
    /// (venues we ping), the connection is lost.
    pub timeout: Duration,
    /// How often we send a WebSocket ping frame; `None`: never.
    pub protocol_ping: Option<Duration>,
    /// A ping text of the operator's own, with `{id}` and `{timestamp}` (milliseconds) filled in; `None`: none is sent.
    pub text_ping: Option<String>,
    /// How often `text_ping` is sent.
    pub text_ping_interval: Duration,
    /// A ping of the server that the venue's protocol does not name; `None`: there is none.
    pub server_ping: Option<ServerPing>,
}

impl HeartbeatConfig {
    /// What the venue's documents ask for, and nothing more.
    #[must_use]
    pub const fn of_venue(heartbeat: Heartbeat) -> Self {
        let (Heartbeat::ServerPing { interval, timeout } | Heartbeat::ClientText { interval, timeout }) = heartbeat;
        Self {
            interval,
            timeout,
            protocol_ping: None,
            text_ping: None,
            text_ping_interval: TEXT_PING_INTERVAL_DEFAULT,
            server_ping: None,
        }
    }
}

/// What the delays between attempts do.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum ReconnectStrategy {
    /// Each delay is the one before times `factor`, up to `cap`.
    #[default]
    Exponential,
    /// Every delay is `base`.
    Fixed,
    /// A lost connection stays lost.
    Never,
}

impl ReconnectStrategy {
    /// The word used in TOML.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exponential => "exponential",
            Self::Fixed => "fixed",
            Self::Never => "never",
        }
    }
}

/// How a lost connection comes back.
#[derive(Clone, Debug, PartialEq)]
pub struct ReconnectConfig {
    /// What the delays do.
    pub strategy: ReconnectStrategy,
    /// The first delay.
    pub base: Duration,
    /// Growth of the delay from one attempt to the next.
    pub factor: f64,
    /// The longest delay.
    pub cap: Duration,
    /// Part of each delay that is random, from 0.01 to 1.
    pub jitter: f64,
    /// Attempts in a row before giving up; 0 is without limit.
    pub attempts_max: u32,
    /// The delays start again from `base` after data has flowed for this long.
    pub stable_after: Duration,
    /// Added to every delay: no attempt comes sooner after the disconnect.
    pub offset: Duration,
    /// The first attempt after data had flowed waits for `offset` alone.
    pub immediate_first: bool,
}

impl Default for ReconnectConfig {
    fn default() -> Self {
        Self {
            strategy: ReconnectStrategy::Exponential,
            base: Duration::from_millis(500),
            factor: 2.0,
            cap: Duration::from_secs(30),
            jitter: 0.5,
            attempts_max: 0,
            stable_after: Duration::from_secs(10),
            offset: Duration::ZERO,
            immediate_first: false,
        }
    }
}

/// When a subscription counts as silent, and what is done about it.
#[derive(Clone, Debug, PartialEq)]
pub struct LivenessConfig {
    /// Acknowledged for this long without data, a subscription is silent; `None`: never.
    pub first_data: Option<Duration>,
    /// The same for trades; `None`: never, for nobody may be trading.
    pub trade_first_data: Option<Duration>,
    /// Data is stale after this many times the symbol's own usual gap ...
    pub stale_factor: f64,
    /// ... but never sooner ...
    pub stale_min: Duration,
    /// ... and never later.
    pub stale_max: Duration,
    /// Where this share of a connection's subscriptions is silent, the connection is repaired instead of each of them.
    pub connection_share_percent: u32,
    /// Silent subscriptions are repaired; otherwise they are only reported.
    pub repair: bool,
}

impl Default for LivenessConfig {
    fn default() -> Self {
        Self {
            first_data: Some(Duration::from_secs(30)),
            trade_first_data: None,
            stale_factor: 20.0,
            stale_min: Duration::from_secs(5),
            stale_max: Duration::from_secs(600),
            connection_share_percent: 50,
            repair: true,
        }
    }
}

/// When a connection is replaced by a successor, and for how long both live.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RotationConfig {
    /// Age at which the successor connects, at the latest; `None`: never because of age.
    pub after: Option<Duration>,
    /// The successor connects up to this much sooner, at random: connections made together are not renewed together.
    pub jitter: Duration,
    /// How long both live, from the successor's last confirmation on.
    pub overlap: Duration,
    /// A successor that is not confirmed within this time is given up, and the old connection stays.
    pub overlap_max: Duration,
    /// A notice of the server that it will go starts a rotation.
    pub on_notice: bool,
}

impl RotationConfig {
    /// An hour before the age at which the venue cuts; never, where it states none.
    #[must_use]
    pub fn of_venue(protocol: &dyn Protocol) -> Self {
        const BEFORE_THE_CUT: Duration = Duration::from_secs(3_600);
        Self {
            after: protocol.limits().connection_age_max.map(|age| age.saturating_sub(BEFORE_THE_CUT)),
            jitter: Duration::from_secs(1_800),
            overlap: Duration::from_secs(2),
            overlap_max: Duration::from_secs(30),
            on_notice: true,
        }
    }
}

/// What REST may use of the venue.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RestConfig {
    /// Share of the venue's request weight for this process. The rest is left for the orders that come from the same
    /// address.
    pub weight_share_percent: u32,
    /// How often the instrument list of a venue with kept books is asked for again, so that a changed tick is noticed; `None`:
    /// never.
    pub relist: Option<Duration>,
}

impl Default for RestConfig {
    fn default() -> Self {
        Self { weight_share_percent: 50, relist: Some(Duration::from_secs(3_600)) }
    }
}

/// One credential, and the environment variable it came from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credential {
    /// Its value.
    pub value: Secret,
    /// The variable; empty for a configuration built in code.
    pub variable: String,
}

/// What a connection authenticates with. Values come from the environment alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthConfig {
    /// The API key.
    pub key: Credential,
    /// What requests are signed with.
    pub secret: Credential,
    /// For venues that ask for one.
    pub passphrase: Option<Credential>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Venue;
    use crate::venue::protocol;

    #[test]
    fn a_connection_is_renewed_an_hour_before_the_venue_would_cut_it_and_never_where_no_age_is_stated() {
        let after = |venue| RotationConfig::of_venue(protocol(venue)).after;
        assert_eq!(after(Venue::BinanceSpot), Some(Duration::from_secs(82_800)));
        assert_eq!(after(Venue::BinanceUsdm), Some(Duration::from_secs(82_800)));
        assert_eq!((after(Venue::BybitSpot), after(Venue::BybitLinear)), (None, None));
    }

    #[test]
    fn no_credential_shows_in_what_holds_it() {
        let credential = |text: &str| Credential { value: Secret::new(text), variable: "DESK".into() };
        let auth = AuthConfig { key: credential("hunter1"), secret: credential("hunter2"), passphrase: None };
        let shown = format!("{auth:?}");
        assert!(!shown.contains("hunter") && shown.contains("DESK"), "{shown}");
    }
}
