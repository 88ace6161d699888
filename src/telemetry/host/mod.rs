//! What the host does to a hot core: facts from the kernel's files, what each costs, and the line that fixes it.
//!
//! ```text
//! Question (cores, how they wait) ─┐
//! /proc, /sys below a root (tree) ─┼─► cores, interrupts, memory, time, network, process ─► Findings ─► text | JSON | lines
//! the kernel's answers (live) ─────┘      a function a check: fact, level, fixes                text.rs        for a script
//! ```
//! Called by `tickwire doctor` and by the engine at its start, on the cold side. Reads only; changes nothing. What cannot be
//! read is `unknown` with the reason, never a guess. Costs are orders of magnitude, each with its source where it is written.

mod cores;
mod cpus;
mod interrupts;
mod live;
mod memory;
mod network;
mod process;
#[cfg(test)]
mod tests;
mod text;
mod time;
mod tree;

pub use cpus::{Cpus, parse_list, to_list};
pub use live::{ClockState, Coalescing, Live};
pub use process::MemoryLimit;
pub use text::{fix_lines, host_text};

use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;
use tree::{Tree, Unreadable};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Costs microseconds or more on the hot path, or makes a figure wrong.
    Bad,
    /// May cost, depending on what else the host does; or is worth knowing.
    Note,
    /// Cannot be read here.
    Unknown,
    /// As it should be.
    Ok,
}

impl Level {
    /// The word used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Note => "note",
            Self::Unknown => "unknown",
            Self::Ok => "ok",
        }
    }
}

/// What mends a finding.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fix {
    /// A value for a file of the kernel's. Lasts until the next boot.
    Write {
        /// The file.
        path: String,
        /// What is written into it.
        value: String,
        /// What it holds now: writing this undoes it.
        was: String,
        /// The kernel may refuse it and that is no fault: some interrupts cannot be moved.
        may_be_refused: bool,
    },
    /// Words for the kernel's command line. Takes a reboot.
    Boot {
        /// The words.
        words: String,
    },
    /// What only a person can do.
    Hand {
        /// In words, or a command.
        text: String,
    },
}

impl Fix {
    fn write(path: &str, value: impl Into<String>, was: impl Into<String>) -> Self {
        Self::Write { path: path.to_owned(), value: value.into(), was: was.into(), may_be_refused: false }
    }

    fn hand(text: impl Into<String>) -> Self {
        Self::Hand { text: text.into() }
    }

    /// The line that a person reads, and for a file types.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::Write { path, value, .. } => format!("echo {value} > {path}"),
            Self::Boot { words } => format!("kernel command line, then reboot: {words}"),
            Self::Hand { text } => text.clone(),
        }
    }
}

/// One answer.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// The check's name.
    pub check: &'static str,
    /// The hot cores it is about; empty for the whole machine.
    pub cpus: Cpus,
    /// How much it matters.
    pub level: Level,
    /// What is.
    pub fact: String,
    /// What it costs where it is not as it should be.
    pub cost: &'static str,
    /// What mends it.
    pub fixes: Vec<Fix>,
}

impl Finding {
    fn with(mut self, fix: Fix) -> Self {
        self.fixes.push(fix);
        self
    }

    fn with_all(mut self, fixes: impl IntoIterator<Item = Fix>) -> Self {
        self.fixes.extend(fixes);
        self
    }
}

/// Something that is looked at.
struct Check {
    name: &'static str,
    cost: &'static str,
}

impl Check {
    fn finding(&self, level: Level, fact: impl Into<String>) -> Finding {
        Finding { check: self.name, cpus: Cpus::new(), level, fact: fact.into(), cost: self.cost, fixes: Vec::new() }
    }

    fn ok(&self, fact: impl Into<String>) -> Finding {
        self.finding(Level::Ok, fact)
    }

    fn note(&self, fact: impl Into<String>) -> Finding {
        self.finding(Level::Note, fact)
    }

    fn bad(&self, fact: impl Into<String>) -> Finding {
        self.finding(Level::Bad, fact)
    }

    fn unknown(&self, why: impl Into<String>) -> Finding {
        self.finding(Level::Unknown, why)
    }

    /// What the answer gives, or that it cannot be had.
    fn answer(&self, answer: impl FnOnce() -> Result<Finding, Unreadable>) -> Finding {
        answer().unwrap_or_else(|error| self.unknown(error.to_string()))
    }
}

/// A hot core, as the checks see it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HotCore {
    /// Its CPU.
    pub cpu: usize,
    /// It never sleeps, so that whatever else its CPU does delays it; one that parks has given the CPU up anyway.
    pub spins: bool,
}

/// What is asked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Question {
    /// The hot cores.
    pub cores: Vec<HotCore>,
    /// CPUs that the process may use, where that is known: by default those of who asks.
    pub allowed: Option<Cpus>,
    /// CPUs of every other thread, where they are configured.
    pub cold_cores: Vec<usize>,
    /// Sockets that will be open, at most.
    pub sockets: usize,
    /// The largest receive buffer that a connection asks for.
    pub receive_buffer_bytes: Option<usize>,
}

