//! A seed's day: hostile hours and quiet ones in turn, and a stop at the end.
//!
//! ```text
//! start │ hostile 1..3 h │ quiet 20 min ─► well ─► orders, rotations ─► 20 min │ check │ hostile ... │ stop, all over
//! ```

use super::acts::pool_size;
use super::dialect::{Dialect, KEY};
use super::faults::Faults;
use super::link::{Link, Stream};
use super::random::Random;
use super::world::{Happening, Order, World};
use crate::{HOUR, MINUTE, SECOND};
use std::time::Duration;
use tickwire::control::{Authentication, ConnectionSettings, Credentials, RotationSettings, logins};

/// Every so many seeds a crowd: many small connections of one venue that lose it together, for a few hours only.
const CROWD_EVERY: u64 = 16;

/// How long a day is.
const DAY: u64 = 24 * HOUR;
const CROWD_DAY: u64 = 2 * HOUR;

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let is_crowd = seed % CROWD_EVERY == CROWD_EVERY - 1;
        let mut faults = Faults::of(&mut random);
        if is_crowd {
            faults.outage_every = 15 * MINUTE;
            faults.mischief_every = 40 * MINUTE;
            faults.orders_every = 60 * MINUTE;
        }
        let age_max = random.percent(60).then(|| random.between(20, 480) * MINUTE);
        let mut world = Self::empty(random, faults, if is_crowd { CROWD_DAY } else { DAY });
        world.age_max = age_max;
        let one = world.random.pick(&Dialect::ALL);
        let count = if is_crowd { world.random.between(40, 80) } else { world.random.between(2, 5) };
        for number in 0..usize::try_from(count).expect("a small count") {
            let dialect = if is_crowd { one } else { world.random.pick(&Dialect::ALL) };
            world.add_link(number, dialect, is_crowd);
        }
        world.plan_day();
        world
    }

    fn add_link(&mut self, number: usize, dialect: Dialect, is_crowd: bool) {
        let (now, random) = (self.now, &mut self.random);
        let size = pool_size(is_crowd, random);
        let streams = Link::streams_of(dialect, number, size, random, now);
        let mut settings = ConnectionSettings::of_venue(dialect.venue(), random.next());
        let subscriptions = &mut settings.subscriptions;
        subscriptions.batch_streams_max = u32::try_from(random.between(1, 30)).expect("small");
        subscriptions.retries_max = u32::try_from(random.between(0, 3)).expect("small");
        subscriptions.in_flight_max = u32::try_from(random.between(1, 8)).expect("small");
        if dialect == Dialect::BybitLinear && random.percent(40) {
            let credentials = Credentials::new(KEY, "a-secret");
            settings.auth = Some(Authentication::new(&logins::BYBIT, credentials));
        }
        let mut rotation = RotationSettings { seed: random.next(), ..RotationSettings::default() };
        let age = self.age_max.or(dialect.age_max()).unwrap_or(12 * HOUR);
        if random.percent(70) {
            rotation.after = Some(Duration::from_nanos(age / 100 * random.between(20, 80)));
        }
        rotation.on_notice = random.percent(75);
        self.links.push(Link::new(dialect, Self::host_of(dialect), (settings, rotation), streams));
    }

    fn plan_day(&mut self) {
        for link in 0..self.links.len() {
            let start = self.now + self.random.between(1, 20) * SECOND;
            self.schedule(start, Happening::Start { link });
            let mischief = self.now + self.random.wait(self.faults.mischief_every);
            self.schedule(mischief, Happening::Mischief { link });
            let order = self.now + self.random.wait(self.faults.orders_every);
            self.schedule(order, Happening::Order { link, order: None });
        }
        for host in 0..self.hosts.len() {
            let outage = self.now + self.random.wait(self.faults.outage_every);
            self.schedule(outage, Happening::Outage { host });
            self.schedule(self.now + SECOND, Happening::Rest { host });
        }
        self.schedule(self.now + MINUTE, Happening::WallStep);
    }

    /// Lives through the day. Returns how long it was.
    pub(crate) fn live(&mut self) -> u64 {
        let begun_at = self.now;
        while self.now - begun_at < self.day {
            let hostile = if self.day == DAY { self.random.between(60, 200) } else { 60 } * MINUTE;
            self.is_hostile = true;
            self.run_until(self.now + hostile);
            self.quiet();
        }
        for at in 0..self.links.len() {
            self.order(at, Some(Order::Stop));
        }
        // Whoever was to start again after a stop is not wanted any more.
        self.run_until(self.now + SECOND / 2);
        self.check_over();
        let sum = |of: fn(&Stream) -> u64| self.links.iter().flat_map(|link| &link.streams).map(of).sum::<u64>();
        let (delivered, lost) = (sum(|stream| stream.delivered), sum(|stream| stream.lost));
        for (what, count) in [("messages delivered", delivered), ("messages missed by the venue's fault", lost)] {
            self.seen.insert(what.to_owned(), count);
        }
        self.now - begun_at
    }

    /// The venue behaves, long enough that all is well again; then rotations and orders on a healthy venue.
    fn quiet(&mut self) {
        self.is_hostile = false;
        self.wall_step_ms = 0;
        self.note(0, format_args!("quiet"));
        for host in &mut self.hosts {
            host.down_until = 0;
        }
        for at in 0..self.links.len() {
            let link = &mut self.links[at];
            link.sync(self.now, &mut self.random);
            for socket in &mut link.sockets {
                socket.is_dumb = false;
                socket.carried.iter_mut().for_each(|carried| carried.is_silent = false);
            }
            link.cover(super::link::Doing::Fault, true, self.now);
        }
        self.run_until(self.now + 20 * MINUTE);
        self.is_well = true;
        self.note(0, format_args!("well"));
        for at in 0..self.links.len() {
            for socket in &mut self.links[at].sockets {
                assert_eq!(socket.mute_since, None, "#{at}: a half-open socket outlived a quiet time");
                socket.is_blemished = false;
            }
            for order in [Order::Rotate, Order::Subscribe, Order::Unsubscribe, Order::Resubscribe, Order::Flip] {
                if self.random.percent(40) {
                    let when = self.now + self.random.between(0, 600) * SECOND;
                    self.schedule(when, Happening::Order { link: at, order: Some(order) });
                }
            }
        }
        self.run_until(self.now + 20 * MINUTE);
        // What rotates is let finish; what does not may have been cut for its age just now, and comes back.
        for _ in 0..600 {
            if self.links.iter().all(Link::is_settled) {
                break;
            }
            self.run_until(self.now + SECOND);
        }
        self.check_quiet();
        self.is_well = false;
    }
}
