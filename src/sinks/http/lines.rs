//! What a request is made of: lines that can be parted.

use std::ops::Range;

/// The most one request may hold. One line more than `bytes` allow may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Samples.
    pub points: usize,
    /// Bytes.
    pub bytes: usize,
}

/// Lines, encoded, and where each ends. A line is the least a server takes or refuses.
#[derive(Debug, Default)]
pub struct Lines {
    /// All lines, one after the other.
    pub text: Vec<u8>,
    ends: Vec<LineEnd>,
    points: usize,
}

#[derive(Debug, Clone, Copy)]
struct LineEnd {
    /// Where the line ends in the text; so much text is never encoded at once as to overflow it.
    at: u32,
    /// How many points there are up to here.
    points: u32,
}

impl Lines {
    /// How many lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of a range of lines.
    #[must_use]
    pub fn bytes(&self, lines: &Range<usize>) -> Range<usize> {
        self.before(lines.start).at as usize..self.before(lines.end).at as usize
    }

    /// The points of a range of lines.
    #[must_use]
    pub fn points(&self, lines: &Range<usize>) -> u64 {
        u64::from(self.before(lines.end).points - self.before(lines.start).points)
    }

    fn before(&self, line: usize) -> LineEnd {
        line.checked_sub(1).map_or(LineEnd { at: 0, points: 0 }, |last| self.ends[last])
    }

    /// Whether the limit is met.
    pub(in crate::sinks) fn are_full(&self, limit: Limit) -> bool {
        self.points >= limit.points || self.text.len() >= limit.bytes
    }

    /// Ends the line that was appended to the text.
    pub(in crate::sinks) fn end_line(&mut self, points: usize) {
        self.points += points;
        let narrow = |n: usize| u32::try_from(n).expect("a request is bounded far below 4 GiB");
        self.ends.push(LineEnd { at: narrow(self.text.len()), points: narrow(self.points) });
    }
}
