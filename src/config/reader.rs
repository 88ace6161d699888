//! A typed reader over one TOML table: every key is asked for by name, and what nobody asked for is an unknown key.
//!
//! ```text
//! Source (a file's text) ──► Section (one table) ──► bool, count, millis, strings, ...   into the caller's default
//!                                               └──► finish(): the keys left over
//! ```
//! Called by `exchange` and `engine`. Checks types only; ranges are checked on the typed values (`check`), so that a
//! configuration built in code is held to them too. Never stops at the first error.

use super::ConfigError;
use super::check::shown_url;
use super::place::{Place, Places};
use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml_edit::{Document, Item, TableLike, Value};

/// Characters of a found value that an error repeats.
const FOUND_CHARS_MAX: usize = 60;

/// One file: its text, and what was wrong with it so far.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) file: PathBuf,
    text: String,
    errors: RefCell<Vec<ConfigError>>,
}

impl Source {
    /// Reads a file.
    pub(super) fn open(file: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(file) {
            Ok(text) => Ok(Self { file: file.to_owned(), text, errors: RefCell::default() }),
            Err(error) => Err(Place { file: Some(file.to_owned()), ..Place::default() }
                .error(error, "a TOML file that can be read, in UTF-8")),
        }
    }

    /// A text that is in no file: its relative paths are relative to where the process runs, and errors call it `name`.
    pub(super) fn of_text(name: &str, text: &str) -> Self {
        Self { file: PathBuf::from(name), text: text.to_owned(), errors: RefCell::default() }
    }

    /// Parses the text; a mistake in the syntax is an error with its line.
    pub(super) fn document(&self) -> Option<Document<&str>> {
        match Document::parse(self.text.as_str()) {
            Ok(document) => Some(document),
            Err(error) => {
                let line = error.span().map(|span| self.line(span.start));
                let place = Place { file: Some(self.file.clone()), line, key: String::new() };
                let found = format!("no TOML: {}", error.message().trim().replace('\n', "; "));
                self.push(place.error(found, "TOML 1.0 (`key = value`, `[table]`, `[[list of tables]]`)"));
                None
            }
        }
    }

    /// The folder against which the paths in this file are relative.
    pub(super) fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    pub(super) fn push(&self, error: ConfigError) {
        self.errors.borrow_mut().push(error);
    }

    pub(super) fn into_errors(self) -> Vec<ConfigError> {
        self.errors.into_inner()
    }

    /// A place in this file.
    pub(super) fn place(&self, line: usize, key: impl Into<String>) -> Place {
        Place { file: Some(self.file.clone()), line: Some(line), key: key.into() }
    }

    /// Line, from 1, of a byte offset.
    fn line(&self, offset: usize) -> usize {
        let end = offset.min(self.text.len());
        1 + self.text.as_bytes()[..end].iter().filter(|&&byte| byte == b'\n').count()
    }

    /// What stands in a span, short enough for an error.
    fn quote(&self, span: Option<Range<usize>>) -> String {
        let text = span.and_then(|span| self.text.get(span)).unwrap_or("").trim();
        let line = text.lines().next().unwrap_or("");
        if line.len() == text.len() && line.chars().count() <= FOUND_CHARS_MAX {
            return line.to_owned();
        }
        line.chars().take(FOUND_CHARS_MAX).collect::<String>() + " ..."
    }
}

