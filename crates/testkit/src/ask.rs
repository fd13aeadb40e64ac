//! What tests ask of a network, each time on a new socket of the calling thread: a page, a datagram's echo, a name.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Asks a web server for its page.
pub fn http(address: SocketAddr) -> Result<String, String> {
    http_within(address, LIMIT)
}

/// The same, given up earlier or later.
pub fn http_within(address: SocketAddr, limit: Duration) -> Result<String, String> {
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        io::Result::Ok(answer)
    };
    let answer = ask().map_err(|error| format!("{address}: {error}"))?;
    let page = answer.split_once("\r\n\r\n").map(|(_, page)| page.to_owned());
    page.filter(|_| answer.starts_with("HTTP/1.1 200"))
        .ok_or(format!("{address}: {answer:?}"))
}

/// What the tests' program says of a datagram that it got (`report udp`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The host that answers.
    pub host: String,
    /// The address that the datagram came from, as seen there.
    pub source: Ipv4Addr,
    /// How many bytes came back.
    pub length: usize,
}

/// Sends a datagram of so many bytes and waits for its echo.
pub fn udp(address: SocketAddr, length: usize) -> Result<Echo, String> {
    udp_within(address, length, LIMIT)
}

/// The same, given up earlier or later.
pub fn udp_within(address: SocketAddr, length: usize, limit: Duration) -> Result<Echo, String> {
    let answer = exchange(address, &vec![b'.'; length], limit).map_err(|error| format!("{address}: {error}"))?;
    let said = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let said = String::from_utf8_lossy(said).into_owned();
    let parts = said
        .split_once(' ')
        .and_then(|(host, source)| Some((host, source.parse().ok()?)));
    let (host, source) = parts.ok_or(format!("{address}: {said:?}"))?;
    Ok(Echo {
        host: host.to_owned(),
        source,
        length: answer.len(),
    })
}

/// Asks a DNS server for a name's IPv4 addresses, in ascending order: none if there is no such name.
pub fn name(server: SocketAddr, name: &str) -> Result<Vec<Ipv4Addr>, String> {
    let failed = |why: &dyn std::fmt::Display| format!("{name} at {server}: {why}");
    // A header with one question, for recursion (RFC 1035, 4.1).
    let mut question = vec![0x47, 0x61, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        question.push(u8::try_from(label.len()).map_err(|error| failed(&error))?);
        question.extend(label.bytes());
    }
    // The root, type A, class IN.
    question.extend([0, 0, 1, 0, 1]);
    let answer = exchange(server, &question, LIMIT).map_err(|error| failed(&error))?;
    addresses(&answer, question.len()).map_err(|why| failed(&why))
}

fn exchange(address: SocketAddr, datagram: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(limit))?;
    // What somebody else sends isn't taken for the answer.
    socket.connect(address)?;
    socket.send(datagram)?;
    let mut answer = vec![0; 64 * 1024];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

/// The addresses among a message's answers, which begin after the question.
fn addresses(message: &[u8], mut at: usize) -> Result<Vec<Ipv4Addr>, String> {
    const NO_SUCH_NAME: u8 = 3;
    match message.get(3).map(|flags| flags & 0x0f) {
        Some(0) => {}
        Some(NO_SUCH_NAME) => return Ok(Vec::new()),
        code => return Err(format!("the answer's code is {code:?}")),
    }
    let number = |at: usize| {
        Some(usize::from(u16::from_be_bytes(
            message.get(at..at + 2)?.try_into().ok()?,
        )))
    };
    let mut found = Vec::new();
    let mut read = || -> Option<()> {
        for _ in 0..number(6)? {
            // An owner's name ends with the root or with a pointer.
            loop {
                match message.get(at)? {
                    0 => break at += 1,
                    pointer if pointer & 0xc0 == 0xc0 => break at += 2,
                    length => at += 1 + usize::from(*length),
                }
            }
            let (kind, length) = (number(at)?, number(at + 8)?);
            let data = message.get(at + 10..at + 10 + length)?;
            if kind == 1 {
                found.push(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?));
            }
            at += 10 + length;
        }
        Some(())
    };
    read().ok_or("the answer is cut off")?;
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{Ipv4Addr, addresses};

    #[test]
    fn addresses_are_found_in_an_answer() {
        let mut message = vec![0x47, 0x61, 0x85, 0x80, 0, 1, 0, 2, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1];
        let start = message.len();
        // An alias by a pointer, then an address under a name that is written out.
        message.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 5, 0, 3, 1, b'b', 0]);
        message.extend([1, b'b', 0, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 9]);
        assert_eq!(addresses(&message, start).unwrap(), [Ipv4Addr::new(10, 0, 0, 9)]);
        assert!(addresses(&message[..message.len() - 1], start).is_err());
        message[3] = 0x83;
        assert_eq!(addresses(&message, start).unwrap().len(), 0);
        message[3] = 0x82;
        assert!(addresses(&message, start).is_err());
    }
}