impl Question {
    fn hot(&self) -> Cpus {
        self.cores.iter().map(|core| core.cpu).collect()
    }
}

/// All answers.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct HostReport {
    /// The hot cores asked about.
    pub cpus: Cpus,
    /// Those among them that spin.
    pub spinning: Cpus,
    /// Worst first; within a level in the order in which the checks are made.
    pub findings: Vec<Finding>,
}

impl HostReport {
    /// Findings of a level.
    #[must_use]
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    /// This report as one JSON object on one line, without the line's end.
    ///
    /// # Panics
    /// Never: every key is text and every value is a number, a text or a list of them.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain structs with text keys always serialise")
    }
}

/// What the checks look at.
struct Host<'a> {
    tree: Tree,
    question: &'a Question,
    live: &'a Live,
    hot: Cpus,
    /// CPUs for everything else; empty where none is left, or the kernel does not say.
    cold: Cpus,
    /// Read once for all cores: on a large machine they take megabytes and thousands of files.
    counted: Result<interrupts::Table, Unreadable>,
    interrupts: Result<Vec<interrupts::Interrupt>, Unreadable>,
}

/// What was read once, or why it was not.
fn known<T>(read: &Result<T, Unreadable>) -> Result<&T, Unreadable> {
    read.as_ref().map_err(|error| Unreadable::Other(error.to_string()))
}

/// CPUs that interrupts and kernel work can be moved to: online, no hot core, and neither isolated nor a hot core's sibling,
/// if any is left then.
fn cold_cpus(tree: &Tree, hot: &Cpus) -> Cpus {
    let online = tree.cpu_list("/sys/devices/system/cpu/online").unwrap_or_default();
    let cold: Cpus = online.difference(hot).copied().collect();
    let mut spared = tree.cpu_list("/sys/devices/system/cpu/isolated").unwrap_or_default();
    spared.extend(hot.iter().filter_map(|&cpu| cores::threads(tree, cpu).ok()).flatten());
    let rest: Cpus = cold.difference(&spared).copied().collect();
    if rest.is_empty() { cold } else { rest }
}

impl Host<'_> {
    fn any_spins(&self) -> bool {
        self.question.cores.iter().any(|core| core.spins)
    }
}

/// Makes every check. `root` is `/`, or a folder with a copy of a machine's `/proc` and `/sys`; `live` is what the kernel
/// says by other ways than files.
#[must_use]
pub fn examine(root: &Path, question: &Question, live: &Live) -> HostReport {
    let tree = Tree::new(root.to_owned());
    let hot = question.hot();
    let cold = cold_cpus(&tree, &hot);
    let (counted, interrupts) = (interrupts::Table::read(&tree), interrupts::read_interrupts(&tree));
    let host = Host { tree, question, live, hot, cold, counted, interrupts };
    let mut findings = Vec::new();
    for &core in &question.cores {
        let of_core = cores::check(&host, core).into_iter().chain(interrupts::check_core(&host, core));
        findings.extend(of_core.map(|finding| Finding { cpus: Cpus::from([core.cpu]), ..finding }));
    }
    let mut findings = merged(findings);
    findings.extend(interrupts::check(&host));
    findings.extend(memory::check(&host));
    findings.extend(time::check(&host));
    findings.extend(network::check(&host));
    findings.extend(process::check(&host));
    findings.sort_by_key(|finding| finding.level);
    let spinning = question.cores.iter().filter(|core| core.spins).map(|core| core.cpu).collect();
    HostReport { cpus: host.hot, spinning, findings }
}

/// The CPUs that the process of this tree may use: `Cpus_allowed_list` of the reader itself.
///
/// # Errors
/// Why they are not known.
pub fn allowed_cpus(root: &Path) -> Result<Cpus, String> {
    process::allowed(&Tree::new(root.to_owned())).map_err(|error| error.to_string())
}

/// How much memory the process of this tree may lock.
///
/// # Errors
/// Why it is not known.
pub fn memory_limit(root: &Path) -> Result<MemoryLimit, String> {
    process::memory_limit(&Tree::new(root.to_owned())).map_err(|error| error.to_string())
}

/// One finding for what is the same on several cores, in the order of the checks.
fn merged(findings: Vec<Finding>) -> Vec<Finding> {
    let mut all: Vec<Finding> = Vec::new();
    for finding in findings {
        let is_same = |other: &&mut Finding| {
            (other.check, other.level, &other.fact) == (finding.check, finding.level, &finding.fact)
        };
        let Some(same) = all.iter_mut().find(is_same) else {
            all.push(finding);
            continue;
        };
        same.cpus.extend(&finding.cpus);
        let new: Vec<Fix> = finding.fixes.into_iter().filter(|fix| !same.fixes.contains(fix)).collect();
        same.fixes.extend(new);
    }
    // What is found of one check stands together, whichever core came first.
    let order: Vec<&'static str> = all.iter().map(|finding| finding.check).collect();
    let mut seen = BTreeSet::new();
    let order: Vec<&'static str> = order.into_iter().filter(|check| seen.insert(*check)).collect();
    all.sort_by_key(|finding| order.iter().position(|check| *check == finding.check));
    all
}
