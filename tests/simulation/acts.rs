//! What the venue, the network and the operator do: the model's half of every conversation.
//!
//! ```text
//! request ─► [lost] ─► read, judged, done ─► answer ─► [lost, late, doubled, out of order] ─► machine
//! connect ─► up | refused | hung at a stage | slow | 429 418 503 403, with Retry-After or without
//! ```

use super::dialect::Asked;
use super::faults::{ConnectFault, Mischief};
use super::host::{Outage, RestTurn, nanos};
use super::link::{Doing, END_WITHIN, Link};
use super::random::Random;
use super::world::{Delivery, Happening, Order, World};
use crate::{MINUTE, MS, SECOND};
use std::time::Duration;
use tickwire::control::{Event, Permit, RelayEvent, RestAnswer, State};
use tickwire::market::MonoNs;

impl World {
    /// What becomes of a connect, and when it is known.
    pub(crate) fn connect_outcome(&mut self, host: usize, latency: u64) -> (u64, Delivery) {
        let arrival = self.now + latency;
        let fault = if self.hosts[host].down_until > arrival {
            match self.hosts[host].outage {
                Outage::Refuses => Some(ConnectFault::Refused),
                Outage::Hangs => Some(ConnectFault::HungAt("TCP connect", 5_000)),
                Outage::Unavailable => Some(ConnectFault::Status(503)),
            }
        } else if self.fails(self.faults.connect_permille) {
            Some(self.random.pick(&self.faults.connect))
        } else {
            None
        };
        let failed = |reason, status, retry_after| Delivery::ConnectFailed { reason, status, retry_after };
        match fault {
            None => (latency * self.random.between(3, 5), Delivery::Connected),
            Some(ConnectFault::Slow) => (self.random.between(500, 14_000) * MS, Delivery::Connected),
            Some(ConnectFault::Refused) => (2 * latency, failed("connection refused", None, None)),
            Some(ConnectFault::HungAt(stage, after_ms)) => (after_ms * MS, failed(stage, None, None)),
            Some(ConnectFault::Status(status)) => {
                let longest = match status {
                    429 => 300,
                    418 => 500,
                    _ => 90,
                };
                let asks = self.random.percent(60);
                let retry_after = asks.then(|| Duration::from_secs(self.random.between(0, longest)));
                (4 * latency, failed("the upgrade was refused", Some(status), retry_after))
            }
        }
    }

    pub(crate) fn start(&mut self, at: usize) {
        let link = &mut self.links[at];
        if link.relay.is_over() {
            // The operator wants it back: the same streams, another relay.
            let settings = (link.settings.clone(), link.rotation.clone());
            let (dialect, host, streams) = (link.dialect, link.host, std::mem::take(&mut link.streams));
            *link = Link::new(dialect, host, settings, streams);
        }
        self.note(at, format_args!("start"));
        self.handle(at, RelayEvent::Start, Doing::Operator);
    }

