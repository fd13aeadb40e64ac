//! A blocking netlink socket. It belongs to the network namespace of the thread that opened it, wherever it is used.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::attrs::{Messages, Received, split};

const READ_BUFFER: usize = 256 * 1024;
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
const NETLINK_CAP_ACK: libc::c_int = 10;
const NETLINK_EXT_ACK: libc::c_int = 11;
const EXT_ACK_TEXT: u16 = 1;
/// A dump that was disturbed by changes is asked for again this often.
const DUMP_RETRIES: usize = 20;

/// One socket; use it from one thread at a time.
pub(crate) struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
    send_size: usize,
}

/// The answer to one failed request.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) what: String,
    pub(crate) source: io::Error,
}

impl Socket {
    /// Opens a socket of a netlink protocol (`NETLINK_ROUTE`, `NETLINK_NETFILTER`).
    pub(crate) fn open(protocol: libc::c_int) -> io::Result<Socket> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: a plain system call; the result is checked before use.
        let fd = check(unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) })?;
        // SAFETY: `fd` is a fresh descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let socket = Socket {
            fd,
            buffer: vec![0; READ_BUFFER],
            send_size: 0,
        };
        socket.option(libc::SOL_NETLINK, NETLINK_CAP_ACK, &1i32)?;
        socket.option(libc::SOL_NETLINK, NETLINK_EXT_ACK, &1i32)?;
        let wait = libc::timeval {
            tv_sec: ANSWER_WITHIN.as_secs() as libc::time_t,
            tv_usec: 0,
        };
        socket.option(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &wait)?;
        // Best effort: without it a dump of very many elements is cut, which the reader notices.
        let _ = socket.option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(8 * 1024 * 1024i32));
        Ok(socket)
    }

    /// Opens a socket that is told of changes, by groups of the protocol; it is read by `try_receive` only.
    pub(crate) fn listen(protocol: libc::c_int, groups: u32) -> io::Result<Socket> {
        let socket = Socket::open(protocol)?;
        // SAFETY: all zeroes is a valid value of this plain C structure.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = groups;
        let size = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: pointer and size describe `address`, which outlives the call.
        check(unsafe { libc::bind(socket.fd.as_raw_fd(), (&raw const address).cast(), size) })?;
        Ok(socket)
    }

    /// What has come in, without waiting for more.
    pub(crate) fn try_receive(&mut self) -> io::Result<Vec<Received>> {
        self.receive_with(libc::MSG_DONTWAIT)
    }

    /// Sends all messages at once and waits for every answer that was asked for. The first refusal is returned.
    pub(crate) fn transact(&mut self, messages: &Messages) -> Result<(), Refused> {
        self.send(messages.as_slice()).map_err(|source| Refused {
            what: "sending to the kernel".into(),
            source,
        })?;
        let mut pending: Vec<u32> = messages.asked.iter().map(|(sequence, _)| *sequence).collect();
        let first = messages.described.first().map(|(sequence, _)| *sequence);
        let mut refused: Option<Refused> = None;
        while !pending.is_empty() {
            let received = self.receive().map_err(|source| Refused {
                what: "reading the kernel's answer".into(),
                source,
            })?;
            for message in received {
                if i32::from(message.kind) != libc::NLMSG_ERROR {
                    continue;
                }
                pending.retain(|sequence| *sequence != message.sequence);
                let Some(source) = failure(&message) else { continue };
                let what = describe(messages, message.sequence);
                // A batch that fails as a whole is answered once, for the message that opens it.
                if Some(message.sequence) == first {
                    pending.clear();
                }
                refused.get_or_insert(Refused { what, source });
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Sends one listing request and returns all that it lists.
    pub(crate) fn dump(&mut self, request: impl Fn(&mut Messages)) -> io::Result<Vec<Received>> {
        for _ in 0..DUMP_RETRIES {
            let mut messages = Messages::default();
            request(&mut messages);
            if let Some(found) = self.dump_once(&messages)? {
                return Ok(found);
            }
        }
        Err(io::Error::from_raw_os_error(libc::EINTR))
    }

    /// Sends one request that is answered by one message of data.
    pub(crate) fn get(&mut self, messages: &Messages) -> io::Result<Received> {
        self.send(messages.as_slice())?;
        let sequence = messages
            .described
            .first()
            .map(|(sequence, _)| *sequence)
            .unwrap_or_default();
        loop {
            for message in self.receive()? {
                if message.sequence != sequence {
                    continue;
                }
                if i32::from(message.kind) == libc::NLMSG_ERROR {
                    return Err(failure(&message).unwrap_or_else(|| io::Error::from_raw_os_error(libc::ENODATA)));
                }
                return Ok(message);
            }
        }
    }

    /// `None` when the list changed while it was read.
    fn dump_once(&mut self, messages: &Messages) -> io::Result<Option<Vec<Received>>> {
        self.send(messages.as_slice())?;
        let sequence = messages
            .described
            .first()
            .map(|(sequence, _)| *sequence)
            .unwrap_or_default();
        let (mut found, mut disturbed) = (Vec::new(), false);
        loop {
            for message in self.receive()? {
                if message.sequence != sequence {
                    continue;
                }
                disturbed |= message.flags & libc::NLM_F_DUMP_INTR as u16 != 0;
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => return Ok((!disturbed).then_some(found)),
                    libc::NLMSG_ERROR => match failure(&message) {
                        Some(error) if error.raw_os_error() == Some(libc::EINTR) => return Ok(None),
                        Some(error) => return Err(error),
                        None => return Ok(Some(found)),
                    },
                    _ => found.push(message),
                }
            }
        }
    }

    /// Asks for a link's state, upon which the kernel brings it up to date. A link that was set up before its peer sends
    /// nothing until the kernel gets round to noticing the peer, and drops what it is given: milliseconds as a rule,
    /// a second at worst.
    pub(crate) fn sync_link(&self, name: &str) -> io::Result<()> {
        const GET_LINK: u32 = 0x0a;
        const GET: libc::Ioctl = 0x8946;
        let mut state = [GET_LINK, 0];
        // SAFETY: all zeroes is a valid value of this plain C structure.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        let room = request.ifr_name.len() - 1;
        for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = state.as_mut_ptr().cast();
        // SAFETY: the request names a link and points to the two numbers that this command reads and writes; both
        // outlive the call.
        check(unsafe { libc::ioctl(self.fd.as_raw_fd(), GET, &raw mut request) })?;
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        // A message must fit the send buffer as a whole.
        let needed = bytes.len() * 2 + 64 * 1024;
        if needed > self.send_size {
            let size = i32::try_from(needed).map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
            self.option(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &size)?;
            self.send_size = needed;
        }
        // SAFETY: pointer and length describe `bytes`, which outlives the call.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        if sent as usize == bytes.len() {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::EMSGSIZE))
        }
    }

    fn receive(&mut self) -> io::Result<Vec<Received>> {
        self.receive_with(0)
    }

    fn receive_with(&mut self, flags: libc::c_int) -> io::Result<Vec<Received>> {
        loop {
            let (pointer, length) = (self.buffer.as_mut_ptr().cast(), self.buffer.len());
            // SAFETY: pointer and length describe our own buffer, which outlives the call.
            let read = unsafe { libc::recv(self.fd.as_raw_fd(), pointer, length, libc::MSG_TRUNC | flags) };
            if read < 0 {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            }
            let read = read as usize;
            if read > self.buffer.len() {
                return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
            }
            return Ok(split(&self.buffer[..read]));
        }
    }

    fn option<T>(&self, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
        let size = size_of::<T>() as libc::socklen_t;
        // SAFETY: pointer and size describe `value`, a plain C value that outlives the call.
        check(unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), size) })?;
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn describe(messages: &Messages, sequence: u32) -> String {
    let all = messages.asked.iter().chain(&messages.described);
    all.filter(|(found, _)| *found == sequence)
        .map(|(_, what)| what.clone())
        .next()
        .unwrap_or_default()
}

/// The error in an answer; `None` when it says that all went well.
fn failure(message: &Received) -> Option<io::Error> {
    let code = message
        .body
        .get(..4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, i32::from_ne_bytes);
    if code == 0 {
        return None;
    }
    if let Some(text) = extended(message) {
        tracing::debug!(code = -code, text, "the kernel refused a request");
    }
    Some(io::Error::from_raw_os_error(-code))
}

/// What the kernel says in words: behind the header of the request that it answers.
fn extended(message: &Received) -> Option<String> {
    let rest = message.body.get(20..)?;
    let text = super::attr(rest, EXT_ACK_TEXT)?;
    Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
}
