//! Lines out of a stream of bytes that may begin in the middle of one and may be noise.
//!
//! It never errors and never holds more than one line: what is too long is skipped to its end.

/// What a stream has, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A line, without its delimiter; may be empty.
    Line(&'a [u8]),
    /// The end of a line whose beginning was missed.
    Half,
    /// A line longer than allowed, all of it skipped.
    TooLong,
}

/// Cuts a stream into lines.
#[derive(Debug)]
pub struct Lines {
    delimiter: u8,
    bytes_max: usize,
    /// The line under way.
    held: Vec<u8>,
    skipping: Option<Piece<'static>>,
}

impl Lines {
    /// Begins in the middle of a line, for all one knows: call [`Lines::at_start`] if one knows.
    #[must_use]
    pub fn new(delimiter: u8, bytes_max: usize) -> Self {
        Self { delimiter, bytes_max, held: Vec::new(), skipping: Some(Piece::Half) }
    }

    /// What comes next is the beginning of a line.
    pub fn at_start(&mut self) {
        self.held.clear();
        self.skipping = None;
    }

    /// Takes bytes and hands over what is complete with them.
    pub fn feed(&mut self, mut bytes: &[u8], mut found: impl FnMut(Piece<'_>)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == self.delimiter) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            match self.skipping.take() {
                Some(skipped) => found(skipped),
                None if self.held.len() + line.len() > self.bytes_max => found(Piece::TooLong),
                None if self.held.is_empty() => found(Piece::Line(line)),
                None => {
                    self.held.extend_from_slice(line);
                    found(Piece::Line(&self.held));
                }
            }
            self.held.clear();
            bytes = rest;
        }
        if self.skipping.is_none() {
            if self.held.len() + bytes.len() > self.bytes_max {
                self.held.clear();
                self.skipping = Some(Piece::TooLong);
            } else {
                self.held.extend_from_slice(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(lines: &mut Lines, chunks: &[&[u8]]) -> Vec<String> {
        let mut all = Vec::new();
        for chunk in chunks {
            lines.feed(chunk, |piece| {
                all.push(match piece {
                    Piece::Line(line) => String::from_utf8_lossy(line).into_owned(),
                    other => format!("{other:?}"),
                });
            });
        }
        all
    }

    #[test]
    fn the_first_line_is_half_a_line_until_one_knows_better() {
        let mut lines = Lines::new(b'\n', 8);
        assert_eq!(cut(&mut lines, &[b"1.5\n2", b"2\n\n3"]), ["Half", "22", ""]);
        lines.at_start();
        assert_eq!(cut(&mut lines, &[b"4\n"]), ["4"]);
    }

    #[test]
    fn a_line_too_long_is_skipped_to_its_end() {
        let mut lines = Lines::new(b'\n', 4);
        lines.at_start();
        let chunks: [&[u8]; 4] = [b"1234\n12345\n", b"123", b"45678", b"9\nok\n"];
        assert_eq!(cut(&mut lines, &chunks), ["1234", "TooLong", "TooLong", "ok"]);
    }

    proptest! {
        #[test]
        fn how_the_bytes_arrive_makes_no_difference(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
            chunk in 1usize..20,
        ) {
            let mut whole = Lines::new(b'\n', 16);
            let mut parts = Lines::new(b'\n', 16);
            let chunks: Vec<_> = bytes.chunks(chunk).collect();
            prop_assert_eq!(cut(&mut whole, &[&bytes]), cut(&mut parts, &chunks));
            prop_assert!(parts.held.len() <= 16);
        }
    }
}