    pub(crate) fn on_delivery(&mut self, at: usize, serial: u64, delivery: Delivery) {
        let now = self.now;
        let host = self.links[at].host;
        // Connects and requests arrive at the venue whoever still waits for the answer.
        if matches!(delivery, Delivery::Connected) {
            self.hosts[host].connect_seen(now);
        }
        let Some(socket) = self.links[at].socket(serial) else { return };
        let leg = socket.leg;
        match delivery {
            Delivery::Connected => self.on_connected(at, serial),
            Delivery::ConnectFailed { reason, status, retry_after } => {
                self.note(at, format_args!("{} connect failed: {reason} {status:?} {retry_after:?}", leg.number()));
                if let Some(status) = status {
                    self.saw(&format!("upgrade {status}"));
                    self.hosts[host].told_to_stay_away(RestAnswer { status, used_weight: None, retry_after }, now);
                }
                let link = &mut self.links[at];
                link.forget(leg);
                link.asked_wait = retry_after.map(|wait| (leg, nanos(wait)));
                let event = Event::ConnectFailed { reason, retry_after, status };
                self.handle(at, RelayEvent::Leg(leg, event), Doing::Fault);
            }
            Delivery::Request { text, sent_at } if socket.mute_since.is_none() => {
                self.on_request(at, serial, &text, sent_at);
            }
            Delivery::Hush => self.befall(at, serial, Mischief::SilentAll),
            Delivery::Answer { text, confirms, refuses, until } if socket.mute_since.is_none() => {
                socket.last_byte = now;
                if now < until {
                    for stream in confirms {
                        socket.carried[stream].is_told = socket.carried[stream].is_live;
                    }
                    if let Some(stream) = refuses {
                        self.links[at].streams[stream].refused_to.push(leg);
                    }
                }
                let note = String::from_utf8_lossy(&text).into_owned();
                self.note(at, format_args!("{} answer {note}", leg.number()));
                self.handle(at, RelayEvent::Leg(leg, Event::Message(&text)), Doing::Own);
            }
            Delivery::LoginAnswer { text, is_refused } if socket.mute_since.is_none() => {
                socket.last_byte = now;
                self.note(at, format_args!("{} login answer {}", leg.number(), String::from_utf8_lossy(&text)));
                let link = &mut self.links[at];
                // What is refused for good is not asked again at once.
                let wait = link.settings.reconnect.auth_wait.map_or(0, nanos);
                link.asked_wait = is_refused.then_some((leg, wait));
                self.handle(at, RelayEvent::Leg(leg, Event::Message(&text)), Doing::Own);
            }
            Delivery::Pong if socket.mute_since.is_none() => socket.last_byte = now,
            Delivery::Notice if socket.mute_since.is_none() => {
                self.note(at, format_args!("{} notice", leg.number()));
                let notice = self.links[at].dialect.notice().expect("only where there is one");
                self.handle(at, RelayEvent::Leg(leg, Event::Message(notice)), Doing::Fault);
            }
            Delivery::Cut { code } if socket.mute_since.is_none() => self.cut(at, serial, code),
            Delivery::Closed => {
                self.note(at, format_args!("{} closed", leg.number()));
                self.links[at].forget(leg);
                self.handle(at, RelayEvent::Leg(leg, Event::Closed), Doing::Own);
            }
            // Nothing passes.
            _ => {}
        }
    }

    fn on_connected(&mut self, at: usize, serial: u64) {
        let now = self.now;
        let spread = self.random.between(0, 60) * SECOND;
        let sooner = self.random.between(10, 600) * MINUTE;
        let link = &mut self.links[at];
        let dialect = link.dialect;
        let age_max = match link.rotation.after {
            // Where nothing is done about it beforehand, the cut itself is to be met, and often.
            None => Some(sooner),
            Some(_) => self.age_max.or(dialect.age_max()),
        };
        let socket = link.socket(serial).expect("just seen");
        socket.phase = super::socket::Phase::Open;
        (socket.opened_at, socket.last_byte) = (now, now);
        socket.cut_at = age_max.map_or(u64::MAX, |age| now + age + spread);
        socket.next_server_ping = dialect.server_ping_every().map_or(u64::MAX, |every| now + every);
        let leg = socket.leg;
        self.note(at, format_args!("{} connected", leg.number()));
        self.handle(at, RelayEvent::Leg(leg, Event::Connected), Doing::Own);
        if self.fails(self.faults.hush_permille) {
            // Before anybody knows how often anything speaks.
            let when = now + self.random.between(2, 60) * SECOND;
            self.deliver(at, serial, when, Delivery::Hush);
        }
        self.tempt(at);
    }

