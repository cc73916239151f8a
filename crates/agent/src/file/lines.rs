//! Finds text in lines that come in pieces.
//!
//! Whatever the file holds, no more than a few times the longest reported line is kept: of a line without
//! end only the part around the match is.

use memchr::memmem::Finder;
use memchr::{memchr, memchr_iter, memrchr};

/// A line with a match in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Hit {
    /// From 1.
    pub line: u64,
    pub content: String,
}

/// The search of one file.
#[derive(Debug)]
pub struct LineSearch {
    /// Longest content of a hit, in bytes; what is longer is cut around the match.
    max_content: usize,
    /// What has been read and not been decided on: the line that is not over yet.
    buffer: Vec<u8>,
    /// Number of that line.
    line: u64,
    /// It has been reported, or only its end is left.
    is_done_with_line: bool,
}

impl LineSearch {
    pub fn new(max_content: usize) -> Self {
        Self {
            max_content,
            buffer: Vec::new(),
            line: 1,
            is_done_with_line: false,
        }
    }

    /// Takes the next piece of the file.
    pub fn push(&mut self, finder: &Finder<'_>, piece: &[u8], hits: &mut Vec<Hit>) {
        self.buffer.extend_from_slice(piece);
        self.search_whole_lines(finder, hits);
        self.search_long_line(finder, hits);
    }

    /// Takes the end of the file for the end of the last line.
    pub fn finish(&mut self, finder: &Finder<'_>, hits: &mut Vec<Hit>) {
        let line = without_return(&self.buffer);
        if !self.is_done_with_line
            && let Some(at) = finder.find(line)
        {
            hits.push(self.hit(finder, line, at));
        }
        self.buffer.clear();
    }

    /// What is held in memory.
    #[cfg(test)]
    pub fn kept_bytes(&self) -> usize {
        self.buffer.len()
    }

    fn search_whole_lines(&mut self, finder: &Finder<'_>, hits: &mut Vec<Hit>) {
        let Some(last) = memrchr(b'\n', &self.buffer) else {
            return;
        };
        let whole = &self.buffer[..=last];
        let mut from = 0;
        if self.is_done_with_line {
            from = memchr(b'\n', whole).map_or(0, |end| end + 1);
            self.line += 1;
            self.is_done_with_line = false;
        }
        let mut counted = from;
        while let Some(at) = finder.find(&whole[from..]).map(|at| from + at) {
            let start = memrchr(b'\n', &whole[..at]).map_or(0, |end| end + 1);
            let end = memchr(b'\n', &whole[at..]).map_or(last, |end| at + end);
            self.line += count_lines(&whole[counted..start]);
            counted = start;
            let line = without_return(&whole[start..end]);
            if at + finder.needle().len() <= start + line.len() {
                hits.push(self.hit(finder, line, at - start));
                from = end + 1;
            } else {
                // It reaches into the end of the line.
                from = at + 1;
            }
        }
        self.line += count_lines(&whole[counted..]);
        self.buffer.drain(..=last);
    }

    /// Keeps a line within bounds that has no end in sight.
    fn search_long_line(&mut self, finder: &Finder<'_>, hits: &mut Vec<Hit>) {
        if self.is_done_with_line {
            self.buffer.clear();
            return;
        }
        let needle = finder.needle().len();
        let context = self.max_content / 2 + needle;
        if self.buffer.len() < 3 * (self.max_content + needle) {
            return;
        }
        // A match in the last part may want more of what follows it.
        let decided = self.buffer.len() - context;
        match finder.find(&self.buffer) {
            Some(at) if at <= decided => {
                hits.push(self.hit(finder, &self.buffer, at));
                self.is_done_with_line = true;
                self.buffer.clear();
            }
            // Dropping what is before it leaves its context.
            Some(at) => drop(self.buffer.drain(..at.saturating_sub(context))),
            None => drop(self.buffer.drain(..decided)),
        }
    }

