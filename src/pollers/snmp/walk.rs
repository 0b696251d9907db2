//! Walking columns of an agent: several at once, so that each answer is as full as it may be.
//!
//! Version 1 has no GETBULK, and the crate's GETNEXT takes one OID: there a walk costs a request a
//! cell. Where the rows are known their cells are therefore [`fill`]ed in by GET, which takes many.

use std::borrow::Cow;
use std::cmp::Ordering;

use snmp2::{Value, snmp};

use super::session::{Reply, Request, Session};
use super::value::status_name;
use crate::pollers::{PollError, Reason};
use crate::wire::oid::{self, Oid};

/// Most rows of a table: an agent that makes up rows for ever ends here, as a failed poll.
pub(super) const ROWS_MAX: u32 = 20_000;

/// Most cells asked for in one GET: an agent of version 1 need not take messages of more than 484
/// bytes (RFC 1157 section 4), and a number with its OID has less than 28.
const CELLS_PER_REQUEST_MAX: usize = 16;

/// Where the walk along one column is.
struct Cursor<'a> {
    column: &'a Oid,
    /// The last OID the agent gave; before that, the column's own.
    last: Vec<u8>,
    rows: u32,
    done: bool,
}

impl<'a> Cursor<'a> {
    fn new(column: &'a Oid) -> Self {
        Self { column, last: column.as_bytes().to_vec(), rows: 0, done: false }
    }

    /// The OIDs of this column's cells at those of these rows that come after the last one given.
    fn cells(&self, rows: &[Vec<u8>]) -> impl Iterator<Item = Vec<u8>> {
        let passed = match self.column.index_of(&self.last) {
            _ if self.done => rows.len(),
            Some(last) => {
                rows.partition_point(|row| oid::compare(row, last) != Ordering::Greater)
            }
            None => 0,
        };
        rows[passed..].iter().map(|row| [self.column.as_bytes(), row].concat())
    }
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
    let mut cursors: Vec<_> = columns.iter().map(|column| Cursor::new(column)).collect();
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

/// Reads the cells of columns at these rows, whose indexes are in order, and hands out as [`walk`]
/// does what there is of them.
///
/// A GET of version 1 yields nothing at all where one of its cells is not there (RFC 1157 section
/// 4.1.2). So each column begins with a step of a walk, and goes on with one where a cell is not
/// there: it leads to the next that is, and one request tells that a column has none.
pub(super) async fn fill(
    session: &mut Session<'_>,
    columns: &[&Oid],
    rows: &[Vec<u8>],
    mut each: impl FnMut(usize, &[u8], &Value<'_>) + Send,
) -> Result<(), PollError> {
    let mut cursors: Vec<_> = columns.iter().map(|column| Cursor::new(column)).collect();
    for at in 0..cursors.len() {
        step(session, &mut cursors, &[at], 1, 1, &mut each).await?;
    }
    // How many cells there are before one that is not.
    let mut before_gap = None;
    loop {
        let bears = session.memory.values_per_request() as usize;
        let most = before_gap.take().unwrap_or(CELLS_PER_REQUEST_MAX).min(bears);
        let columns = cursors.iter().enumerate();
        let cells = columns.flat_map(|(at, cursor)| cursor.cells(rows).map(move |cell| (at, cell)));
        let cells: Vec<_> = cells.take(most).collect();
        let Some((at, _)) = cells.first() else { return Ok(()) };
        let oids = cells.iter().map(|(_, cell)| snmp2::Oid::new(Cow::Owned(cell.clone())));
        let oids: Vec<_> = oids.collect();
        let oids: Vec<_> = oids.iter().collect();
        let read = |reply: Reply<'_>| take_cells(reply, &cells, &mut cursors, &mut each);
        match session.exchange(Request::Get(&oids), read).await?? {
            Some(0) => step(session, &mut cursors, &[*at], 1, 1, &mut each).await?,
            gap => before_gap = gap,
        }
    }
}

/// Reads the answer to a GET of cells into their columns' cursors; the place of the first that is
/// not there, if the agent says that one is not.
fn take_cells(
    reply: Reply<'_>,
    cells: &[(usize, Vec<u8>)],
    cursors: &mut [Cursor<'_>],
    each: &mut impl FnMut(usize, &[u8], &Value<'_>),
) -> Result<Option<usize>, PollError> {
    let asked = &cells[..reply.asked];
    match reply.status {
        snmp::ERRSTATUS_NOERROR => {}
        // Of an agent that does not say which, the first: a step leads past it if it is there, too.
        snmp::ERRSTATUS_NOSUCHNAME => {
            let gap = (reply.index as usize).checked_sub(1).filter(|gap| *gap < asked.len());
            return Ok(Some(gap.unwrap_or(0)));
        }
        status => {
            let shown = oid::show(&asked[0].1);
            let words = format!("get of {shown}: the agent answers {}", status_name(status));
            return Err(PollError::new(Reason::Refused, words));
        }
    }
    let mut got = 0;
    for (name, value) in reply.varbinds.take(asked.len()) {
        let (at, cell) = &asked[got];
        if name.as_bytes() != cell {
            let words = format!("get of {}: the answer is about another OID", oid::show(cell));
            return Err(PollError::new(Reason::Malformed, words));
        }
        let cursor = &mut cursors[*at];
        if let Some(index) = cursor.column.index_of(cell).filter(|_| !is_end(&value)) {
            each(*at, index, &value);
        }
        cursor.last.clone_from(cell);
        got += 1;
    }
    // A value that cannot be decoded hides those after it: they are asked for again without it.
    if let Some((at, cell)) = asked.get(got) {
        cursors[*at].last.clone_from(cell);
    }
    Ok(None)
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
