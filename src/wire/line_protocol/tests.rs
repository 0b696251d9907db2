//! Line protocol as InfluxDB documents it, and as nobody should write it.

use proptest::prelude::*;

use super::*;

fn one(text: &str) -> Result<Line<'_>, LineError> {
    let mut all = lines(text);
    let first = all.next().expect("a line");
    assert_eq!(all.next(), None, "{text}");
    first
}

#[test]
fn a_point_is_read_whole() {
    let line =
        one("climate,room=hall,floor=1 t=21.5,n=-2i,u=3u,on=T,s=\"a b\" 1700000000000000000\n");
    let line = line.unwrap();
    assert_eq!(line.measurement, "climate");
    assert_eq!(line.tags, [("room".into(), "hall".into()), ("floor".into(), "1".into())]);
    let values: Vec<_> =
        line.fields.iter().map(|(name, value)| (&**name, value.number())).collect();
    assert_eq!(
        values,
        [("t", Some(21.5)), ("n", Some(-2.0)), ("u", Some(3.0)), ("on", Some(1.0)), ("s", None)]
    );
    assert_eq!(line.timestamp, Some(1_700_000_000_000_000_000));
    assert_eq!(one("m f=1").unwrap().timestamp, None);
}

#[test]
fn escapes_are_undone() {
    let line = one(r#"a\ b\,c,k\=1=v\ 2 f\,x="say \"hi\" \\ \n, = " 5"#).unwrap();
    assert_eq!(line.measurement, "a b,c");
    assert_eq!(line.tags, [("k=1".into(), "v 2".into())]);
    assert_eq!(line.fields[0].0, "f,x");
    assert_eq!(line.fields[0].1, Field::Text(r#"say "hi" \ \n, = "#.into()));
}

#[test]
fn text_may_span_lines_and_comments_are_passed_over() {
    let text = "# a comment\n\nm s=\"two\nlines\",f=1 1\r\nm f=2\n  # more\nm f=\n";
    let read: Vec<_> = lines(text).collect();
    assert_eq!(read.len(), 3);
    assert_eq!(read[0].as_ref().unwrap().fields[0].1, Field::Text("two\nlines".into()));
    assert_eq!(read[1].as_ref().unwrap().fields[0].1, Field::Float(2.0));
    assert_eq!(read[2], Err(LineError { number: 7, message: "a field lacks its value" }));
}

#[test]
fn a_wrong_line_costs_only_itself() {
    for wrong in [
        "m",
        "m ",
        ",t=1 f=1",
        "m,t f=1",
        "m,t= f=1",
        "m,=1 f=1",
        "m f",
        "m =1",
        "m f=x",
        "m f=1ii",
        "m f=\"open",
        "m f=1 x",
        "m f=1 1.5",
        "m f=nan",
        "m f=1e999",
        "m f=1,",
        "m,a=1,a=2",
    ] {
        let text = format!("{wrong}\nm f=7");
        let read: Vec<_> = lines(&text).collect();
        assert_eq!(read.len(), 2, "{wrong}: {read:?}");
        assert!(read[0].is_err(), "{wrong}");
        assert_eq!(read[1].as_ref().unwrap().fields[0].1, Field::Float(7.0), "{wrong}");
    }
}

proptest! {
    #[test]
    fn any_text_comes_to_an_end(text in "[a,= \\\\\"\n#1it.]{0,80}") {
        prop_assert!(lines(&text).count() <= text.len() + 1);
    }

    #[test]
    fn any_bytes_do(text in any::<String>()) {
        prop_assert!(lines(&text).count() <= text.len() + 1);
    }

    #[test]
    fn an_escaped_name_reads_back(name in "[a-z][a-z ,=]{0,8}[a-z]", value in -1e12..1e12f64) {
        let escaped = name.replace(',', "\\,").replace('=', "\\=").replace(' ', "\\ ");
        let text = format!("{escaped},{escaped}={escaped} {escaped}={value} 7");
        let line = one(&text).unwrap();
        prop_assert_eq!(&*line.measurement, name.as_str());
        prop_assert_eq!((&*line.tags[0].0, &*line.tags[0].1), (name.as_str(), name.as_str()));
        prop_assert_eq!(&line.fields[0], &(Cow::from(name.as_str()), Field::Float(value)));
    }
}
