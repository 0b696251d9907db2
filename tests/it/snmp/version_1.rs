//! Version 1, which has no GETBULK, and answers nothing at all where one value is not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fake::{Fake, Values, integer, refuse, string, values_asked};
use super::{NAME, NOW, Polled};

/// A column of the table these tests read.
const COLUMN: &str = "1.3.6.1.4.1.55555.1";

/// How many rows it has.
const ROWS: u8 = 40;

/// What it reads besides ten columns that are whole: one with gaps, one that is not there, and one
/// of which only the last cell is.
const OTHERS: [&str; 3] = ["gaps", "absent", "last"];

fn values() -> Values {
    let mut values = Values::default();
    for row in 1..=ROWS {
        values = values.with(&format!("{NAME}.{row}"), string(&format!("row {row}")));
        for column in 1..=10 {
            values = values.with(&format!("{COLUMN}.{column}.{row}"), integer(row + column));
        }
        if ![1, 3, 4, 17, ROWS].contains(&row) {
            values = values.with(&format!("{COLUMN}.11.{row}"), integer(row));
        }
    }
    values.with(&format!("{COLUMN}.13.{ROWS}"), integer(7))
}

fn table(agent: &Fake, version: &str) -> Polled {
    let whole = (1..=10).map(|column| (format!("c{column}"), column));
    let others = OTHERS.iter().map(|name| (*name).to_owned()).zip(11..);
    let fields = whole.chain(others).map(|(name, at)| format!("{name} = '{COLUMN}.{at}'"));
    Polled::new(&format!(
        "host = '{}'\nversion = '{version}'\ncommunity = 'public'\n\
         [[snmp.agent.table]]\nmeasurement = 'm'\ntags = {{ name = '{NAME}' }}\n\
         fields = {{ {} }}",
        agent.address,
        fields.collect::<Vec<_>>().join(", ")
    ))
}

#[tokio::test]
async fn a_table_is_read_as_in_version_2c_and_by_few_requests() {
    let requests = Arc::new(AtomicUsize::new(0));
    let (counted, values) = (requests.clone(), values());
    let agent = Fake::start(NOW, move |request| {
        counted.fetch_add(1, Ordering::Relaxed);
        values.answer(request)
    })
    .await;
    let expected = table(&agent, "2c").good().await;
    assert_eq!(expected[r#"m_last{name="row 40"}"#], 7.0);
    assert_eq!(expected["snmp_missing{}"], 5.0 + 40.0 + 39.0);
    requests.store(0, Ordering::Relaxed);
    assert_eq!(table(&agent, "1").good().await, expected);
    // The names one by one, and the beginning of each column; the rest of more than 400 cells is in
    // tens of requests, of which each gap costs some.
    let requests = requests.load(Ordering::Relaxed);
    assert!(requests < 100, "{requests}");
}

#[tokio::test]
async fn an_agent_that_bears_little_is_asked_for_less() {
    const TOO_BIG: u8 = 1;
    let values = values();
    let agent = Fake::start(NOW, move |request| {
        if values_asked(request) > 3 {
            return refuse(TOO_BIG, request);
        }
        values.answer(request)
    })
    .await;
    let read = table(&agent, "1").good().await;
    assert_eq!(read[r#"m_c10{name="row 40"}"#], 50.0);
    assert_eq!(read["snmp_missing{}"], 84.0);
}
