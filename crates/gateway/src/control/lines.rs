//! Cuts what comes on a connection into lines. Pure.

use zeroize::Zeroizing;

/// Longest line of a request, in bytes: ten thousand names fit.
pub const MAX_LINE: usize = 1 << 20;

/// A line is longer than is read; what follows on the connection cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request has at most {limit} bytes")]
pub struct TooLong {
    limit: usize,
}

/// What has come and was not taken yet.
#[derive(Debug)]
pub struct Lines {
    bytes: Zeroizing<Vec<u8>>,
    /// How much of it has no line's end.
    searched: usize,
    limit: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Self::new(MAX_LINE)
    }
}

impl Lines {
    /// Nothing, with lines of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: Zeroizing::default(),
            searched: 0,
            limit,
        }
    }

    /// Takes in what has come.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole line, without its end.
    ///
    /// # Errors
    ///
    /// [`TooLong`].
    pub fn next_line(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, TooLong> {
        let end = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n');
        let Some(end) = end.map(|end| self.searched + end) else {
            self.searched = self.bytes.len();
            return if self.searched > self.limit {
                Err(self.too_long())
            } else {
                Ok(None)
            };
        };
        if end > self.limit {
            return Err(self.too_long());
        }
        let rest = Zeroizing::new(self.bytes.split_off(end + 1));
        let mut line = std::mem::replace(&mut self.bytes, rest);
        line.truncate(end);
        self.searched = 0;
        Ok(Some(line))
    }

    fn too_long(&self) -> TooLong {
        TooLong { limit: self.limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_they_come() {
        let text = b"one\n\ntwo\nthree";
        for step in 1..=text.len() {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for chunk in text.chunks(step) {
                lines.feed(chunk);
                while let Some(line) = lines.next_line().unwrap() {
                    found.push(line.to_vec());
                }
            }
            assert_eq!(found, [&b"one"[..], b"", b"two"], "{step}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_with_and_without_its_end() {
        for text in [&b"12345"[..], b"12345\n"] {
            let mut lines = Lines::new(4);
            lines.feed(text);
            assert_eq!(lines.next_line().unwrap_err(), TooLong { limit: 4 });
        }
        let mut lines = Lines::new(4);
        lines.feed(b"1234\n");
        assert_eq!(lines.next_line().unwrap().unwrap().as_slice(), b"1234");
    }
}
