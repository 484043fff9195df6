//! The lines of an import, read by a separate thread, because a pipe may block the reader.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::failure::Failure;
use crate::text::without_mark;

/// The longest line, in bytes: longer than any valid body needs.
const LONGEST: u64 = 16 << 20;
/// The number of lines that are read ahead.
const AHEAD: usize = 64;
/// How long to wait for a line before the earlier ones are written.
const PAUSE: Duration = Duration::from_millis(100);

/// A line that is not blank.
#[derive(Debug)]
pub(super) struct Line {
    /// Counted from 1, blank lines too.
    pub(super) number: u64,
    /// Without blanks and line breaks around it.
    pub(super) text: Vec<u8>,
}

/// The lines that are not blank.
pub(super) struct Lines {
    read: Receiver<Result<Line, Failure>>,
}

impl Lines {
    /// Begins to read a file, or standard input if it is `-`.
    pub(super) fn open(file: &Path) -> Result<Self, Failure> {
        let source = source(file)?;
        let (to, read) = channel(AHEAD);
        std::thread::spawn(move || read_all(source, &to));
        Ok(Self { read })
    }

    /// Returns the next line; none at the end, and, if `has_work`, also if no line arrives within
    /// [`PAUSE`].
    pub(super) async fn next(&mut self, has_work: bool) -> Result<Option<Line>, Failure> {
        if !has_work {
            return self.read.recv().await.transpose();
        }
        match tokio::time::timeout(PAUSE, self.read.recv()).await {
            Ok(line) => line.transpose(),
            Err(_) => Ok(None),
        }
    }

    /// Returns whether there are no more lines.
    pub(super) fn has_ended(&self) -> bool {
        self.read.is_closed() && self.read.is_empty()
    }
}

fn source(file: &Path) -> Result<Box<dyn BufRead + Send>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let about = |e: io::Error| Failure::from(e).about(file.display());
    let opened = File::open(file).map_err(about)?;
    if opened.metadata().map_err(about)?.is_dir() {
        let what = "it is a folder; `import` reads one file, or standard input if that is -";
        return Err(Failure::failed(what).about(file.display()));
    }
    Ok(Box::new(BufReader::new(opened)))
}

fn read_all(mut source: Box<dyn BufRead + Send>, to: &Sender<Result<Line, Failure>>) {
    let mut number = 0;
    loop {
        number += 1;
        let line = match read_line(&mut source, number) {
            Ok(Some(text)) if text.is_empty() => continue,
            Ok(Some(text)) => Ok(Line { number, text }),
            Ok(None) => return,
            Err(failure) => Err(failure.about(format!("line {number}"))),
        };
        let is_last = line.is_err();
        if to.blocking_send(line).is_err() || is_last {
            return;
        }
    }
}

fn read_line(source: &mut impl BufRead, number: u64) -> Result<Option<Vec<u8>>, Failure> {
    let mut line = Vec::new();
    let read = source.take(LONGEST).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if read as u64 == LONGEST && !line.ends_with(b"\n") {
        return Err(Failure::failed(format!("it is longer than {LONGEST} bytes")));
    }
    let text = match number {
        1 => without_mark(&line).map_err(Failure::failed)?,
        _ => &line,
    };
    Ok(Some(text.trim_ascii().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> Vec<Result<(u64, String), String>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lines");
        std::fs::write(&file, bytes).unwrap();
        let mut lines = Lines::open(&file).unwrap();
        let mut found = Vec::new();
        while let Some(line) = lines.next(false).await.transpose() {
            let text = line.map(|l| (l.number, String::from_utf8_lossy(&l.text).into_owned()));
            found.push(text.map_err(|f| f.message().to_owned()));
        }
        assert!(lines.has_ended());
        found
    }

    #[tokio::test]
    async fn lines_are_numbered_as_editors_number_them() {
        let found = read(b"\xef\xbb\xbf\r\n a \r\n\n\tb").await;
        assert_eq!(found, [Ok((2, "a".to_owned())), Ok((4, "b".to_owned()))]);
    }

    #[tokio::test]
    async fn another_encoding_is_an_error_that_names_it() {
        let found = read(b"\xff\xfe{\0}\0").await;
        let [Err(what)] = &*found else { panic!("{found:?}") };
        assert!(what.starts_with("line 1: it is UTF-16"), "{what}");
    }
}
