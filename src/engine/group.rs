//! The legs of one socket, as the cold side holds them together: their overlap on the core, their places in it, whose turn it
//! is to be replaced, where each is connected, and how the race stands.
//!
//! ```text
//! driver of leg 1 ──► Seat ──┐             begin: the overlap, once
//! driver of leg 2 ──► Seat ──┴─► Group ──► turn: one leg at a time has a successor, in the spare place
//!                                          race: who keeps losing       up: one that is up is enough
//! ```
//! Each driver knows its own leg alone; what they have to agree on is here, behind one lock: held for a moment,
//! and by who asks for its turn while its relay decides, which may ask the governor. The governor's lock is never held before it.

use super::overlap::next_id;
use super::shared::{CoreLink, Whole};
use crate::control::{Leg, Losing, Race, RaceCounts, RaceSettings, Relay};
use crate::hot::{Command, ConnectionStats, Joining, Overlap, OverlapProgress};
use crate::market::{EventKind, MonoNs, StreamKind, Venue};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;

/// See the module.
#[derive(Debug)]
pub(super) struct Group {
    /// The socket's name, without a leg's.
    name: String,
    venue: Venue,
    stream_kinds: BTreeSet<StreamKind>,
    failover: Duration,
    begun: OnceCell<Begun>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct Begun {
    id: u32,
    progress: Arc<OverlapProgress>,
}

#[derive(Debug)]
struct State {
    race: Race,
    /// Which legs are up.
    up: Vec<bool>,
    /// Legs whose drivers have ended.
    ended: usize,
    /// Who has a successor.
    turn: Option<usize>,
    /// The place that no leg has while nobody has a successor.
    spare: u8,
    /// Where each leg is connected.
    peers: Vec<Option<IpAddr>>,
}

/// One leg's part of its group. Owned by its driver.
#[derive(Debug)]
pub(super) struct Seat {
    group: Arc<Group>,
    leg: usize,
    /// Its sockets and their places: one, and while it has a successor two.
    places: Vec<(Leg, u8)>,
    /// It keeps losing: its successor goes elsewhere.
    is_losing: bool,
}

impl Group {
    /// A seat for each of `count` legs of the socket of this name, which carries these kinds of stream, or may later.
    pub(super) fn seats(
        name: &str,
        venue: Venue,
        stream_kinds: impl Iterator<Item = StreamKind>,
        (count, failover, race): (usize, Duration, RaceSettings),
    ) -> Vec<Seat> {
        // What has an identity may be subscribed later: it costs little that is not paid already.
        let identified = StreamKind::all().filter(|stream_kind| {
            matches!(stream_kind.kind(), EventKind::Trade | EventKind::AggTrade | EventKind::Quote | EventKind::Book)
        });
        let state = State {
            race: Race::new(race, count),
            up: vec![false; count],
            ended: 0,
            turn: None,
            spare: u8::try_from(count).expect("LEG_COUNT_MAX is small"),
            peers: vec![None; count],
        };
        let group = Arc::new(Self {
            name: name.to_owned(),
            venue,
            stream_kinds: stream_kinds.chain(identified).collect(),
            failover,
            begun: OnceCell::new(),
            state: Mutex::new(state),
        });
        let seat = |leg| {
            let place = u8::try_from(leg).expect("LEG_COUNT_MAX is small");
            Seat { group: Arc::clone(&group), leg, places: vec![(Leg::FIRST, place)], is_losing: false }
        };
        (0..count).map(seat).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Begins the overlap on the core, if no other leg did before: what is attached from here on comes behind it.
    ///
    /// Its tables are megabytes to be touched: not on a thread that other connections' timers need.
    pub(super) async fn begin(&self, core: &CoreLink) {
        let group = &self.group;
        let begin = async {
            let (id, venue, failover) = (next_id(), group.venue, group.failover);
            let stream_kinds = group.stream_kinds.clone();
            let made = tokio::task::spawn_blocking(move || Overlap::of_legs(id, venue, failover, stream_kinds));
            // Cancelled where the runtime ends: nothing is attached any more.
            let overlap = made.await.map_err(drop)?;
            let progress = overlap.progress();
            // A core that has ended takes no more commands: the engine is stopping.
            let _ = core.commands.send(Command::BeginOverlap(Box::new(overlap))).await;
            Ok::<_, ()>(Begun { id, progress })
        };
        let _ = group.begun.get_or_try_init(|| begin).await;
    }

    /// This leg is wanted no more. After the last of them the overlap ends.
    pub(super) async fn end(&self, core: &CoreLink) {
        let is_last = self.leave();
        if let Some(begun) = self.group.begun.get().filter(|_| is_last) {
            let _ = core.commands.send(Command::EndOverlap { id: begun.id }).await;
        }
    }

    /// Counts it as ended; true for the last. One that ends while it has a successor keeps the others from theirs no longer.
    fn leave(&self) -> bool {
        let mut state = self.group.lock();
        state.ended += 1;
        if state.turn == Some(self.leg) {
            state.turn = None;
            // Of its two places one is as good as the other.
            state.spare = self.places.last().map_or(state.spare, |&(_, place)| place);
        }
        state.ended == state.up.len()
    }

    /// The place of a socket, and how it joins: as the successor of the present one, if it is that.
    pub(super) fn joining(&self, leg: Leg, relay: &Relay) -> Option<(u8, Joining)> {
        let id = self.group.begun.get()?.id;
        let is_successor = relay.successor().is_some_and(|(successor, _)| successor == leg);
        let successor_of = is_successor.then(|| self.place(relay.current().0)).flatten();
        Some((self.place(leg)?, Joining { id, successor_of }))
    }

    fn place(&self, leg: Leg) -> Option<u8> {
        self.places.iter().find(|(known, _)| *known == leg).map(|&(_, place)| place)
    }

    /// Whose turn it is, held fast until the guard goes: whether a successor may come and that one does is one decision, or two
    /// legs at once would each find the turn free.
    pub(super) fn turn(&mut self) -> Turn<'_> {
        let state = self.group.lock();
        Turn { state, leg: self.leg, places: &mut self.places }
    }

