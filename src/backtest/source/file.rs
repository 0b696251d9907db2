//! Files: read line by line, compressed or not, and sorted in memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::points::Sorted;
use super::{Points, SourceError, Wanted, csv, line_protocol};

/// Bytes of one line, quoted texts with line breaks included: a point has some hundred.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;

/// What every file compressed by gzip begins with (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A header, and a sample a line.
    Csv,
    /// InfluxDB's line protocol.
    Lines,
}

pub(super) fn read(path: &Path, form: Form, wanted: &Wanted<'_>) -> Result<Sorted, SourceError> {
    let is_stdin = path == Path::new("-");
    let shown = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
    let failed = |error: std::io::Error| SourceError::File(shown.clone(), error.to_string());
    let plain: Box<dyn Read> =
        if is_stdin { Box::new(stdin()) } else { Box::new(File::open(path).map_err(failed)?) };
    let mut plain = BufReader::new(plain);
    let is_gzip = plain.fill_buf().map_err(failed)?.starts_with(&GZIP);
    let text: Box<dyn BufRead> = if is_gzip {
        Box::new(BufReader::new(MultiGzDecoder::new(plain)))
    } else {
        Box::new(plain)
    };
    let mut points = Points::new(wanted.clone(), shown.clone(), stem(path));
    let mut lines = Lines { text, shown, number: 0, next: String::new() };
    match form {
        Form::Csv => csv::read(&mut lines, &mut points)?,
        Form::Lines => line_protocol::read(&mut lines, &mut points)?,
    }
    Ok(points.sorted())
}

/// The name of a file without what it ends in: the target of points that name none.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match name.split('.').next() {
        None | Some("" | "-") => "file".to_owned(),
        Some(stem) => stem.to_owned(),
    }
}

/// The lines of a file.
pub(super) struct Lines {
    text: Box<dyn BufRead>,
    shown: String,
    /// The line read last, from 1.
    number: u64,
    next: String,
}

impl Lines {
    /// Appends the next line, with its end; `false` where there is none.
    pub(super) fn append(&mut self, line: &mut String) -> Result<bool, SourceError> {
        let room = LINE_BYTES_MAX.saturating_sub(line.len());
        let mut bytes = std::mem::take(&mut self.next).into_bytes();
        bytes.clear();
        let read = (&mut self.text).take(room as u64 + 1).read_until(b'\n', &mut bytes);
        read.map_err(|error| SourceError::File(self.shown.clone(), error.to_string()))?;
        if bytes.is_empty() {
            return Ok(false);
        }
        self.number += 1;
        if bytes.len() > room {
            return Err(self.wrong(&format!("longer than {LINE_BYTES_MAX} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|_| self.wrong("not UTF-8"))?;
        line.push_str(&text);
        self.next = text;
        Ok(true)
    }

    /// Takes the next line; `false` where there is none.
    pub(super) fn next(&mut self, line: &mut String) -> Result<bool, SourceError> {
        line.clear();
        self.append(line)
    }

    /// What is wrong with the line read last.
    pub(super) fn wrong(&self, message: &str) -> SourceError {
        SourceError::Line(self.shown.clone(), self.number, message.to_owned())
    }
}
