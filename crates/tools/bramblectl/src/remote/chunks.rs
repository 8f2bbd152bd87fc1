//! A body that comes in chunks. Source: RFC 9112, 7.1 "Chunked Transfer Coding".

use std::io::{self, BufRead, ErrorKind, Read};

/// What the chunks hold.
pub struct Chunks<R> {
    from: R,
    /// Bytes of this chunk that are still to come.
    left: u64,
    is_over: bool,
}

impl<R: BufRead> Chunks<R> {
    pub fn new(from: R) -> Self {
        Self { from, left: 0, is_over: false }
    }

    /// A line; an error where the body ends before it does.
    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        (&mut self.from).take(256).read_line(&mut line)?;
        let line = line.strip_suffix("\r\n").ok_or_else(cut)?;
        Ok(line.to_owned())
    }

    fn next(&mut self) -> io::Result<()> {
        let line = self.line()?;
        let size = line.split(';').next().unwrap_or_default().trim();
        self.left = u64::from_str_radix(size, 16).map_err(|_| cut())?;
        self.is_over = self.left == 0;
        // Lines may follow the last chunk, up to an empty one.
        while self.is_over && !self.line()?.is_empty() {}
        Ok(())
    }
}

fn cut() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the host's answer was cut")
}

impl<R: BufRead> Read for Chunks<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.is_over {
            self.next()?;
        }
        let most = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let read = self.from.read(&mut into[..most])?;
        if read == 0 {
            return Err(cut());
        }
        self.left -= read as u64;
        if self.left == 0 && !self.line()?.is_empty() {
            return Err(cut());
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::Chunks;
    use std::io::Read;

    fn read(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut all = Vec::new();
        Chunks::new(bytes).read_to_end(&mut all).map(|_| all)
    }

    #[test]
    fn chunks_are_one_body_and_one_that_is_cut_is_an_error() {
        let whole = b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(read(whole).expect("whole"), b"abc0123456789");
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "cut at {end}");
        }
        assert!(read(b"zz\r\n").is_err());
    }
}