/// One table of a file.
pub(super) struct Section<'a> {
    pub(super) source: &'a Source,
    table: &'a dyn TableLike,
    /// Line of the table's header.
    pub(super) line: usize,
    /// Dotted path for errors: `connection[binance-spot-a].socket`.
    path: String,
    /// Dotted path inside the connection, for [`Places`]: `socket`.
    inner: String,
    places: &'a RefCell<Places>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// A table whose keys' places go to `places`.
    pub(super) fn new(
        source: &'a Source,
        table: &'a dyn TableLike,
        line: usize,
        path: impl Into<String>,
        places: &'a RefCell<Places>,
    ) -> Self {
        Self { source, table, line, path: path.into(), inner: String::new(), places, known: Vec::new() }
    }

    /// Where this table itself stands.
    pub(super) fn here(&self) -> Place {
        self.source.place(self.line, self.path.clone())
    }

    /// True where the file gives this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn joined(before: &str, key: &str) -> String {
        if before.is_empty() { key.to_owned() } else { format!("{before}.{key}") }
    }

    /// Line of a key, of its value where the key has no place of its own, or of the table.
    fn line_of(&self, key: &str, item: &Item) -> usize {
        let span = self.table.key(key).and_then(toml_edit::Key::span).or_else(|| item.span());
        span.map_or(self.line, |span| self.source.line(span.start))
    }

    /// The item of a key, with its place remembered; from now on the key is a known one.
    pub(super) fn item(&mut self, key: &'static str) -> Option<(&'a Item, Place)> {
        self.known.push(key);
        self.any_item(key)
    }

    fn any_item(&self, key: &str) -> Option<(&'a Item, Place)> {
        let item = self.table.get(key)?;
        let place = self.source.place(self.line_of(key, item), Self::joined(&self.path, key));
        self.places.borrow_mut().insert(Self::joined(&self.inner, key), place.clone());
        Some((item, place))
    }

    /// The keys of a table whose keys are the operator's own words, with their items and places.
    pub(super) fn entries(&self) -> Vec<(&'a str, &'a Item, Place)> {
        let keys = self.table.iter().map(|(key, _)| key);
        keys.filter_map(|key| self.any_item(key).map(|(item, place)| (key, item, place))).collect()
    }

    /// Reports that an item is of the wrong type.
    pub(super) fn wrong_type(&self, item: &Item, place: &Place, allowed: &str) {
        let quoted = self.source.quote(item.span());
        let found = match item.type_name() {
            // What a table holds may be a secret, and its header says nothing.
            name @ ("table" | "inline table" | "array of tables") => format!("a {name}"),
            name if quoted.contains("://") => format!("{} (a value of type {name})", shown_url(&quoted)),
            name => format!("{quoted} (a value of type {name})"),
        };
        self.source.push(place.error(found, allowed));
    }

    fn value<T>(&mut self, key: &'static str, allowed: &str, convert: impl FnOnce(&Item) -> Option<T>) -> Option<T> {
        let (item, place) = self.item(key)?;
        let value = convert(item);
        if value.is_none() {
            self.wrong_type(item, &place, allowed);
        }
        value
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        self.value(key, "a text in quotes", |item| item.as_str().map(str::to_owned))
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str, into: &mut bool) {
        if let Some(value) = self.value(key, "true or false", Item::as_bool) {
            *into = value;
        }
    }

    /// A whole number, not negative.
    pub(super) fn count<T: TryFrom<i64>>(&mut self, key: &'static str, into: &mut T) {
        let read = |item: &Item| item.as_integer().and_then(|number| T::try_from(number).ok());
        if let Some(value) = self.value(key, "a whole number, not negative", read) {
            *into = value;
        }
    }

    /// A whole number of bytes.
    pub(super) fn bytes(&mut self, key: &'static str, into: &mut Option<usize>) {
        let read = |item: &Item| item.as_integer().and_then(|number| usize::try_from(number).ok());
        if let Some(value) = self.value(key, "a whole number of bytes, not negative", read) {
            *into = Some(value);
        }
    }

    /// A number, with or without a fraction.
    pub(super) fn ratio(&mut self, key: &'static str, into: &mut f64) {
        if let Some(value) = self.value(key, "a number", number) {
            *into = value;
        }
    }

    /// A whole number of milliseconds.
    pub(super) fn millis(&mut self, key: &'static str, into: &mut Duration) {
        let read = |item: &Item| item.as_integer().and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
        if let Some(value) = self.value(key, "a whole number of milliseconds, not negative", read) {
            *into = value;
        }
    }

    /// A whole number of milliseconds, of which 0 says `None`.
    pub(super) fn millis_or_off(&mut self, key: &'static str, into: &mut Option<Duration>) {
        let mut duration = into.unwrap_or_default();
        self.millis(key, &mut duration);
        *into = (!duration.is_zero()).then_some(duration);
    }

    /// A path, relative to the file it stands in.
    pub(super) fn path(&mut self, key: &'static str, into: &mut Option<PathBuf>) {
        if let Some(text) = self.text(key) {
            *into = Some(self.source.folder().join(text));
        }
    }

    /// A number of seconds, with or without a fraction.
    pub(super) fn seconds(&mut self, key: &'static str, into: &mut Duration) {
        let read = |item: &Item| number(item).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        if let Some(value) = self.value(key, "a number of seconds, not negative", read) {
            *into = value;
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)], into: &mut T) {
        let Some((item, place)) = self.item(key) else { return };
        let found = words.iter().find(|(word, _)| item.as_str() == Some(word));
        if let Some((_, value)) = found {
            *into = *value;
            return;
        }
        let names: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let allowed = format!("one of {}", names.join(", "));
        match item.as_str() {
            Some(_) => self.source.push(place.error(self.source.quote(item.span()), allowed)),
            None => self.wrong_type(item, &place, &allowed),
        }
    }

    /// The elements of a list, each with its place; `None` where the key is absent or no list.
    pub(super) fn list(&mut self, key: &'static str, allowed: &str) -> Option<Vec<(&'a Value, Place)>> {
        let (item, place) = self.item(key)?;
        let Some(array) = item.as_array() else {
            self.wrong_type(item, &place, allowed);
            return None;
        };
        let mut elements = Vec::with_capacity(array.len());
        for (index, value) in array.iter().enumerate() {
            let line = value.span().map_or(place.line.unwrap_or(self.line), |span| self.source.line(span.start));
            let element = self.source.place(line, format!("{}[{index}]", place.key));
            self.places.borrow_mut().insert(format!("{}[{index}]", Self::joined(&self.inner, key)), element.clone());
            elements.push((value, element));
        }
        Some(elements)
    }

    /// A list of texts. An element of another type is reported; `None` where the key is absent or anything was wrong.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let elements = self.list(key, "a list of texts: [\"...\", \"...\"]")?;
        let count = elements.len();
        let texts: Vec<String> = elements
            .into_iter()
            .filter_map(|(value, place)| {
                let text = value.as_str().map(str::to_owned);
                if text.is_none() {
                    let found = format!("{} (a value of type {})", self.source.quote(value.span()), value.type_name());
                    self.source.push(place.error(found, "a text in quotes"));
                }
                text
            })
            .collect();
        (texts.len() == count).then_some(texts)
    }

    /// The symbols of a text file, one a line; each is remembered with its line there.
    pub(super) fn symbols_of(&self, path: &Path, text: &str) -> Vec<String> {
        let mut symbols = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let symbol = line.split('#').next().unwrap_or("").trim();
            if symbol.is_empty() {
                continue;
            }
            let key = format!("symbols[{}]", symbols.len());
            let place = Place {
                file: Some(path.to_owned()),
                line: Some(index + 1),
                key: Self::joined(&self.path, "symbols_file"),
            };
            self.places.borrow_mut().insert(Self::joined(&self.inner, &key), place);
            symbols.push(symbol.to_owned());
        }
        symbols
    }

    /// A table below this one.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Section<'a>> {
        let (item, place) = self.item(key)?;
        let Some(table) = item.as_table_like() else {
            self.wrong_type(item, &place, "a table");
            return None;
        };
        let line = item.span().map_or(place.line.unwrap_or(self.line), |span| self.source.line(span.start));
        Some(Section {
            source: self.source,
            table,
            line,
            path: place.key,
            inner: Self::joined(&self.inner, key),
            places: self.places,
            known: Vec::new(),
        })
    }

    /// A list of tables, as `[[key]]` or as `key = [{ ... }]`: each table with its line.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<(&'a dyn TableLike, usize)> {
        let Some((item, place)) = self.item(key) else { return Vec::new() };
        if let Some(tables) = item.as_array_of_tables() {
            let line = |table: &toml_edit::Table| table.span().map_or(self.line, |span| self.source.line(span.start));
            return tables.iter().map(|table| (table as &dyn TableLike, line(table))).collect();
        }
        let inline = item.as_array().map(|array| {
            let table = |value: &'a Value| {
                let line = value.span().map_or(self.line, |span| self.source.line(span.start));
                value.as_inline_table().map(|table| (table as &dyn TableLike, line))
            };
            array.iter().map(table).collect::<Option<Vec<_>>>()
        });
        inline.flatten().unwrap_or_else(|| {
            self.wrong_type(item, &place, &format!("tables, each under a header [[{key}]]"));
            Vec::new()
        })
    }

    /// A table of a list of this section's tables, with its index in the path and in its places.
    pub(super) fn element(
        &self,
        key: &'static str,
        index: usize,
        table: &'a dyn TableLike,
        line: usize,
    ) -> Section<'a> {
        Section {
            source: self.source,
            table,
            line,
            path: Self::joined(&self.path, &format!("{key}[{index}]")),
            inner: Self::joined(&self.inner, &format!("{key}[{index}]")),
            places: self.places,
            known: Vec::new(),
        }
    }

    /// Reports every key nobody asked for, with the one that was probably meant.
    pub(super) fn finish(self) {
        for (key, item) in self.table.iter() {
            if self.known.contains(&key) {
                continue;
            }
            let place = self.source.place(self.line_of(key, item), Self::joined(&self.path, key));
            let meant = nearest(key, &self.known).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
            let allowed = format!("{meant}the keys here are {}", self.known.join(", "));
            self.source.push(place.error(format!("unknown key `{key}`"), allowed));
        }
    }
}

fn number(item: &Item) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "an operator's whole number of seconds or factor is far below 2^53")]
    item.as_float().or_else(|| item.as_integer().map(|whole| whole as f64))
}

/// The known word closest to `word`, if it is close enough to have been meant.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance_max = (word.chars().count() / 2).clamp(1, 3);
    let best = known.iter().map(|near| (edit_distance(word, near), *near)).min()?;
    (best.0 <= distance_max).then_some(best.1)
}

/// Levenshtein distance: insertions, deletions and replacements that lead from one word to the other.
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        let known = ["symbols", "symbols_file", "channels"];
        assert_eq!(nearest("symbol", &known), Some("symbols"));
        assert_eq!(nearest("chanels", &known), Some("channels"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn the_edit_distance_is_zero_only_for_equal_words_and_is_symmetric() {
        assert_eq!(edit_distance("batch", "batch"), 0);
        assert_eq!(edit_distance("batch", "bach"), 1);
        assert_eq!(edit_distance("bach", "batch"), 1);
        assert_eq!(edit_distance("", "core"), 4);
    }
}
