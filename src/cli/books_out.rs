//! `run --books-out FILE`: every book at the end, one JSON object a line.
//!
//! ```text
//! start    make FILE.PID.part beside FILE          what cannot be written is known before anything is started
//! end      a few books ─► text ─► part, and again, and again ─► on the disk ─► renamed to FILE
//! ```
//! A reader never finds half of a file under its name: it finds the one from before, or the whole. What is no file (a pipe, a
//! device) cannot be renamed to, and is written as it is; a file that is our own standard output or error would be written by
//! two, and is refused. No more than a few books are in memory at a time.

use super::run_loop::EngineHandle;
use anyhow::Context as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes written at once: a book of 1,000 levels a side is about as long.
const BUFFER_BYTES: usize = 64 * 1024;

/// How often a long write is told of.
const TOLD_EVERY: Duration = Duration::from_secs(2);

/// A file to be. Dropped before it is whole, it leaves nothing behind; a process that is killed leaves its part.
#[derive(Debug)]
pub(super) struct BooksOut {
    /// As the operator named it.
    path: PathBuf,
    out: BufWriter<File>,
    /// Where it is written, and what that becomes; `None` where it is written in place.
    part: Option<Part>,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    target: PathBuf,
    /// It has its name, or is all there is: it is not removed.
    is_whole: bool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_whole {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Says from time to time how far a long write is.
struct Progress {
    tell_at: Instant,
    written: usize,
}

impl Progress {
    /// One more is written, and so many are still to come: what is to be said of it now.
    fn one_more(&mut self, left: usize, now: Instant) -> Option<String> {
        self.written += 1;
        if now < self.tell_at || left == 0 {
            return None;
        }
        self.tell_at = now + TOLD_EVERY;
        Some(format!("{} of {} books written", self.written, self.written + left))
    }
}

impl BooksOut {
    /// Makes what is to be written to.
    ///
    /// # Errors
    /// The system's, with the file's name.
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        Self::open(path).with_context(|| format!("--books-out {}", path.display()))
    }

    fn open(path: &Path) -> anyhow::Result<Self> {
        // A link stays one: what it names is replaced, or made.
        let target = fs::canonicalize(path).or_else(|_| {
            let named = fs::read_link(path).map(|named| path.parent().unwrap_or(Path::new("")).join(named));
            named.or_else(|_| io::Result::Ok(path.to_owned()))
        })?;
        let before = fs::metadata(&target).ok();
        if let Some(before) = &before {
            let is_ours = is_it(before, io::stdout().as_fd())? || is_it(before, io::stderr().as_fd())?;
            anyhow::ensure!(!(is_ours && before.is_file()), "that file is our standard output or error: name another");
        }
        if let Some(before) = before.as_ref().filter(|before| !before.is_file()) {
            anyhow::ensure!(!before.is_dir(), "it is a directory");
            let file = fs::OpenOptions::new().write(true).open(&target)?;
            return Ok(Self { path: path.to_owned(), out: BufWriter::with_capacity(BUFFER_BYTES, file), part: None });
        }
        let mut name = target.file_name().context("it names no file")?.to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let part = target.with_file_name(name);
        let file = File::create(&part).with_context(|| format!("{} cannot be made", part.display()))?;
        let part = Part { path: part, target, is_whole: false };
        if let Some(before) = before {
            file.set_permissions(before.permissions())?;
        }
        Ok(Self { path: path.to_owned(), out: BufWriter::with_capacity(BUFFER_BYTES, file), part: Some(part) })
    }

    /// Writes every book of an engine, and gives the file its name.
    ///
    /// # Errors
    /// The system's, with the file's name: under that is what was there before.
    pub(super) fn write(mut self, engine: &impl EngineHandle) -> anyhow::Result<()> {
        let path = std::mem::take(&mut self.path);
        self.write_all(engine, &path).with_context(|| format!("--books-out {}", path.display()))
    }

    fn write_all(mut self, engine: &impl EngineHandle, path: &Path) -> io::Result<()> {
        let mut written = Ok(());
        let mut progress = Progress { tell_at: Instant::now() + TOLD_EVERY, written: 0 };
        engine.for_each_book(&mut |book, left| {
            let line = serde_json::to_writer(&mut self.out, &book).map_err(io::Error::from);
            written = line.and_then(|()| self.out.write_all(b"\n"));
            if let Some(said) = progress.one_more(left, Instant::now()) {
                tracing::info!("--books-out {}: {said}", path.display());
            }
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        written?;
        self.out.flush()?;
        let Some(part) = &mut self.part else { return Ok(()) };
        // On the disk before it has its name: a machine that goes down leaves the one from before, or the whole.
        self.out.get_ref().sync_all()?;
        // Whatever becomes of the name: it cannot be had again.
        part.is_whole = true;
        fs::rename(&part.path, &part.target)
            .map_err(|error| io::Error::new(error.kind(), format!("{error}; all of it is in {}", part.path.display())))
    }
}

/// True if this is what the descriptor is of.
fn is_it(file: &fs::Metadata, descriptor: std::os::fd::BorrowedFd<'_>) -> io::Result<bool> {
    let other = File::from(descriptor.try_clone_to_owned()?).metadata()?;
    Ok((file.dev(), file.ino()) == (other.dev(), other.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{BookReport, Failure, Report};

    /// An engine with so many books, and how many of them were asked for.
    struct Engine(usize, std::cell::Cell<usize>);

    fn engine(books: usize) -> Engine {
        Engine(books, std::cell::Cell::new(0))
    }

    impl EngineHandle for Engine {
        fn report(&self) -> Report {
            Report::default()
        }

        fn failure(&self) -> Option<Failure> {
            None
        }

        fn for_each_book(&self, give: &mut dyn FnMut(BookReport, usize) -> ControlFlow<()>) {
            for number in 0..self.0 {
                self.1.set(number + 1);
                if give(book(number), self.0 - number - 1).is_break() {
                    return;
                }
            }
        }

        fn stop(self) -> Report {
            Report::default()
        }
    }

    fn book(number: usize) -> BookReport {
        let level = ["1.5".to_owned(), number.to_string()];
        BookReport { symbol: format!("S{number}"), bids: vec![level; 200], ..BookReport::default() }
    }

    /// A folder of one test's own, removed with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("tickwire-books-out-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let names = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_write_that_takes_long_says_every_two_seconds_how_far_it_is_and_a_short_one_says_nothing() {
        let began = Instant::now();
        let mut progress = Progress { tell_at: began + TOLD_EVERY, written: 0 };
        // A book every 0.3 s: the seventh comes after 2.1 s, the last after 4.2.
        let moments = (1..=14).map(|at| began + Duration::from_millis(300) * at);
        let said: Vec<Option<String>> =
            moments.zip((0..14).rev()).map(|(now, left)| progress.one_more(left, now)).collect();
        let said: Vec<(usize, &str)> =
            said.iter().enumerate().filter_map(|(at, said)| Some((at + 1, said.as_deref()?))).collect();
        assert_eq!(said, [(7, "7 of 14 books written")], "and nothing with the last one");
    }

    #[test]
    fn a_reader_finds_what_was_there_before_until_all_of_it_is_there() {
        let folder = Folder::new("whole");
        let path = folder.0.join("books.jsonl");
        fs::write(&path, "before\n").unwrap();
        let out = BooksOut::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\n");
        assert_eq!(folder.names().len(), 2);
        out.write(&engine(300)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let books: Vec<BookReport> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(books, (0..300).map(book).collect::<Vec<_>>());
        assert!(text.ends_with("}\n"));
        assert_eq!(folder.names(), ["books.jsonl"], "nothing else is left");
    }

    #[test]
    fn a_file_that_comes_to_nothing_leaves_the_one_from_before_and_no_part() {
        let folder = Folder::new("nothing");
        let path = folder.0.join("books.jsonl");
        drop(BooksOut::create(&path).unwrap());
        assert!(folder.names().is_empty());
        fs::write(&path, "before\n").unwrap();
        drop(BooksOut::create(&path).unwrap());
        assert_eq!(folder.names(), ["books.jsonl"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\n");
    }

    #[test]
    fn books_that_cannot_be_given_their_name_are_kept_and_the_error_says_where() {
        let folder = Folder::new("kept");
        let path = folder.0.join("books.jsonl");
        let out = BooksOut::create(&path).unwrap();
        // The name is a folder's by now: nothing can be renamed to it.
        fs::create_dir(&path).unwrap();
        let error = format!("{:#}", out.write(&engine(3)).unwrap_err());
        assert!(error.starts_with(&format!("--books-out {}: ", path.display())), "{error}");
        let part = folder.names().into_iter().find(|name| name.ends_with(".part")).unwrap();
        assert!(error.ends_with(&part), "{error}");
        assert_eq!(fs::read_to_string(folder.0.join(part)).unwrap().lines().count(), 3);
    }

    #[test]
    fn a_link_to_what_is_not_there_stays_one_and_what_it_names_is_made() {
        let folder = Folder::new("dangling");
        let (path, target) = (folder.0.join("link"), folder.0.join("target"));
        std::os::unix::fs::symlink("target", &path).unwrap();
        BooksOut::create(&path).unwrap().write(&engine(2)).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap().lines().count(), 2);
    }

    #[test]
    fn a_disk_that_is_full_is_told_with_the_files_name_and_no_more_books_are_asked_for() {
        let path = Path::new("/dev/full");
        let engine = engine(10_000);
        let error = format!("{:#}", BooksOut::create(path).unwrap().write(&engine).unwrap_err());
        assert!(error.starts_with("--books-out /dev/full: "), "{error}");
        assert!(engine.1.get() < 100, "{} were asked for", engine.1.get());
    }

    #[test]
    fn what_is_no_file_is_written_in_place_and_stays_what_it_is() {
        BooksOut::create(Path::new("/dev/null")).unwrap().write(&engine(3)).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_link_stays_one_and_permissions_stay_what_they_were() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = Folder::new("link");
        let (path, target) = (folder.0.join("link"), folder.0.join("target"));
        fs::write(&target, "before\n").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&target, &path).unwrap();
        BooksOut::create(&path).unwrap().write(&engine(2)).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap().lines().count(), 2);
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_cannot_be_written_is_known_before_anything_is_started() {
        let folder = Folder::new("refused");
        for path in [folder.0.clone(), folder.0.join("none").join("books.jsonl"), PathBuf::from("/")] {
            let error = format!("{:#}", BooksOut::create(&path).unwrap_err());
            assert!(error.starts_with(&format!("--books-out {}: ", path.display())), "{error}");
        }
        assert!(folder.names().is_empty());
    }
}
