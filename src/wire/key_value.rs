//! Pairs as small devices print them: `t=21.5 h=40`, `temp: 21.5, hum: 40.1`, `a=1;b="x y"`.

/// The pairs of a text, in their order. A key ends at `=` or `:`, a value at white space, `,`, `;`
/// or `&`, or at the closing quote; words without a value, such as units, are passed over.
#[must_use]
pub fn pairs(text: &str) -> Pairs<'_> {
    Pairs { rest: text }
}

/// See [`pairs`].
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    rest: &'a str,
}

fn separates(c: char) -> bool {
    c.is_whitespace() || matches!(c, ',' | ';' | '&')
}

fn assigns(c: char) -> bool {
    matches!(c, '=' | ':')
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.rest.trim_start_matches(|c| separates(c) || assigns(c));
            if rest.is_empty() {
                return None;
            }
            let key_end = rest.find(|c| separates(c) || assigns(c)).unwrap_or(rest.len());
            let (key, after) = rest.split_at(key_end);
            let Some(value) = after.trim_start().strip_prefix(assigns) else {
                self.rest = after;
                continue;
            };
            let value = value.trim_start();
            let quoted = value.strip_prefix('"').and_then(|inner| inner.split_once('"'));
            let (value, after) = quoted
                .unwrap_or_else(|| value.split_at(value.find(separates).unwrap_or(value.len())));
            self.rest = after;
            return Some((key, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs_are_read_as_devices_write_them() {
        let read = |text| pairs(text).collect::<Vec<_>>();
        assert_eq!(read("t=21.5 h=40"), [("t", "21.5"), ("h", "40")]);
        assert_eq!(read("temp: 21.5 C, hum : 40.1 %"), [("temp", "21.5"), ("hum", "40.1")]);
        assert_eq!(read("a=1;b=\"x, y\"&c="), [("a", "1"), ("b", "x, y"), ("c", "")]);
        assert_eq!(read("OK,=5, t=1"), [("t", "1")]);
        assert_eq!(read("a=\"open"), [("a", "\"open")]);
        assert_eq!(read(" ,; "), []);
    }

    proptest! {
        #[test]
        fn any_text_comes_to_an_end(text in "[a-c=:,; \"é]{0,60}") {
            prop_assert!(pairs(&text).count() <= text.len());
        }

        #[test]
        fn written_pairs_read_back(written in proptest::collection::vec(("[a-z]{1,5}", "[0-9.]{1,5}"), 0..6)) {
            let text: Vec<_> = written.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let read: Vec<_> = pairs(&text.join(" ")).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(read, written);
        }
    }
}