    fn on_request(&mut self, at: usize, serial: u64, text: &[u8], sent_at: u64) {
        let link = &mut self.links[at];
        let dialect = link.dialect;
        let heard = dialect.read(text);
        let (word, names) = match heard.asked {
            Asked::Subscribe(names) => (if dialect.is_binance() { "SUBSCRIBE" } else { "subscribe" }, names),
            Asked::Unsubscribe(names) => (if dialect.is_binance() { "UNSUBSCRIBE" } else { "unsubscribe" }, names),
            Asked::Ping => {
                let socket = link.socket(serial).expect("just seen");
                let back = self.now + socket.latency;
                let answer = Delivery::Answer { text: dialect.pong(), confirms: Vec::new(), refuses: None, until: 0 };
                return self.deliver(at, serial, back, answer);
            }
            Asked::Login { expires_ms } => return self.on_login(at, serial, expires_ms),
        };
        let is_subscribe = word.eq_ignore_ascii_case("subscribe");
        let streams: Vec<usize> = names.iter().map(|name| self.links[at].index[name]).collect();
        self.check_request(at, &names, &streams);
        let is_lost = dialect.has_ids() && self.fails(self.faults.request_lost);
        let link = &mut self.links[at];
        let needs_login = link.settings.auth.is_some();
        link.sync(self.now, &mut self.random);
        let was_blemished = link.is_blemished();
        let socket = link.sockets.iter_mut().find(|socket| socket.serial == serial).expect("just seen");
        assert!(socket.is_logged_in || !needs_login, "a request before the venue has accepted the login");
        if is_lost {
            // The venue never heard of it.
            socket.is_blemished = true;
            return;
        }
        let outcome = if is_subscribe {
            let table = &link.streams;
            if let Some(&known) = streams.iter().find(|&&at| table[at].refused_to.contains(&socket.leg)) {
                panic!("{} is asked for again, and the venue has refused it", table[known].name);
            }
            socket.subscribe(dialect, &streams, |at| table[at].name.clone(), |at| table[at].is_bad)
        } else {
            socket.unsubscribe(dialect, &streams)
        };
        link.cover(Doing::Own, was_blemished, self.now);
        self.check_twice(at);
        let is_alone = is_subscribe && outcome.is_err() && streams.len() == 1;
        let refuses = is_alone.then(|| streams[0]).filter(|&stream| self.links[at].streams[stream].is_bad);
        let confirms = if is_subscribe && outcome.is_ok() { streams } else { Vec::new() };
        let text = dialect.answer(word, &heard.id, outcome);
        self.answer(at, serial, sent_at, (text, confirms, refuses));
    }

    /// A login: accepted, expired by the venue's clock, refused for now or for good, late, or never answered.
    fn on_login(&mut self, at: usize, serial: u64, expires_ms: i64) {
        let is_expired = expires_ms < self.true_wall_ms();
        let fate = if self.is_hostile { self.random.between(0, 99) } else { 99 };
        let (refusal, is_for_good) = match fate {
            _ if is_expired => (Some("Request expired"), false),
            0..4 => (Some("API key is invalid"), true),
            4..12 => (Some("Too many visits!"), false),
            _ => (None, false),
        };
        let wait = match fate {
            12..20 => self.random.between(1, 8_000) * MS,
            _ => self.random.between(1, 100) * MS,
        };
        let now = self.now;
        let link = &mut self.links[at];
        let (dialect, has_account) = (link.dialect, link.settings.auth.is_some());
        let socket = link.socket(serial).expect("just seen");
        assert!(has_account && !socket.is_logged_in, "a login that nothing asks for");
        socket.is_logged_in = refusal.is_none();
        let back = now + socket.latency + wait;
        if !(20..24).contains(&fate) {
            let text = dialect.login_answer(refusal);
            self.deliver(at, serial, back, Delivery::LoginAnswer { text, is_refused: is_for_good && !is_expired });
        }
    }

