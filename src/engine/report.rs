//! From counters to the report: read by anyone, at any time.

use super::lanes::LaneHandle;
use super::status::SharedStatus;
use crate::control::{State, Status};
use crate::hot::lanes::{LaneCounts, LaneSettings, LaneStats, Policy};
use crate::hot::{BookStats, ConnectionStats, CoreStats, Histogram, Stages, StampCost};
use crate::market::{GapReason, StaleReason, Venue};
use crate::telemetry::{
    AgePercentiles, BooksReport, ConnectionReport, Failure, HotThreadReport, LaneReport, ListReport, Percentiles,
    Report, StageReport, StageTimes, StampReport, SubscriptionCounts, ThreadStats, is_counting, read_thread_stats,
};
use crate::venue::Reason;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One socket as the reports see it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) name: String,
    pub(super) venue: Venue,
    pub(super) transport: &'static str,
    pub(super) stats: Arc<ConnectionStats>,
    pub(super) status: SharedStatus,
}

impl Socket {
    /// True once it is closed for good.
    pub(super) fn is_over(&self) -> bool {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.has_failed || status.relay.as_ref().is_some_and(|relay| relay.machine.state == State::Closed)
    }

    /// Its name and its last error.
    pub(super) fn last_words(&self) -> String {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{}: {}", self.name, status.last_error.as_deref().unwrap_or("no error"))
    }
}

pub(super) fn report(
    elapsed: Duration,
    sockets: &[Arc<Socket>],
    cores: &[Thread],
    lanes: &[LaneHandle],
    (symbols, halted): (usize, bool),
    lists: Vec<ListReport>,
    failure: Option<Failure>,
) -> Report {
    Report {
        is_final: false,
        elapsed_s: elapsed.as_secs_f64(),
        connections: sockets.iter().map(|socket| connection(socket)).collect(),
        hot_threads: cores.iter().map(Thread::report).collect(),
        symbols,
        lanes: lanes.iter().map(|lane| lane_report(&lane.stats)).collect(),
        lists,
        halted,
        failure,
    }
}

fn connection(socket: &Socket) -> ConnectionReport {
    let stats = &*socket.stats;
    // Parts before their wholes: a message counts as a frame first, so no report shows more acks or events than frames
    // can account for.
    let (control_messages, events) = (stats.control_messages.get(), stats.events.get());
    let status = socket.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let machine = status.relay.as_ref().map(|relay| &relay.machine);
    let counters = status.relay.as_ref().map(|relay| relay.counters);
    let count = |of: fn(&Status) -> usize| machine.map_or(0, |machine| of(machine) as u64);
    ConnectionReport {
        name: socket.name.clone(),
        venue: socket.venue.name().to_owned(),
        state: match machine {
            Some(machine) => machine.state.name(),
            None if status.has_failed => "Closed",
            None => "Listing",
        }
        .to_owned(),
        transport: socket.transport.to_owned(),
        frames: stats.frames.get(),
        events,
        unparsed: stats.unparsed.get(),
        unrouted: stats.unrouted.get(),
        tier_two: stats.tier_two.get(),
        reconnects: machine.map_or(0, |machine| machine.reconnects),
        read_to_handler_ns: percentiles(&stats.read_to_handler),
        visit_gap_ns: percentiles(&stats.visit_gap),
        venue_age_ms: AgePercentiles::of_buckets(&stats.venue_age.filled(), stats.venue_age.max()),
        pings: stats.pings.get() + status.cold_pings,
        bytes: stats.bytes.get(),
        control_messages,
        unparsed_reasons: Reason::ALL
            .into_iter()
            .map(|reason| (reason.name().to_owned(), stats.reasons[reason as usize].get()))
            .filter(|&(_, count)| count > 0)
            .collect(),
        subscriptions: SubscriptionCounts {
            wanted: count(|machine| machine.wanted) + status.unlisted_streams as u64,
            active: count(|machine| machine.active),
            pending: count(|machine| machine.pending),
            refused: count(|machine| machine.refused) + status.unlisted_streams as u64,
        },
        losses: status.losses.iter().map(|(&name, &count)| (name.to_owned(), count)).collect(),
        control_dropped: stats.control_dropped.get(),
        control_unknown: machine.map_or(0, |machine| machine.unknown_control),
        last_control_unknown: machine.and_then(|machine| machine.last_unknown_control.clone()),
        acks_unmatched: machine.map_or(0, |machine| machine.subscriptions.acks_unmatched),
        ack_timeouts: machine.map_or(0, |machine| machine.subscriptions.timeouts),
        repeated: stats.repeated.get(),
        ahead: stats.ahead.get(),
        rotations: counters.map_or(0, |counters| counters.rotations + counters.takeovers),
        rotations_failed: counters.map_or(0, |counters| counters.rotations_failed),
        silent: machine.map_or(0, |machine| machine.liveness.silent as u64),
        silences: machine.map_or(0, |machine| machine.silences.never_spoke + machine.silences.stopped),
        resubscribes: machine.map_or(0, |machine| machine.silences.resubscribes),
        moves: machine.map_or(0, |machine| machine.silences.moves),
        from_the_future: stats.from_the_future.get(),
        window_evictions: stats.window_evictions.get(),
        gaps: GapReason::ALL
            .into_iter()
            .map(|reason| (reason.name().to_owned(), stats.gaps[reason as usize].get()))
            .filter(|&(_, count)| count > 0)
            .collect(),
        gaps_without_loss: stats.gaps_without_loss.get(),
        gaps_filled: stats.gaps_filled.get(),
        ids_missing: stats.ids_missing.get(),
        ids_refilled: stats.ids_refilled.get(),
        ids_not_refilled: status
            .not_refilled
            .iter()
            .map(|(&why, &count)| (why.to_owned(), count))
            .chain([("no_room".to_owned(), stats.refills_without_room.get())])
            .filter(|&(_, count)| count > 0)
            .collect(),
        ids_late: stats.ids_late.get(),
        ids_back: stats.ids_back.get(),
        refills_unneeded: stats.refills_unneeded.get() + stats.refills_repeated.get(),
        quotes_folded: stats.quotes_folded.get(),
        won: stats.won.get(),
        lost: stats.lost.get(),
        lag_ns: percentiles(&stats.lag),
        tls: status.opener.map(|opener| opener.name().to_owned()),
        tls_fallbacks: status.tls_fallbacks,
        key_updates: stats.key_updates.get(),
        tickets_dropped: stats.tickets_dropped.get(),
        last_error: status.last_error,
        samples: status.samples,
    }
}

