//! Walking columns of an agent: several at once, so that each answer is as full as it may be.

use std::borrow::Cow;
use std::cmp::Ordering;

use snmp2::{Value, snmp};

use super::session::{Reply, Request, Session};
use super::value::status_name;
use crate::pollers::{PollError, Reason};
use crate::wire::oid::{self, Oid};

/// Most rows of a table: an agent that makes up rows for ever ends here, as a failed poll.
pub(super) const ROWS_MAX: u32 = 20_000;

/// Where the walk along one column is.
struct Cursor<'a> {
    column: &'a Oid,
    /// The last OID the agent gave; before that, the column's own.
    last: Vec<u8>,
    rows: u32,
    done: bool,
}

/// Reads columns to their ends, and hands out each value with its column's place in `columns` and
/// its index, in the order of the rows within a column.
///
/// `rows` is how many there probably are, and `per_request` how many values to ask for at once.
/// A column that ends in a value which cannot be decoded ends there.
pub(super) async fn walk(
    session: &mut Session<'_>,
    columns: &[&Oid],
    rows: u32,
    per_request: u32,
    mut each: impl FnMut(usize, &[u8], &Value<'_>) + Send,
) -> Result<(), PollError> {
    let mut cursors: Vec<Cursor<'_>> = columns
        .iter()
        .map(|column| Cursor { column, last: column.as_bytes().to_vec(), rows: 0, done: false })
        .collect();
    let mut begun = 0;
    while begun < cursors.len() {
        let at_once = if session.has_bulk() {
            shape(rows + 1, cursors.len() - begun, per_request, session.repetitions_max()).1
        } else {
            1
        };
        let group = begun..cursors.len().min(begun + at_once);
        let mut active: Vec<usize> = group.clone().collect();
        while !active.is_empty() {
            step(session, &mut cursors, &active, rows, per_request, &mut each).await?;
            active.retain(|at| !cursors[*at].done);
        }
        begun = group.end;
    }
    Ok(())
}

/// How many rows and columns to ask for at once, where `left` rows of `columns` are to be read
/// with at most `per_request` values and `repetitions_max` rows a request: what takes the fewest
/// requests.
fn shape(left: u32, columns: usize, per_request: u32, repetitions_max: u32) -> (u32, usize) {
    let fewest = left.div_ceil(repetitions_max).max(1);
    (fewest..=fewest + SHAPES)
        .map(|requests| {
            let repetitions = left.div_ceil(requests).max(1);
            let at_once = ((per_request / repetitions).max(1) as usize).min(columns);
            (u64::from(requests) * columns.div_ceil(at_once.max(1)) as u64, repetitions, at_once)
        })
        .min_by_key(|(requests, ..)| *requests)
        .map_or((1, 1), |(_, repetitions, at_once)| (repetitions, at_once))
}

/// How many shapes are tried.
const SHAPES: u32 = 16;

/// One request for the next rows of the active columns.
async fn step(
    session: &mut Session<'_>,
    cursors: &mut [Cursor<'_>],
    active: &[usize],
    rows: u32,
    per_request: u32,
    each: &mut (impl FnMut(usize, &[u8], &Value<'_>) + Send),
) -> Result<(), PollError> {
    let oids: Vec<_> =
        active.iter().map(|at| snmp2::Oid::new(Cow::Owned(cursors[*at].last.clone()))).collect();
    let oids: Vec<_> = oids.iter().collect();
    let request = if session.has_bulk() {
        let most = (per_request / u32::try_from(active.len()).unwrap_or(u32::MAX)).max(1);
        let most = most.min(session.repetitions_max());
        let left = (rows + 1).checked_sub(cursors[active[0]].rows).filter(|left| *left > 0);
        let left = left.unwrap_or(most);
        Request::Bulk { oids: &oids, repetitions: left.div_ceil(left.div_ceil(most)) }
    } else {
        Request::Next(oids[0])
    };
    let read = |reply: Reply<'_>| take(reply, cursors, active, each);
    session.exchange(request, read).await?
}

/// Reads an answer into the cursors.
fn take(
    reply: Reply<'_>,
    cursors: &mut [Cursor<'_>],
    active: &[usize],
    each: &mut impl FnMut(usize, &[u8], &Value<'_>),
) -> Result<(), PollError> {
    let asked = &active[..reply.asked];
    match reply.status {
        snmp::ERRSTATUS_NOERROR => {}
        // How version 1 says that there is nothing more (RFC 1157 section 4.1.3).
        snmp::ERRSTATUS_NOSUCHNAME => {
            asked.iter().for_each(|at| cursors[*at].done = true);
            return Ok(());
        }
        status => {
            let words = format!(
                "walk of {}: the agent answers {}",
                cursors[asked[0]].column,
                status_name(status)
            );
            return Err(PollError::new(Reason::Refused, words));
        }
    }
    let mut got = 0;
    for (name, value) in reply.varbinds {
        let at = asked[got % asked.len()];
        got += 1;
        let cursor = &mut cursors[at];
        if cursor.done {
            continue;
        }
        let name = name.as_bytes();
        let Some(index) = cursor.column.index_of(name).filter(|_| !is_end(&value)) else {
            cursor.done = true;
            continue;
        };
        if oid::compare(name, &cursor.last) != Ordering::Greater {
            let words = format!("walk of {}: the agent goes round in circles", cursor.column);
            return Err(PollError::new(Reason::Malformed, words));
        }
        cursor.rows += 1;
        if cursor.rows > ROWS_MAX {
            let words = format!("walk of {}: more than {ROWS_MAX} rows", cursor.column);
            return Err(PollError::new(Reason::Malformed, words));
        }
        each(at, index, &value);
        cursor.last.clear();
        cursor.last.extend_from_slice(name);
    }
    if got == 0 {
        // The first value cannot be decoded, and without its name there is no stepping over it.
        cursors[asked[0]].done = true;
    }
    Ok(())
}

fn is_end(value: &Value<'_>) -> bool {
    matches!(value, Value::EndOfMibView | Value::NoSuchObject | Value::NoSuchInstance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_shaped_to_be_few_and_full() {
        assert_eq!(shape(102, 40, 60, 25), (6, 10));
        assert_eq!(shape(4, 10, 60, 25), (4, 10));
        assert_eq!(shape(102, 1, 60, 50), (34, 1));
        assert_eq!(shape(1, 1, 1, 1), (1, 1));
    }

    proptest::proptest! {
        #[test]
        fn no_request_asks_for_more_than_allowed(
            left in 1_u32..20_000, columns in 1_usize..100, per_request in 1_u32..100, most in 1_u32..1_000
        ) {
            let (repetitions, at_once) = shape(left, columns, per_request, most);
            proptest::prop_assert!(repetitions >= 1 && repetitions <= most);
            proptest::prop_assert!(at_once >= 1 && at_once <= columns);
            proptest::prop_assert!(at_once == 1 || repetitions as usize * at_once <= per_request as usize);
        }
    }
}
