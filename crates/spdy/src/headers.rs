//! Header blocks: pairs of names and values, compressed with one memory for a connection's whole life.

use bytes::{Buf as _, BufMut as _};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::Error;
use crate::dictionary;

/// No client has more headers than that, unpacked.
const MOST: usize = 64 << 10;

/// The headers of a stream. Names are in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        value.split('\0').next()
    }

    fn parse(mut block: &[u8]) -> Result<Headers, Error> {
        let count = number(&mut block)?;
        let mut all = Vec::new();
        for _ in 0..count {
            let name = text(&mut block)?.to_ascii_lowercase();
            all.push((name, text(&mut block)?));
        }
        Ok(Headers(all))
    }
}

fn number(block: &mut &[u8]) -> Result<usize, Error> {
    if block.len() < 4 {
        return Err(Error::Headers);
    }
    Ok(block.get_u32() as usize)
}

fn text(block: &mut &[u8]) -> Result<String, Error> {
    let length = number(block)?;
    let (text, rest) = block.split_at_checked(length).ok_or(Error::Headers)?;
    *block = rest;
    String::from_utf8(text.to_vec()).map_err(|_| Error::Headers)
}

/// Unpacks the blocks that the other side sends, in their order.
pub(crate) struct Unpacker(Decompress);

impl Unpacker {
    pub(crate) fn new() -> Unpacker {
        Unpacker(Decompress::new(true))
    }

    pub(crate) fn unpack(&mut self, mut block: &[u8]) -> Result<Headers, Error> {
        let mut out = Vec::with_capacity(1024);
        loop {
            let before = self.0.total_in();
            let result = self.0.decompress_vec(block, &mut out, FlushDecompress::Sync);
            let taken = usize::try_from(self.0.total_in() - before).map_err(|_| Error::Headers)?;
            block = block.get(taken..).ok_or(Error::Headers)?;
            match result {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0
                        .set_dictionary(&dictionary::bytes())
                        .map_err(|_| Error::Headers)?;
                }
                Err(_) | Ok(Status::StreamEnd) => return Err(Error::Headers),
                Ok(_) if out.len() == out.capacity() => {
                    if out.len() >= MOST {
                        return Err(Error::Headers);
                    }
                    out.reserve(out.len());
                }
                Ok(_) if block.is_empty() => return Headers::parse(&out),
                Ok(_) if taken == 0 => return Err(Error::Headers),
                Ok(_) => {}
            }
        }
    }
}

/// Packs the blocks that this side sends, in their order.
pub(crate) struct Packer(Compress);

impl Packer {
    pub(crate) fn new() -> Packer {
        let mut packer = Compress::new(Compression::default(), true);
        // Only a stream that has begun refuses a dictionary.
        let _ = packer.set_dictionary(&dictionary::bytes());
        Packer(packer)
    }

    pub(crate) fn pack(&mut self, pairs: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
        let mut block = Vec::new();
        block.put_u32(u32::try_from(pairs.len()).map_err(|_| Error::Headers)?);
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            block.put_u32(u32::try_from(text.len()).map_err(|_| Error::Headers)?);
            block.put_slice(text.as_bytes());
        }
        let mut out = Vec::with_capacity(block.len() + 64);
        let before = self.0.total_in();
        loop {
            let taken = usize::try_from(self.0.total_in() - before).map_err(|_| Error::Headers)?;
            let room = out.capacity() - out.len();
            self.0
                .compress_vec(&block[taken..], &mut out, FlushCompress::Sync)
                .map_err(|_| Error::Headers)?;
            // The block is out when there was more room than it took.
            if out.capacity() > out.len() && room > 0 {
                return Ok(out);
            }
            out.reserve(256);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_survive_in_their_order() {
        let (mut packer, mut unpacker) = (Packer::new(), Unpacker::new());
        for pairs in [
            &[("streamtype", "error"), ("port", "80"), ("requestid", "0")][..],
            &[("streamtype", "data"), ("port", "80"), ("requestid", "0")],
            &[],
        ] {
            let headers = unpacker.unpack(&packer.pack(pairs).unwrap()).unwrap();
            let pairs = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string()));
            assert_eq!(headers, Headers(pairs.collect()));
        }
        let long = "x".repeat(20_000);
        let packed = packer.pack(&[("long", &long)]).unwrap();
        assert_eq!(unpacker.unpack(&packed).unwrap().get("long"), Some(long.as_str()));
    }

    #[test]
    fn what_is_no_block_is_refused() {
        assert!(Unpacker::new().unpack(b"nonsense").is_err());
        let mut packer = Packer::new();
        let packed = packer.pack(&[("a", "b")]).unwrap();
        assert!(Unpacker::new().unpack(&packed[..packed.len() / 2]).is_err());
        let bomb = "y".repeat(1 << 20);
        let packed = Packer::new().pack(&[("a", &bomb)]).unwrap();
        assert!(Unpacker::new().unpack(&packed).is_err());
    }
}