    /// Gives back the place of whoever has gone, once one socket is left.
    pub(super) fn tidy(&mut self, relay: &Relay) {
        if self.places.len() < 2 || relay.is_rotating() || relay.machines().count() > 1 {
            return;
        }
        // A successor that was never told to connect had no socket.
        self.turn().give_back(relay.current().0);
    }

    /// Chained subscriptions that the successor has not joined yet; `None` where this leg has no successor.
    pub(super) fn unjoined(&self) -> Option<u32> {
        let has_turn = self.group.lock().turn == Some(self.leg);
        let unjoined = self.group.begun.get().filter(|_| has_turn)?.progress.unjoined.get();
        Some(u32::try_from(unjoined).unwrap_or(u32::MAX))
    }

    /// Where this leg should not connect to if it can help it: where the others are, and where it keeps losing.
    pub(super) fn avoided(&self) -> Vec<IpAddr> {
        let state = self.group.lock();
        let peers = state.peers.iter().enumerate().filter(|&(leg, _)| leg != self.leg || self.is_losing);
        peers.filter_map(|(_, peer)| *peer).collect()
    }

    /// It has a new socket, to there.
    pub(super) fn connected(&mut self, peer: IpAddr, stats: &ConnectionStats, now: MonoNs) {
        let mut state = self.group.lock();
        state.peers[self.leg] = Some(peer);
        state.race.renewed(self.leg, counts(stats), now);
        self.is_losing = false;
    }

    /// How the race stands; why this leg is to be replaced, if it is.
    pub(super) fn race(&mut self, stats: &ConnectionStats, now: MonoNs) -> Option<Losing> {
        let losing = self.group.lock().race.sample(self.leg, counts(stats), now)?;
        self.is_losing = true;
        Some(losing)
    }

    pub(super) fn set_race(&self, settings: RaceSettings) {
        self.group.lock().race.set_settings(settings);
    }

    /// This leg is up or not: the socket is, while one leg is.
    pub(super) fn tell(&self, is_up: bool, whole: &Whole) {
        let mut state = self.group.lock();
        state.up[self.leg] = is_up;
        if state.up.contains(&true) {
            whole.up(&self.group.name);
        } else {
            whole.down(&self.group.name);
        }
    }

    /// This leg has lost its socket. True if no other is up: nothing brings its streams now. Of legs that are lost at the same
    /// moment one hears so.
    pub(super) fn was_last_up(&self) -> bool {
        let mut state = self.group.lock();
        state.up[self.leg] = false;
        !state.up.contains(&true)
    }

