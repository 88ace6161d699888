//! Where the time of a core's stamped messages went, and what stamping them costs, as every output shows it.
//!
//! Filled by the engine; times are nanoseconds of the whole run.

use super::snapshot::Percentiles;
use serde::{Deserialize, Serialize};

/// One stage's times.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct StageTimes {
    /// How many were measured.
    pub count: u64,
    /// Their percentiles; zero of none.
    #[serde(flatten)]
    pub ns: Percentiles,
}

/// The stages of a message's way, over all connections of one core, in its order.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct StageReport {
    /// From the kernel's stamp of the read's last segment, on CLOCK_REALTIME, to the return of the read. Of every read,
    /// where `kernel_stamps` is on.
    pub kernel_to_read_ns: StageTimes,
    /// Over TLS: from the return of the read to the record opened. Of reads whose first message is stamped.
    pub read_to_decrypted_ns: StageTimes,
    /// From the return of the read to the frame found, behind the messages that came with the same read.
    pub read_to_framed_ns: StageTimes,
    /// From there to the message's first event, decoded.
    pub framed_to_decoded_ns: StageTimes,
    /// From there to the return of the message's last handler, with the decoding of its other events.
    pub decoded_to_handled_ns: StageTimes,
    /// Kernel stamps later than our own: a clock is off. They count as 0.
    pub kernel_ahead: u64,
}

impl StageReport {
    /// Each stage's name, its times and what they are from and to.
    #[must_use]
    pub fn all(&self) -> [(&'static str, &StageTimes, &'static str); 5] {
        [
            (
                "kernel to read",
                &self.kernel_to_read_ns,
                "the kernel's stamp of the read's last segment (CLOCK_REALTIME), to the return of the read",
            ),
            ("read to decrypted", &self.read_to_decrypted_ns, "to the TLS record opened, behind those before it"),
            ("read to framed", &self.read_to_framed_ns, "to the frame found, behind the messages of the same read"),
            ("framed to decoded", &self.framed_to_decoded_ns, "to the first event, about to be handed over"),
            ("decoded to handled", &self.decoded_to_handled_ns, "to the return of the last handler"),
        ]
    }
}

/// What stamping costs on one core, measured on its thread before its loop began.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct StampReport {
    /// One message of a connection in this many is stamped; 0: none.
    pub every: u64,
    /// One reading of the processor's counter.
    pub counter_ns: f64,
    /// All that a stamped message pays, its histograms in the cache.
    pub hot_ns: f64,
    /// The same where they are in memory only; `null` where the processor cannot say.
    pub cold_ns: Option<f64>,
}

impl std::fmt::Display for StampReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.every {
            0 => f.write_str("no message is stamped; one that were would pay ")?,
            1 => f.write_str("every message is stamped and pays ")?,
            every => write!(f, "one message in {every} is stamped and pays ")?,
        }
        write!(f, "{:.0} ns", self.hot_ns)?;
        if let Some(cold_ns) = self.cold_ns {
            write!(f, ", {cold_ns:.0} ns with cold caches")?;
        }
        write!(f, "; one reading of the counter {:.1} ns", self.counter_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stages_count_stands_beside_its_percentiles() {
        let times = StageTimes { count: 3, ns: Percentiles { p50: 1, p99: 2, p999: 3, max: 4 } };
        let json = serde_json::to_string(&times).unwrap();
        assert_eq!(json, r#"{"count":3,"p50":1,"p99":2,"p999":3,"max":4}"#);
        assert_eq!(serde_json::from_str::<StageTimes>(&json).unwrap(), times);
    }

    #[test]
    fn what_stamping_costs_is_said_in_words_whatever_is_stamped_and_known() {
        let mut report = StampReport { every: 64, counter_ns: 8.24, hot_ns: 41.6, cold_ns: Some(401.0) };
        let words =
            "one message in 64 is stamped and pays 42 ns, 401 ns with cold caches; one reading of the counter 8.2 ns";
        assert_eq!(report.to_string(), words);
        (report.every, report.cold_ns) = (1, None);
        assert_eq!(report.to_string(), "every message is stamped and pays 42 ns; one reading of the counter 8.2 ns");
        report.every = 0;
        assert!(report.to_string().starts_with("no message is stamped; one that were would pay 42 ns;"));
    }
}
