//! A container's log as it is written: from lines in the CRI's format back to what the program wrote.

use image::Stream;

/// Takes a log in pieces.
#[derive(Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes a piece and tells what the program wrote.
    pub(super) fn push(&mut self, bytes: &[u8], tell: &mut dyn FnMut(Stream, &[u8])) {
        self.rest.extend_from_slice(bytes);
        let mut begin = 0;
        while let Some(end) = self.rest[begin..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map(|at| begin + at)
        {
            line(&self.rest[begin..end], tell);
            begin = end + 1;
        }
        self.rest.drain(..begin);
    }
}

/// `TIME stdout F text`; with P instead of F the program has not ended the line yet.
fn line(line: &[u8], tell: &mut dyn FnMut(Stream, &[u8])) {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let (Some(_), Some(stream), Some(mark), Some(text)) = (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return;
    };
    let stream = if stream == b"stderr" { Stream::Err } else { Stream::Out };
    let mut text = text.to_vec();
    if mark == b"F" {
        text.push(b'\n');
    }
    tell(stream, &text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_what_was_written() {
        let log =
            b"2020-01-01T00:00:00.000000000Z stdout F one two\n2020 stderr P thr\n2020 stderr F ee\n2020 stdout F \n";
        for size in [1, 7, log.len()] {
            let (mut lines, mut out, mut err) = (Lines::default(), Vec::new(), Vec::new());
            for piece in log.chunks(size) {
                lines.push(piece, &mut |stream, bytes| {
                    if stream == Stream::Out { &mut out } else { &mut err }.extend_from_slice(bytes);
                });
            }
            assert_eq!((out.as_slice(), err.as_slice()), (&b"one two\n\n"[..], &b"three\n"[..]));
        }
    }
}
