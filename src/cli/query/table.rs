//! Values as a table for people, or as CSV for programs.

use std::collections::BTreeSet;

use super::super::printable;
use super::values::Values;
use crate::sample::Timestamp;

/// A line for each series at one time; over time, a line for each value under its series.
pub(super) fn table(values: &Values) -> String {
    let mut text = String::new();
    let is_instant = values.0.iter().all(|series| series.points.len() == 1);
    let names: Vec<_> = values.0.iter().map(|series| printable(&series.name())).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    for (series, name) in values.0.iter().zip(names) {
        if is_instant {
            text += &format!("{name:width$}  {}\n", printable(&series.points[0].1));
            continue;
        }
        text += &format!("{name}\n");
        for (seconds, value) in &series.points {
            text += &format!("  {}  {}\n", moment(*seconds), printable(value));
        }
    }
    if values.0.is_empty() {
        text += "no data\n";
    }
    text
}

/// A line for each value: its time, the value, and every label there is.
pub(super) fn csv(values: &Values) -> String {
    let labels: BTreeSet<&str> =
        values.0.iter().flat_map(|s| &s.labels).map(|(name, _)| name.as_str()).collect();
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write = |record: Vec<&str>| {
        writer.write_record(record).expect("memory takes it, and all records are as long");
    };
    write(["time", "value"].into_iter().chain(labels.iter().copied()).collect());
    for series in &values.0 {
        for (seconds, value) in &series.points {
            let time = moment(*seconds);
            let own = labels.iter().map(|name| series.label(name));
            write([time.as_str(), value].into_iter().chain(own).collect());
        }
    }
    let text = writer.into_inner().expect("memory takes it");
    String::from_utf8_lossy(&text).into_owned()
}

fn moment(seconds: f64) -> String {
    Timestamp::from_nanos((seconds * 1e3).round() as i64 * 1_000_000).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_shown_as_table_and_csv() {
        let instant = Values::of(&json!({ "resultType": "vector", "result": [
            { "metric": { "__name__": "up", "target": "a" }, "value": [1.5, "1"] },
            { "metric": { "__name__": "climate_celsius", "room": "a,\"b\"\n" }, "value": [1.5, "NaN"] },
        ] }));
        assert_eq!(
            table(&instant),
            "up{target=\"a\"}                     1\n\
             climate_celsius{room=\"a,\\\"b\\\"\\n\"}  NaN\n"
        );
        assert_eq!(
            csv(&instant),
            "time,value,__name__,room,target\n\
             1970-01-01T00:00:01.500Z,1,up,,a\n\
             1970-01-01T00:00:01.500Z,NaN,climate_celsius,\"a,\"\"b\"\"\n\",\n"
        );
        let matrix = Values::of(&json!({ "resultType": "matrix", "result": [
            { "metric": {}, "values": [[0, "1"], [15, "2.5"]] },
        ] }));
        let lines = "{}\n  1970-01-01T00:00:00.000Z  1\n  1970-01-01T00:00:15.000Z  2.5\n";
        assert_eq!(table(&matrix), lines);
        let scalar = Values::of(&json!({ "resultType": "scalar", "result": [4, "2"] }));
        assert_eq!(table(&scalar), "{}  2\n");
        assert_eq!(table(&Values::default()), "no data\n");
        assert_eq!(csv(&Values::default()), "time,value\n");
    }
}