    /// True while another leg is up.
    pub(super) fn is_backed_up(&self) -> bool {
        self.group.lock().up.iter().enumerate().any(|(leg, &is_up)| is_up && leg != self.leg)
    }

    /// This leg is missing to nobody any more.
    pub(super) fn forget(&self, whole: &Whole) {
        whole.forget(&self.group.name);
    }
}

/// Keeps the other legs of its group from taking the turn, for as long as it is there. From [`Seat::turn`].
#[derive(Debug)]
pub(super) struct Turn<'a> {
    state: MutexGuard<'a, State>,
    leg: usize,
    places: &'a mut Vec<(Leg, u8)>,
}

impl Turn<'_> {
    /// True while another leg has a successor.
    pub(super) fn is_held(&self) -> bool {
        self.state.turn.is_some_and(|leg| leg != self.leg)
    }

    /// Gives back every place but that of the one socket that is left, and with it the turn.
    fn give_back(&mut self, current: Leg) {
        for (_, place) in self.places.extract_if(.., |(leg, _)| *leg != current) {
            (self.state.spare, self.state.turn) = (place, None);
        }
    }

    /// Gives the spare place to the successor of `leader`, its one socket. The turn is not another leg's.
    pub(super) fn take(&mut self, leader: Leg, successor: Leg) {
        debug_assert!(!self.is_held(), "a relay that is held begins nothing");
        // A relay may begin anew at the moment at which what it did before is over.
        self.give_back(leader);
        self.state.turn = Some(self.leg);
        self.places.push((successor, self.state.spare));
    }
}

fn counts(stats: &ConnectionStats) -> RaceCounts {
    let lags = stats.lag.filled().map(|(_, count)| count).sum();
    RaceCounts { won: stats.won.get(), lost: stats.lost.get(), lag_ns: stats.lag_ns.get(), lags }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leg_that_ends_while_it_has_a_successor_gives_the_turn_and_the_spare_place_back() {
        let how = (3, Duration::from_secs(1), RaceSettings::default());
        let mut seats = Group::seats("socket", Venue::BinanceSpot, [StreamKind::TRADE].into_iter(), how);
        let next = Leg::FIRST.next();
        assert!(!seats[1].turn().is_held());
        seats[1].turn().take(Leg::FIRST, next);
        assert!(seats[0].turn().is_held() && !seats[1].turn().is_held(), "one at a time");
        assert!(!seats[2].leave(), "it had no turn to give back");
        assert!(seats[0].turn().is_held());
        let given_back = seats[1].places.clone();
        assert!(!seats[1].leave());
        assert!(!seats[0].turn().is_held());
        seats[0].turn().take(Leg::FIRST, next);
        let place = seats[0].places[1].1;
        assert!(given_back.iter().any(|&(_, free)| free == place) && seats[0].places[0].1 != place, "{place}");
        assert!(seats[0].leave(), "the last");
    }

    #[test]
    fn while_one_leg_decides_no_other_finds_the_turn_free() {
        let how = (2, Duration::from_secs(1), RaceSettings::default());
        let mut seats = Group::seats("socket", Venue::BybitLinear, [StreamKind::TRADE].into_iter(), how);
        let [first, second] = &mut seats[..] else { panic!("two legs") };
        let mut turn = first.turn();
        assert!(!turn.is_held());
        assert!(second.group.state.try_lock().is_err(), "it would be free for this one, too");
        turn.take(Leg::FIRST, Leg::FIRST.next());
        drop(turn);
        assert!(second.turn().is_held());
    }

    #[test]
    fn a_leg_that_is_replaced_anew_before_its_turn_was_given_back_has_two_places_and_the_others_theirs() {
        let how = (2, Duration::from_secs(1), RaceSettings::default());
        let mut seats = Group::seats("socket", Venue::BybitLinear, [StreamKind::TRADE].into_iter(), how);
        let (second, third) = (Leg::FIRST.next(), Leg::FIRST.next().next());
        seats[0].turn().take(Leg::FIRST, second);
        // The first has gone, and the second is followed at once.
        seats[0].turn().take(second, third);
        let places: BTreeSet<u8> = seats.iter().flat_map(|seat| &seat.places).map(|&(_, place)| place).collect();
        assert_eq!(places.len(), 3, "each place once: {seats:?}");
        assert_eq!(seats[0].places.iter().map(|&(leg, _)| leg).collect::<Vec<_>>(), [second, third]);
        assert!(seats[1].turn().is_held());
    }
}
