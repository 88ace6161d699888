//! How hostile the days of one seed are: which faults there are at all, and how often. No two seeds are alike, so that
//! each fault also meets the machines alone, and not always in the noise of all the others.

use super::host::Outage;
use super::random::Random;
use crate::{MINUTE, SECOND};

/// What befalls a socket that is open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mischief {
    /// The connection ends without a word.
    Reset,
    /// The venue closes with a code.
    Close(u16),
    /// Half-open: nothing passes any more, and the kernel says nothing.
    Mute,
    SilentOne,
    SilentMany,
    SilentAll,
    /// The venue says that it goes, and soon after it does.
    Notice,
    /// No request is answered any more.
    Dumb,
}

const MISCHIEF: [Mischief; 13] = [
    Mischief::Reset,
    Mischief::Close(1_000),
    Mischief::Close(1_001),
    Mischief::Close(1_006),
    Mischief::Close(1_008),
    Mischief::Close(1_012),
    Mischief::Close(1_013),
    Mischief::Mute,
    Mischief::SilentOne,
    Mischief::SilentMany,
    Mischief::SilentAll,
    Mischief::Notice,
    Mischief::Dumb,
];

/// What becomes of a connect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ConnectFault {
    Refused,
    /// No end within the driver's time for this step.
    HungAt(&'static str, u64),
    Slow,
    /// An answer by HTTP instead of an upgrade.
    Status(u16),
}

const CONNECT_FAULTS: [ConnectFault; 10] = [
    ConnectFault::Refused,
    ConnectFault::HungAt("DNS look-up", 5_000),
    ConnectFault::HungAt("TCP connect", 5_040),
    ConnectFault::HungAt("TLS handshake", 5_080),
    ConnectFault::HungAt("WebSocket upgrade", 5_200),
    ConnectFault::Slow,
    ConnectFault::Status(429),
    ConnectFault::Status(418),
    ConnectFault::Status(503),
    ConnectFault::Status(403),
];

/// The rates of one seed; `permille` of the occasions, or a mean time between two.
#[derive(Debug)]
pub(crate) struct Faults {
    pub(crate) mischief: Vec<Mischief>,
    pub(crate) mischief_every: u64,
    pub(crate) connect: Vec<ConnectFault>,
    pub(crate) connect_permille: u64,
    pub(crate) request_lost: u64,
    pub(crate) ack_lost: u64,
    pub(crate) ack_late: u64,
    pub(crate) ack_doubled: u64,
    /// All of a connection falls silent in its first minute.
    pub(crate) hush_permille: u64,
    pub(crate) orders_every: u64,
    /// An order at the worst moment.
    pub(crate) tempt_permille: u64,
    pub(crate) outage_every: u64,
    pub(crate) outage_lasts: u64,
    pub(crate) outages: Vec<Outage>,
    pub(crate) wall_steps: bool,
    pub(crate) rest_every: u64,
}

impl Faults {
    pub(crate) fn of(random: &mut Random) -> Self {
        let mut rate = |max: u64| if random.percent(60) { random.between(1, max) } else { 0 };
        let (request_lost, ack_lost, ack_late, ack_doubled) = (rate(60), rate(120), rate(120), rate(120));
        let (connect_permille, tempt_permille, hush_permille) = (rate(600), rate(150), rate(200));
        Self {
            mischief: some_of(&MISCHIEF, random),
            mischief_every: random.between(2, 20) * MINUTE,
            connect: some_of(&CONNECT_FAULTS, random),
            connect_permille,
            request_lost,
            ack_lost,
            ack_late,
            ack_doubled,
            hush_permille,
            orders_every: random.between(1, 20) * MINUTE,
            tempt_permille,
            outage_every: random.between(15, 180) * MINUTE,
            outage_lasts: random.between(1, 15) * MINUTE,
            outages: some_of(&[Outage::Refuses, Outage::Hangs, Outage::Unavailable], random),
            wall_steps: random.percent(50),
            rest_every: random.between(5, 90) * SECOND,
        }
    }
}

/// Some of these, at least one.
fn some_of<T: Copy>(all: &[T], random: &mut Random) -> Vec<T> {
    let mut some: Vec<T> = all.iter().copied().filter(|_| random.percent(60)).collect();
    if some.is_empty() {
        some.push(random.pick(all));
    }
    some
}
