//! Holds the rooms to their floors: a room uses the rooms below it, never one beside or above it.
//!
//! Reads the sources, not the compiler's mind: every path from the crate's root (`crate::room`, `use crate::{a, b}`, and
//! `super::` chains that reach the root) is a use. Comments and texts in quotes are not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The floors, top to bottom. Rooms on one floor do not see each other.
const FLOORS: [&[&str]; 9] = [
    &["main"],
    // `prelude` is a list of names for programs: on top of the engine, and used by no room.
    &["cli", "prelude"],
    &["engine"],
    &["config", "net", "telemetry", "strategy", "gateway", "sim"],
    &["control", "hot"],
    &["venue"],
    &["book"],
    &["market"],
    &["limits"],
];

/// The second, independent reading of the venues' protocols: it uses less than its floor would allow.
const SIM_USES: [&str; 2] = ["market", "limits"];

/// Modules written inside a file, one in the other: `mod tests { mod helpers {} }`.
const NESTED_MODULES_MAX: usize = 2;

/// Lines of a file, at most.
const FILE_LINES_MAX: usize = 900;

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn may_use(room: &str, used: &str) -> bool {
    if room == used {
        return true;
    }
    if room == "sim" {
        return SIM_USES.contains(&used);
    }
    matches!((floor(room), floor(used)), (Some(upper), Some(lower)) if upper < lower)
}

/// The source without comments and without what stands in quotes; line ends stay.
fn code_of(source: &str) -> String {
    let bytes: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < bytes.len() {
        let next = bytes.get(at + 1).copied();
        match bytes[at] {
            '/' if next == Some('/') => {
                while at < bytes.len() && bytes[at] != '\n' {
                    at += 1;
                }
            }
            '/' if next == Some('*') => {
                at += 2;
                while at < bytes.len() && !(bytes[at] == '*' && bytes.get(at + 1) == Some(&'/')) {
                    at += 1;
                }
                at += 2;
            }
            'r' if raw_string_end(&bytes, at).is_some() => at = raw_string_end(&bytes, at).expect("just seen"),
            '"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != '"' {
                    at += if bytes[at] == '\\' { 2 } else { 1 };
                }
                at += 1;
            }
            // A character in quotes; a lifetime has no closing quote two or three further on.
            '\'' if next == Some('\\') => {
                at += 3;
                while at < bytes.len() && bytes[at] != '\'' {
                    at += 1;
                }
                at += 1;
            }
            '\'' if bytes.get(at + 2) == Some(&'\'') => at += 3,
            character => {
                code.push(character);
                at += 1;
            }
        }
    }
    code
}

/// Where a raw string that starts at `at` ends, if one starts there.
fn raw_string_end(bytes: &[char], at: usize) -> Option<usize> {
    if at > 0 && (bytes[at - 1].is_alphanumeric() && bytes[at - 1] != 'b' || bytes[at - 1] == '_') {
        return None;
    }
    let hashes = bytes[at + 1..].iter().take_while(|&&character| character == '#').count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&'"') {
        return None;
    }
    let mut end = open + 1;
    while end < bytes.len() {
        if bytes[end] == '"' && bytes[end + 1..].iter().take(hashes).filter(|&&next| next == '#').count() == hashes {
            return Some(end + 1 + hashes);
        }
        end += 1;
    }
    Some(bytes.len())
}

/// Names that follow `prefix`, alone or as the first segments of a group in braces.
fn names_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut from = 0;
    while let Some(found) = code[from..].find(prefix) {
        let start = from + found;
        from = start + prefix.len();
        let is_whole = !code[..start].ends_with(|before: char| before.is_alphanumeric() || "_:$".contains(before));
        if is_whole {
            first_segments(code[from..].trim_start(), &mut names);
        }
    }
    names
}

