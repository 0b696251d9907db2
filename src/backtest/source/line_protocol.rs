//! Line protocol, timestamps in nanoseconds, as `influx_inspect export` and Telegraf write it.

use super::file::Lines;
use super::{Points, SourceError};
use crate::sample::Timestamp;
use crate::wire::line_protocol::{Line, lines};

/// What a line says that ends within a quoted text: the text goes on with the next line.
const OPEN_QUOTE: &str = "a quoted text is not closed";

/// Reads all lines. A comment, or one of the statements an export begins with (`CREATE DATABASE`),
/// is none.
pub(super) fn read(from: &mut Lines, points: &mut Points<'_>) -> Result<(), SourceError> {
    let mut text = String::new();
    while from.next(&mut text)? {
        loop {
            let wrong = match lines(&text).next() {
                None => break,
                Some(Ok(line)) => {
                    take(&line, from, points)?;
                    break;
                }
                Some(Err(error)) => error.message,
            };
            if is_statement(&text) {
                break;
            }
            if wrong != OPEN_QUOTE || !from.append(&mut text)? {
                return Err(from.wrong(wrong));
            }
        }
    }
    Ok(())
}

fn is_statement(text: &str) -> bool {
    text.starts_with("CREATE DATABASE ")
}

fn take(line: &Line<'_>, from: &Lines, points: &mut Points<'_>) -> Result<(), SourceError> {
    let Some(nanos) = line.timestamp else { return Err(from.wrong("there is no timestamp")) };
    let time = Timestamp::from_nanos(nanos);
    if !points.is_in_time(time) {
        return Ok(());
    }
    let tags: Vec<(&str, &str)> = line.tags.iter().map(|(k, v)| (&**k, &**v)).collect();
    for (field, value) in &line.fields {
        let Some(value) = value.number() else { continue };
        if let Some(series) = points.series(&line.measurement, field, &tags)? {
            points.push(time, series, value)?;
        }
    }
    Ok(())
}