    fn hit(&self, finder: &Finder<'_>, line: &[u8], at: usize) -> Hit {
        let length = finder.needle().len();
        let kept = around(line, at, length, self.max_content);
        Hit {
            line: self.line,
            content: String::from_utf8_lossy(kept).into_owned(),
        }
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// At most `max` bytes of a line, the match at `at` in their middle, no letter of it cut apart. Longer only for a
/// longer match.
fn around(line: &[u8], at: usize, length: usize, max: usize) -> &[u8] {
    if line.len() <= max {
        return line;
    }
    let spare = max.saturating_sub(length);
    let mut from = at.saturating_sub(spare / 2);
    let mut to = (from + max.max(length)).min(line.len());
    from = from.min(to.saturating_sub(max.max(length)));
    let is_continued = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    while from > 0 && from < at && is_continued(line[from]) {
        from += 1;
    }
    while to < line.len() && to > at + length && is_continued(line[to]) {
        to -= 1;
    }
    &line[from..to]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn search(text: &[u8], pattern: &str, chunk: usize, max_content: usize) -> Vec<Hit> {
        let finder = Finder::new(pattern.as_bytes());
        let mut search = LineSearch::new(max_content);
        let mut hits = Vec::new();
        for piece in text.chunks(chunk) {
            search.push(&finder, piece, &mut hits);
            assert!(search.buffer.len() < 3 * (max_content + pattern.len()) + chunk);
        }
        search.finish(&finder, &mut hits);
        hits
    }

    fn hit(line: u64, content: &str) -> Hit {
        let content = content.to_owned();
        Hit { line, content }
    }

    #[test]
    fn each_line_is_reported_once_and_without_its_end() {
        let text = b"one x x\r\ntwo\n\nfour x\nx";
        let wanted = [hit(1, "one x x"), hit(4, "four x"), hit(5, "x")];
        for chunk in 1..30 {
            assert_eq!(search(text, "x", chunk, 100), wanted);
        }
    }

    #[test]
    fn a_pattern_is_looked_for_within_lines_only() {
        assert_eq!(search(b"a\r\nb\r\n", "a\r", 3, 100), []);
        assert_eq!(search(b"a\nb\n", "a\nb", 3, 100), []);
        assert_eq!(search(b"a\rb\n", "a\r", 3, 100), [hit(1, "a\rb")]);
    }

    #[test]
    fn of_a_long_line_the_part_around_the_match_is_kept_and_the_next_lines_are_found() {
        let text = format!("{}needle{}\nneedle\n", "ab".repeat(5000), "cd".repeat(5000));
        for chunk in [1, 7, 1000, 100_000] {
            let hits = search(text.as_bytes(), "needle", chunk, 20);
            assert_eq!(hits, [hit(1, "babababneedlecdcdcdc"), hit(2, "needle")]);
        }
    }

    #[test]
    fn a_cut_takes_no_letter_apart() {
        let text = format!("{}x{}", "\u{e9}".repeat(100), "\u{e9}".repeat(100));
        let hits = search(text.as_bytes(), "x", 1000, 21);
        assert!(!hits[0].content.contains('\u{fffd}') && hits[0].content.contains('x'));
    }

    proptest! {
        #[test]
        fn the_lines_found_are_those_that_hold_the_pattern(
            text in "[ab\r\n]{0,200}", pattern in "[ab\r]{1,4}", chunk in 1usize..50, max in 1usize..40
        ) {
            let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
            let wanted: Vec<_> = (1..).zip(lines).filter(|(_, line)| line.contains(&pattern)).collect();
            let hits = search(text.as_bytes(), &pattern, chunk, max);
            let numbers = |hits: &[Hit]| hits.iter().map(|hit| hit.line).collect::<Vec<_>>();
            prop_assert_eq!(numbers(&hits), wanted.iter().map(|(line, _)| *line).collect::<Vec<_>>());
            for (hit, (_, line)) in hits.iter().zip(wanted) {
                prop_assert!(line.contains(&hit.content) && hit.content.contains(&pattern));
                prop_assert!(hit.content.len() <= max.max(pattern.len()));
                prop_assert!(line.len() > max || hit.content == line);
            }
        }
    }
}