    /// Sends an answer: lost, late, twice or out of order while the day is hostile.
    fn answer(
        &mut self,
        at: usize,
        serial: u64,
        sent_at: u64,
        (text, confirms, refuses): (Vec<u8>, Vec<usize>, Option<usize>),
    ) {
        let (lost, late, doubled) = (self.faults.ack_lost, self.faults.ack_late, self.faults.ack_doubled);
        let (is_lost, is_late, is_doubled) = (self.fails(lost), self.fails(late), self.fails(doubled));
        let wait = self.random.between(1, 100) * MS;
        let long = self.random.between(1, 12_000) * MS;
        let again = self.random.between(1, 12_000) * MS;
        let now = self.now;
        let link = &mut self.links[at];
        let (dialect, timeout) = (link.dialect, nanos(link.settings.subscriptions.ack_timeout));
        let socket = link.socket(serial).expect("just seen");
        let soon = now + wait + socket.latency;
        let until = sent_at + timeout;
        if socket.is_dumb {
            socket.is_blemished = true;
            return;
        }
        if !dialect.has_ids() {
            // Only the order tells whose answer it is: the venue keeps it.
            socket.last_answer = soon.max(socket.last_answer);
            let when = socket.last_answer;
            return self.deliver(at, serial, when, Delivery::Answer { text, confirms, refuses, until });
        }
        socket.is_blemished |= is_lost || is_late;
        if is_lost {
            // The venue has done it, and nobody was told.
            if let Some(&stream) = confirms.first().filter(|_| self.random.percent(30)) {
                self.schedule(until, Happening::Order { link: at, order: Some(Order::Abandon(stream)) });
            }
            return;
        }
        let when = if is_late { now + socket.latency + long } else { soon };
        if is_doubled {
            let twin = Delivery::Answer { text: text.clone(), confirms: Vec::new(), refuses: None, until: 0 };
            self.deliver(at, serial, when + again, twin);
        }
        self.deliver(at, serial, when, Delivery::Answer { text, confirms, refuses, until });
    }

    /// Something befalls one of a connection's open sockets.
    pub(crate) fn mischief(&mut self, at: usize) {
        let next = self.now + self.random.wait(self.faults.mischief_every);
        self.schedule(next, Happening::Mischief { link: at });
        let link = &self.links[at];
        let open: Vec<u64> =
            link.sockets.iter().filter(|socket| socket.is_open()).map(|socket| socket.serial).collect();
        if !self.is_hostile || open.is_empty() {
            return;
        }
        let serial = self.random.pick(&open);
        let mischief = self.random.pick(&self.faults.mischief);
        self.befall(at, serial, mischief);
    }

    fn befall(&mut self, at: usize, serial: u64, mischief: Mischief) {
        let now = self.now;
        self.saw(&format!("{mischief:?}"));
        self.note(at, format_args!("mischief: {mischief:?}"));
        let link = &mut self.links[at];
        link.sync(now, &mut self.random);
        let has_notice = link.dialect.notice().is_some();
        let socket = link.socket(serial).expect("just seen");
        socket.is_blemished = true;
        match mischief {
            Mischief::Reset => return self.cut(at, serial, None),
            Mischief::Close(code) => return self.cut(at, serial, Some(code)),
            Mischief::Mute => socket.mute_since = socket.mute_since.or(Some(now)),
            Mischief::Dumb => socket.is_dumb = true,
            Mischief::SilentOne => {
                let one = self.random.index(socket.carried.len());
                socket.carried[one].is_silent = socket.carried[one].is_live;
            }
            Mischief::SilentMany | Mischief::SilentAll => {
                let percent = if mischief == Mischief::SilentAll { 100 } else { 50 };
                let chosen = socket.carried.iter_mut().filter(|carried| carried.is_live);
                for carried in chosen {
                    carried.is_silent |= self.random.percent(percent);
                }
            }
            Mischief::Notice if has_notice => {
                let cut = now + self.random.between(0, 30) * SECOND + MS;
                self.deliver(at, serial, now, Delivery::Notice);
                self.deliver(at, serial, cut, Delivery::Cut { code: Some(1_001) });
            }
            Mischief::Notice => {}
        }
        self.links[at].cover(Doing::Fault, true, now);
    }