fn first_segments(path: &str, names: &mut BTreeSet<String>) {
    let Some(group) = path.strip_prefix('{') else {
        names.extend(identifier(path));
        return;
    };
    let (mut depth, mut item) = (0_usize, String::new());
    for character in group.chars() {
        match character {
            ',' | '}' if depth == 0 => {
                names.extend(identifier(item.trim()));
                item.clear();
                if character == '}' {
                    return;
                }
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        item.push(if character == ',' && depth == 0 { ' ' } else { character });
    }
}

fn identifier(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The rooms a file uses. `depth`: how many modules its own path has (`hot/core.rs`: 2, `hot/mod.rs`: 1).
fn rooms_used(source: &str, depth: usize) -> BTreeSet<String> {
    let code = code_of(source);
    let mut used = names_after(&code, "crate::");
    used.extend(names_after(&code, "tickwire::"));
    // A chain this long reaches the crate's root; a longer one does from the modules written inside the file.
    for nested in 0..=NESTED_MODULES_MAX {
        used.extend(names_after(&code, &"super::".repeat(depth + nested)));
    }
    used.retain(|name| floor(name).is_some());
    used
}

/// Ways to reach a room without naming it, which would hide it from this test.
fn hides_its_uses(source: &str) -> bool {
    let code = code_of(source);
    ["crate::*", "tickwire::*", "use crate as ", "crate::{self", "extern crate self"]
        .iter()
        .any(|way| code.contains(way))
}

/// What one file has against it.
fn faults(path: &Path, source: &str) -> Vec<String> {
    let (room, depth) = place(path);
    let mut faults = Vec::new();
    if floor(&room).is_none() {
        faults.push(format!("{}: `{room}` has no floor", path.display()));
    }
    if hides_its_uses(source) {
        faults
            .push(format!("{}: the crate's root is used as a whole, so that its rooms cannot be seen", path.display()));
    }
    for used in rooms_used(source, depth) {
        if !may_use(&room, &used) {
            faults.push(format!("{}: `{room}` may not use `{used}`", path.display()));
        }
    }
    let lines = source.lines().count();
    if lines > FILE_LINES_MAX {
        faults.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", path.display()));
    }
    faults
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source below `src`, as its path from there and its text.
fn house() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    assert!(found.len() > 10, "the sources are where this test looks");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path.strip_prefix(&root).expect("below the root").to_owned(), text)
    };
    found.into_iter().map(read).collect()
}

/// The room of a file, and the depth of its module.
fn place(path: &Path) -> (String, usize) {
    let mut segments: Vec<String> =
        path.with_extension("").iter().map(|segment| segment.to_string_lossy().into_owned()).collect();
    if segments.last().is_some_and(|last| last == "mod") {
        segments.pop();
    }
    (segments[0].clone(), segments.len())
}

#[test]
fn every_room_uses_only_the_rooms_below_it_and_no_file_is_longer_than_a_reader_can_hold() {
    let is_root = |path: &Path| path == Path::new("lib.rs");
    let faults: Vec<String> =
        house().iter().filter(|(path, _)| !is_root(path)).flat_map(|(path, text)| faults(path, text)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_file_that_breaks_the_rules_is_named_with_each_of_its_faults() {
    let text = format!(
        "use crate::market::Trade;\nuse crate::control::Session;\nmod tests {{\n    use super::super::super::net;\n}}\n{}",
        "\n".repeat(FILE_LINES_MAX)
    );
    assert_eq!(
        faults(Path::new("hot/made_up.rs"), &text),
        [
            "hot/made_up.rs: `hot` may not use `control`",
            "hot/made_up.rs: `hot` may not use `net`",
            "hot/made_up.rs: 905 lines, at most 900"
        ]
    );
    assert_eq!(faults(Path::new("attic.rs"), ""), ["attic.rs: `attic` has no floor"]);
    assert_eq!(
        faults(Path::new("sim/mod.rs"), "use crate::venue::Decoder;"),
        ["sim/mod.rs: `sim` may not use `venue`"]
    );
    assert_eq!(faults(Path::new("hot/mod.rs"), "use super::prelude::*;"), ["hot/mod.rs: `hot` may not use `prelude`"]);
    for hidden in ["use crate::*;", "use crate as house;", "use crate::{self as house};"] {
        assert_eq!(faults(Path::new("cli/mod.rs"), hidden).len(), 1, "{hidden}");
    }
    assert!(faults(Path::new("hot/made_up.rs"), "use crate::venue::Decoder;\nuse super::ring;").is_empty());
}

#[test]
fn a_use_is_seen_in_every_form_it_can_take() {
    let used = |source: &str| rooms_used(source, 2).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(used("use crate::control::Session;"), "control");
    assert_eq!(used("use crate::{limits, net::{self, connect}, market::Venue};"), "limits market net");
    assert_eq!(used("fn f() -> crate::hot::Core { crate::net::dial() }"), "hot net");
    assert_eq!(used("use super::super::control::Session;"), "control");
    assert_eq!(used("use crate::{\n    hot::{\n        Core,\n    },\n};\nuse crate::sim;"), "hot sim");
    assert_eq!(used("let c = '\"'; use crate::hot::A; let d = '\\''; use crate::net::B;"), "hot net");
    assert_eq!(used("fn f<'a>(x: &'a str) -> crate::hot::Core<'a>"), "hot");
    assert_eq!(used("use tickwire::cli;"), "cli");
}

#[test]
fn what_only_looks_like_a_use_is_none() {
    for source in [
        "// use crate::control::Session;",
        "/* crate::control */ fn f() {}",
        "/// [`crate::control::Session`]\nfn f() {}",
        "let text = \"crate::control\";",
        "let text = r#\"a \" crate::control\"#;",
        "use other_crate::control::Session;",
        "use super::control::Session;",
        "$crate::control!()",
    ] {
        assert_eq!(rooms_used(source, 2), BTreeSet::new(), "{source}");
    }
}

#[test]
fn the_table_forbids_what_the_house_forbids() {
    for (room, used) in
        [("hot", "control"), ("control", "hot"), ("net", "config"), ("sim", "venue"), ("market", "venue")]
    {
        assert!(!may_use(room, used), "{room} uses {used}");
    }
    for (room, used) in [("hot", "venue"), ("net", "control"), ("sim", "market"), ("cli", "engine"), ("engine", "sim")]
    {
        assert!(may_use(room, used), "{room} uses {used}");
    }
}