/// One hot thread as the reports see it.
#[derive(Debug)]
pub(super) struct Thread {
    core: Arc<CoreStats>,
    /// What the kernel had counted when the loop began.
    at_start: Option<ThreadStats>,
    /// The last reading: the kernel forgets a thread that has ended.
    last: Mutex<Option<ThreadStats>>,
}

impl Thread {
    pub(super) fn new(core: Arc<CoreStats>) -> Self {
        let at_start = read_thread_stats(core.thread_id.load(Ordering::Relaxed)).ok();
        Self { core, at_start, last: Mutex::new(at_start) }
    }

    /// The CPU it is pinned to.
    pub(super) fn cpu(&self) -> usize {
        self.core.cpu
    }

    /// What the kernel has counted since its loop began; `None` where it does not say.
    pub(super) fn since_start(&self) -> Option<ThreadStats> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(now) = read_thread_stats(self.core.thread_id.load(Ordering::Relaxed)) {
            *last = Some(now);
        }
        self.at_start.zip(*last).map(|(start, now)| now.since(&start))
    }

    fn report(&self) -> HotThreadReport {
        let since_start = self.since_start();
        HotThreadReport {
            core: self.core.cpu,
            messages: self.core.messages.get(),
            allocations: is_counting().then(|| self.core.allocations.get()),
            page_faults: since_start.map(|since| since.page_faults()),
            involuntary_switches: since_start.map(|since| since.switches_involuntary),
            clock_error_ns_max: self.core.clock_error_ns_max.get(),
            clock_steps: self.core.clock_steps.get(),
            page_faults_major: since_start.map(|since| since.page_faults_major),
            voluntary_switches: since_start.map(|since| since.switches_voluntary),
            stages: stages(&self.core.stages),
            stamps: stamps(&self.core.stamp_cost),
            books: books(&self.core.books),
        }
    }
}

/// A core's books as every output has them.
pub(super) fn books(of: &BookStats) -> BooksReport {
    let reasons = StaleReason::ALL.into_iter().zip(&of.stale_by_reason);
    BooksReport {
        live: of.live.get(),
        waiting: of.waiting.get(),
        stale: of.stale.get(),
        applied: of.applied.get(),
        rebuilt: of.rebuilt.get(),
        skipped: of.skipped.get(),
        held: of.held.get(),
        ignored: of.ignored.get(),
        late: of.late.get(),
        hold_gaps: of.hold_gaps.get(),
        hold_overflows: of.hold_overflows.get(),
        beside: of.beside.get(),
        takeovers: of.takeovers.get(),
        without_book: of.without_book.get(),
        stale_reasons: reasons
            .map(|(reason, count)| (reason.name().to_owned(), count.get()))
            .filter(|&(_, count)| count > 0)
            .collect(),
    }
}

/// A core's stages as every output has them.
pub(super) fn stages(of: &Stages) -> StageReport {
    let times = |histogram: &Histogram| StageTimes {
        count: histogram.filled().map(|(_, count)| count).sum(),
        ns: percentiles(histogram),
    };
    StageReport {
        kernel_to_read_ns: times(&of.kernel_to_read),
        read_to_decrypted_ns: times(&of.read_to_decrypted),
        read_to_framed_ns: times(&of.read_to_framed),
        framed_to_decoded_ns: times(&of.framed_to_decoded),
        decoded_to_handled_ns: times(&of.decoded_to_handled),
        kernel_ahead: of.kernel_ahead.get(),
    }
}

/// What they cost.
pub(super) fn stamps(cost: &StampCost) -> StampReport {
    let ns = |ps: u64| ps as f64 / 1e3;
    StampReport {
        every: cost.every.get(),
        counter_ns: ns(cost.counter_ps.get()),
        hot_ns: ns(cost.hot_ps.get()),
        cold_ns: Some(cost.cold_ps.get()).filter(|&ps| ps > 0).map(ns),
    }
}

pub(super) fn lane_report(stats: &LaneStats) -> LaneReport {
    let LaneSettings { name, strategy, core, cpu, policy, slots, .. } = stats.settings();
    let LaneCounts { sent, delivered, dropped, replaced, too_long, waiting } = stats.counts();
    LaneReport {
        lane: name.clone(),
        strategy: strategy.clone(),
        core: *core,
        cpu: *cpu,
        policy: policy.name().to_owned(),
        holds_core: *policy == Policy::Block,
        slots: *slots,
        sent,
        delivered,
        dropped,
        replaced,
        too_long,
        waiting,
        waiting_max: stats.waiting_max(),
        blocked: stats.blocked(),
        blocked_ns: stats.blocked_ns(),
        unrouted: stats.unrouted(),
        hop_ns: percentiles(&stats.hop),
    }
}

pub(super) fn percentiles(compact: &Histogram) -> Percentiles {
    Percentiles::of_buckets(&compact.filled(), compact.max())
}