    /// The venue goes down as a whole, and comes back.
    pub(crate) fn outage(&mut self, host: usize) {
        let next = self.now + self.random.wait(self.faults.outage_every);
        self.schedule(next, Happening::Outage { host });
        if !self.is_hostile {
            return;
        }
        self.hosts[host].outage = self.random.pick(&self.faults.outages);
        self.hosts[host].down_until = self.now + self.random.wait(self.faults.outage_lasts).min(40 * MINUTE);
        let cuts = self.random.percent(70);
        for at in 0..self.links.len() {
            if self.links[at].host == host && cuts {
                let serials: Vec<u64> = self.links[at].sockets.iter().map(|socket| socket.serial).collect();
                for serial in serials {
                    self.cut(at, serial, Some(1_012));
                }
            }
        }
    }

    pub(crate) fn step_wall(&mut self) {
        if self.is_hostile && self.faults.wall_steps {
            let hours = i64::try_from(self.random.between(0, 96)).expect("small") - 48;
            self.wall_step_ms = hours * 3_600_000 + i64::try_from(self.random.between(0, 999)).expect("small");
        }
        let next = self.now + self.random.wait(30 * MINUTE);
        self.schedule(next, Happening::WallStep);
    }

    /// An order at the worst moment.
    pub(crate) fn tempt(&mut self, at: usize) {
        if self.fails(self.faults.tempt_permille) {
            let when = self.now + if self.random.percent(50) { 0 } else { self.random.between(1, 400) * MS };
            let order = self.random_order();
            self.schedule(when, Happening::Order { link: at, order: Some(order) });
        }
    }

    fn random_order(&mut self) -> Order {
        const ORDERS: [(u64, Order); 7] = [
            (25, Order::Subscribe),
            (45, Order::Unsubscribe),
            (60, Order::Resubscribe),
            (75, Order::Flip),
            (87, Order::Rotate),
            (96, Order::Reconnect),
            (100, Order::Stop),
        ];
        let place = self.random.between(0, 99);
        ORDERS.iter().find(|&&(below, _)| place < below).expect("the last is 100").1
    }

    /// Carries an order out; without one it is one of the regular ones.
    pub(crate) fn order(&mut self, at: usize, order: Option<Order>) {
        let order = match order {
            Some(order) => order,
            None => {
                let next = self.now + self.random.wait(self.faults.orders_every);
                self.schedule(next, Happening::Order { link: at, order: None });
                if !self.is_hostile {
                    return;
                }
                self.random_order()
            }
        };
        let stopping = self.links[at].stopped_at.is_some();
        let never_started = self.links[at].relay.current().1.state() == State::Disconnected;
        if stopping || never_started {
            return;
        }
        let stream = self.random.index(self.links[at].streams.len());
        self.note(at, format_args!("order: {order:?} {}", self.links[at].streams[stream].name.clone()));
        match order {
            Order::Subscribe => self.want(at, stream),
            Order::Unsubscribe => self.unwant(at, stream),
            Order::Abandon(stream) => self.unwant(at, stream),
            Order::Flip => {
                self.unwant(at, stream);
                self.want(at, stream);
            }
            Order::Resubscribe => {
                let name = self.links[at].streams[stream].name.clone();
                self.links[at].streams[stream].may_end_until = self.now + END_WITHIN;
                self.handle(at, RelayEvent::Resubscribe(&name), Doing::Operator);
            }
            Order::Rotate => self.handle(at, RelayEvent::Rotate("an order"), Doing::Own),
            Order::Reconnect => self.handle(at, RelayEvent::Reconnect("an order"), Doing::Operator),
            Order::Stop => {
                self.links[at].stopped_at = Some(self.now);
                self.handle(at, RelayEvent::Stop, Doing::Operator);
            }
        }
    }

