//! One line of comma-separated values, with quotes as RFC 4180 has them.

/// Hands over the columns of a line, counted from 0, without the quotes around them.
///
/// # Errors
/// A quote that is not closed, or that closes before the column ends.
pub fn columns<F>(line: &str, separator: u8, mut found: F) -> Result<(), &'static str>
where
    F: FnMut(usize, &str),
{
    let separator = char::from(separator);
    let mut rest = Some(line);
    for at in 0.. {
        let Some(text) = rest else { break };
        if let Some(quoted) = text.trim_start().strip_prefix('"') {
            let (column, after) = unquote(quoted)?;
            found(at, &column);
            let after = after.trim_start_matches(|c: char| c.is_whitespace() && c != separator);
            rest = match after.strip_prefix(separator) {
                None if after.is_empty() => None,
                None => return Err("a quote closes before its column ends"),
                next => next,
            };
        } else if let Some((column, after)) = text.split_once(separator) {
            found(at, column);
            rest = Some(after);
        } else {
            found(at, text);
            rest = None;
        }
    }
    Ok(())
}

/// Splits after the closing quote; two quotes stand for one.
fn unquote(text: &str) -> Result<(String, &str), &'static str> {
    let mut column = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"').ok_or("a quote is not closed")?;
        column.push_str(part);
        let Some(more) = after.strip_prefix('"') else { return Ok((column, after)) };
        column.push('"');
        rest = more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str, separator: u8) -> Result<Vec<String>, &'static str> {
        let mut all = Vec::new();
        columns(line, separator, |at, column| {
            assert_eq!(at, all.len());
            all.push(column.to_owned());
        })?;
        Ok(all)
    }

    #[test]
    fn columns_are_split_and_unquoted() {
        assert_eq!(
            read("1,2.5,,x", b','),
            Ok(vec!["1".into(), "2.5".into(), String::new(), "x".into()])
        );
        assert_eq!(
            read("a;\"b;\"\"c\"\"\" ;d", b';'),
            Ok(vec!["a".into(), "b;\"c\"".into(), "d".into()])
        );
        assert_eq!(read("1\t\t2", b'\t'), Ok(vec!["1".into(), String::new(), "2".into()]));
        assert_eq!(read("", b','), Ok(vec![String::new()]));
        assert!(read("1,\"2", b',').is_err());
        assert!(read("\"1\"2,3", b',').is_err());
    }

    proptest! {
        #[test]
        fn any_text_comes_to_an_end(text in "[ab,\" é]{0,60}") {
            drop(read(&text, b','));
        }

        #[test]
        fn the_csv_crate_writes_what_is_read(written in proptest::collection::vec("[a-z, \"]{0,8}", 1..6)) {
            let mut writer = csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).from_writer(Vec::new());
            writer.write_record(&written).unwrap();
            let line = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            prop_assert_eq!(read(line.trim_end_matches('\n'), b','), Ok(written));
        }
    }
}
