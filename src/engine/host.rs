//! What the host does to this engine's hot cores: asked once at the start, on the cold side, and each thing that is bad is
//! one line of the log.

use super::affinity;
use crate::config::{Config, ConfigPlan, CoreConfig, Idle};
use crate::telemetry::host::{Finding, HostReport, HotCore, Level, Live, Question, examine, to_list};
use std::path::Path;

/// What a configuration asks of its host.
#[must_use]
pub fn host_question(config: &Config) -> Question {
    let cores: Vec<HotCore> = config.engine.cores.iter().map(hot_core).collect();
    let allowed = affinity::available_cpus().into_iter().chain(cores.iter().map(|core| core.cpu));
    Question {
        // An engine's hot threads are pinned by now, and the thread that asks may be confined to the cold cores.
        allowed: Some(allowed.collect()),
        cores,
        cold_cores: config.engine.cold_cores.clone(),
        sockets: ConfigPlan::new(config).sockets.len() + config.requests.len(),
        receive_buffer_bytes: config.connections.iter().filter_map(|of| of.socket.receive_buffer_bytes).max(),
    }
}

/// A core, as its host is asked about it.
#[must_use]
pub fn hot_core(core: &CoreConfig) -> HotCore {
    HotCore { cpu: core.cpu, spins: core.idle != Idle::Park }
}

/// Makes the checks of this machine, and warns of what is bad. Takes some milliseconds.
pub(super) fn warn(question: &Question) {
    let report = examine(Path::new("/"), question, &Live::here());
    for line in warnings(&report) {
        tracing::warn!("{line}");
    }
}

/// One line for each bad finding, with the first thing that mends it.
fn warnings(report: &HostReport) -> Vec<String> {
    let line = |finding: &Finding| {
        let cpus = match to_list(&finding.cpus) {
            none if none.is_empty() => String::new(),
            cpus => format!(" of CPU {cpus}"),
        };
        let more = match finding.fixes.len().saturating_sub(1) {
            0 => String::new(),
            count => format!(", and {count} more (`tickwire doctor`)"),
        };
        let fix = finding.fixes.first().map(|fix| format!("; fix: {}{more}", fix.line())).unwrap_or_default();
        format!("host: {}{cpus}: {}; {}{fix}", finding.check, finding.fact, finding.cost)
    };
    // What may be locked was found out by locking, and told (`memory`).
    let is_news = |finding: &&Finding| finding.level == Level::Bad && finding.check != "locked_memory";
    report.findings.iter().filter(is_news).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConnectionConfig;
    use crate::market::Venue;
    use std::collections::BTreeSet;

    #[test]
    fn the_question_is_the_configurations_cores_sockets_and_buffers() {
        let mut connection = ConnectionConfig::new("a", Venue::BinanceUsdm);
        connection = connection.subscribed_to(&["BTCUSDT"], &["bookTicker", "aggTrade"]).unwrap();
        connection.socket.receive_buffer_bytes = Some(1 << 20);
        let mut config = Config::from_connections(vec![connection]).unwrap();
        config.engine.cores = vec![CoreConfig { cpu: 3, idle: Idle::Spin, ..CoreConfig::new(3) }, CoreConfig::new(4)];
        config.engine.cold_cores = vec![0];
        let question = host_question(&config);
        assert_eq!(question.cores, [HotCore { cpu: 3, spins: true }, HotCore { cpu: 4, spins: false }]);
        assert_eq!((question.cold_cores.as_slice(), question.sockets), ([0].as_slice(), 2));
        assert_eq!(question.receive_buffer_bytes, Some(1 << 20));
        assert!(question.allowed.is_some_and(|cpus| cpus.contains(&3)));
    }

    #[test]
    fn only_what_is_bad_is_warned_of_and_each_is_one_line_with_its_fix() {
        let finding = |level, fixes| Finding {
            check: "isolation",
            cpus: BTreeSet::from([2, 3]),
            level,
            fact: "not isolated".into(),
            cost: "milliseconds",
            fixes,
        };
        let words = |words: &str| crate::telemetry::host::Fix::Boot { words: words.into() };
        let report = HostReport {
            cpus: BTreeSet::from([2, 3]),
            spinning: BTreeSet::new(),
            findings: vec![
                finding(Level::Bad, vec![words("isolcpus=2-3"), words("x")]),
                finding(Level::Bad, Vec::new()),
                Finding { check: "locked_memory", ..finding(Level::Bad, Vec::new()) },
                finding(Level::Note, vec![words("y")]),
                finding(Level::Unknown, Vec::new()),
                finding(Level::Ok, Vec::new()),
            ],
        };
        assert_eq!(
            warnings(&report),
            [
                "host: isolation of CPU 2-3: not isolated; milliseconds; fix: kernel command line, then reboot: \
                 isolcpus=2-3, and 1 more (`tickwire doctor`)",
                "host: isolation of CPU 2-3: not isolated; milliseconds",
            ]
        );
    }
}