    fn want(&mut self, at: usize, stream: usize) {
        let name = self.links[at].streams[stream].name.clone();
        self.links[at].streams[stream].is_wanted = true;
        self.links[at].streams[stream].refused_to.clear();
        self.handle(at, RelayEvent::Subscribe(&name), Doing::Operator);
    }

    fn unwant(&mut self, at: usize, stream: usize) {
        if std::mem::take(&mut self.links[at].streams[stream].is_wanted) {
            self.links[at].streams[stream].may_end_until = self.now + END_WITHIN;
            let name = self.links[at].streams[stream].name.clone();
            self.handle(at, RelayEvent::Unsubscribe(&name), Doing::Operator);
        }
    }

    /// The desk's REST user asks for something.
    pub(crate) fn rest(&mut self, host: usize) {
        let next = self.now + self.random.wait(self.faults.rest_every);
        self.schedule(next, Happening::Rest { host });
        let burst = if self.fails(50) { self.random.between(2, 30) } else { 1 };
        for _ in 0..burst {
            let weight = self.random.pick(self.hosts[host].name.rest_prices());
            let budget = self.hosts[host].rest;
            let asked = u32::try_from(weight).expect("a small weight");
            match self.governor.rest(budget, asked, MonoNs(self.now)) {
                Permit::Now => self.rest_sent(host, weight),
                Permit::At { at, ticket } => self.wait_for_rest(host, at, RestTurn { ticket, weight }),
                Permit::Refused(why) => panic!("a light request was refused: {why}"),
            }
        }
    }

    fn wait_for_rest(&mut self, host: usize, at: MonoNs, turn: RestTurn) {
        assert!(at.0 > self.now, "a place in the line that is up already");
        // Some give up, some come late, a few never come.
        if self.random.percent(3) {
            assert!(self.governor.cancel(turn.ticket, MonoNs(self.now)), "a place given back at once is known");
            return;
        }
        if !self.random.percent(2) {
            let late = if self.random.percent(10) { self.random.between(0, 1_000) * MS } else { 0 };
            self.schedule(at.0 + late, Happening::RestTurn { host, turn });
        }
    }

    pub(crate) fn rest_turn(&mut self, host: usize, turn: RestTurn) {
        match self.governor.redeem(turn.ticket, MonoNs(self.now)) {
            Some(Permit::Now) => self.rest_sent(host, turn.weight),
            Some(Permit::At { at, ticket }) => self.wait_for_rest(host, at, RestTurn { ticket, weight: turn.weight }),
            Some(Permit::Refused(why)) => panic!("a place that was promised was refused: {why}"),
            None => panic!("a place whose owner came within a second of its time was lost"),
        }
    }

    fn rest_sent(&mut self, host: usize, weight: u64) {
        let limit = self.hosts[host].name.rest_weight().0;
        let others = if self.fails(100) { self.random.between(0, limit) } else { 0 };
        let (now, random) = (self.now, &mut self.random);
        let target = &mut self.hosts[host];
        target.rest_sent(weight, now);
        let answer = target.rest_answer(weight, others, random, now);
        let back = now + random.between(20, 900) * MS;
        self.schedule(back, Happening::RestAnswer { host, answer });
    }

    pub(crate) fn rest_answered(&mut self, host: usize, answer: RestAnswer) {
        self.saw(&format!("REST {}", answer.status));
        self.governor.rest_answered(self.hosts[host].rest, answer, MonoNs(self.now));
        self.hosts[host].rest_heard(answer, self.now);
    }
}

/// Where a table of streams begins in a world: how many are wanted at first, and how many more there are.
pub(crate) fn pool_size(is_crowd: bool, random: &mut Random) -> (usize, usize) {
    if is_crowd { (random.index(3) + 1, 1) } else { (random.index(26) + 4, random.index(8) + 1) }
}
