//! Holds the documents to the code: the strategy they show is the example, the keys and reasons they explain are those
//! that are printed, and every file and test they name is there.

use std::fs;
use std::path::{Path, PathBuf};
use tickwire::telemetry::{ConnectionReport, HotThreadReport, LaneReport, ListReport, Report, SampleReport};
use tickwire::venue::Reason;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands in the fenced block under a marker.
fn block<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    let behind = text.split_once(&format!("<!-- {marker} -->\n```"))?.1;
    let (_, code) = behind.split_once('\n')?;
    code.split_once("```").map(|(code, _)| code)
}

/// A program without the module documentation at its head.
fn program(source: &str) -> String {
    source
        .lines()
        .skip_while(|line| line.starts_with("//!") || line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Every text between single backticks, line by line, outside of fenced blocks.
fn quoted(text: &str) -> Vec<&str> {
    let mut is_fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

/// What a document names that is not there: files of this repository, and functions as `file.rs::function`.
fn missing(text: &str) -> Vec<String> {
    const FOLDERS: [&str; 8] = ["src/", "tests/", "benches/", "examples/", "configs/", "scripts/", "fuzz/", ".ci/"];
    let mut missing = Vec::new();
    for name in quoted(text) {
        let name = name.split(' ').next().unwrap_or_default();
        if !FOLDERS.iter().any(|folder| name.starts_with(folder)) || name.contains('*') {
            continue;
        }
        let (path, function) = name.split_once("::").map_or((name, None), |(path, function)| (path, Some(function)));
        match (fs::read_to_string(root().join(path)), function) {
            (Err(_), _) if !root().join(path).is_dir() => missing.push(format!("{path} is not there")),
            (Ok(source), Some(function)) if !source.contains(&format!("fn {function}(")) => {
                missing.push(format!("{path} has no `{function}`"));
            }
            _ => {}
        }
    }
    missing
}

/// Every key of a JSON value, at any depth, except below those whose keys are data.
fn keys(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (key, member) in members {
                found.push(key.clone());
                keys(member, found);
            }
        }
        serde_json::Value::Array(elements) => elements.iter().for_each(|element| keys(element, found)),
        _ => {}
    }
}

#[test]
fn the_strategy_in_the_readme_is_the_example() {
    let readme = read("README.md");
    let shown = block(&readme, "test:twenty_lines").expect("the block is there");
    assert_eq!(shown, program(&read("examples/twenty_lines.rs")));
}

#[test]
fn the_readme_begins_with_the_demo_and_the_tests_and_no_other_command() {
    let readme = read("README.md");
    let head = readme.split_once("\ntickwire is").expect("the first sentence").0;
    let blocks: Vec<&str> = head.split("```").skip(1).step_by(2).collect();
    assert_eq!(blocks, ["sh\ncargo run --release -- demo\n", "sh\ncargo test\n"]);
}

#[test]
fn every_key_and_every_reason_of_the_reports_is_explained() {
    let report = Report {
        connections: vec![ConnectionReport { samples: vec![SampleReport::default()], ..ConnectionReport::default() }],
        hot_threads: vec![HotThreadReport::default()],
        lanes: vec![LaneReport::default()],
        lists: vec![ListReport::default()],
        ..Report::default()
    };
    let mut names = Vec::new();
    keys(&serde_json::from_str(&report.to_json()).expect("a report is JSON"), &mut names);
    assert!(names.len() > 40, "a report has its keys: {names:?}");
    names.extend(Reason::ALL.iter().map(|reason| reason.name().to_owned()));
    let readme = read("README.md");
    let explained = quoted(&readme);
    names.retain(|name| !explained.iter().any(|quoted| quoted.trim_start_matches('.') == name));
    assert!(names.is_empty(), "README.md does not explain: {}", names.join(", "));
}

#[test]
fn the_configurations_in_the_readme_pass_the_check() {
    let readme = read("README.md");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut files = Vec::new();
    for (number, block) in readme.split("```toml\n").skip(1).enumerate() {
        let path = folder.join(format!("readme_{number}.toml"));
        fs::write(&path, block.split("```").next().expect("a block ends")).expect("a folder for tests");
        files.push(path);
    }
    assert_eq!(files.len(), 3, "one for each exchange, and the engine's");
    let config = tickwire::config::load(&files, None, &tickwire::strategy::NAMES).expect("they are right");
    assert_eq!(config.connections.len(), 2);
}

#[test]
fn every_file_and_test_the_documents_name_is_there() {
    for document in ["README.md", "SPRINTS.md", "CHANGELOG.md"] {
        let missing = missing(&read(document));
        assert!(missing.is_empty(), "{document}: {}", missing.join("; "));
    }
}

#[test]
fn the_sources_keep_what_these_tests_look_for() {
    assert_eq!(block("a\n<!-- x -->\n```rust\nfn f() {}\n```\nb", "x"), Some("fn f() {}\n"));
    assert_eq!(block("<!-- y -->\n```rust\nfn f() {}\n```\n", "x"), None);
    assert_eq!(program("//! a\n\nuse b;\n"), "use b;\n");
    assert_eq!(quoted("`a` b `c`\n```\n`d`\n```\n`e`"), ["a", "c", "e"]);
    assert_eq!(
        missing("`src/lib.rs`, `src`, `tests/`, `benches/*.rs`, `tests/readme.rs::quoted`"),
        Vec::<String>::new()
    );
    assert_eq!(
        missing("`src/none.rs` and `tests/readme.rs::nobody`"),
        ["src/none.rs is not there", "tests/readme.rs has no `nobody`"]
    );
}
