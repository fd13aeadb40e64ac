//! The state of one machine's cable, as a test sets it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How a cable is. The default is a perfect one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// Nothing passes.
    pub cut: bool,
    /// How much longer each frame takes, in each direction.
    pub delay: Duration,
    /// The share of frames that vanish, from 0 to 1, in each direction.
    pub loss: f64,
    /// Nobody can call in, as behind a firewall or an address translator: TCP connections that the machine did not open
    /// itself, datagrams and pings towards it are dropped.
    pub closed: bool,
}

/// A machine's cable. Clones are the same one.
#[derive(Clone, Default)]
pub struct Link {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    conditions: Mutex<Conditions>,
    refused: AtomicU64,
}

impl Link {
    /// How it is now.
    pub fn conditions(&self) -> Conditions {
        *self.state.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes it so from the next frame on.
    pub fn set(&self, conditions: Conditions) {
        *self.state.conditions.lock().unwrap_or_else(PoisonError::into_inner) = conditions;
    }

    /// Cuts it.
    pub fn cut(&self) {
        self.change(|conditions| conditions.cut = true);
    }

    /// Takes the cut back; what else was set stays.
    pub fn mend(&self) {
        self.change(|conditions| conditions.cut = false);
    }

    /// Drops what comes in unasked.
    pub fn close(&self) {
        self.change(|conditions| conditions.closed = true);
    }

    /// How many frames a closed link has dropped.
    pub fn refused(&self) -> u64 {
        self.state.refused.load(Ordering::Relaxed)
    }

    fn change(&self, change: impl FnOnce(&mut Conditions)) {
        change(&mut self.state.conditions.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether a frame towards the machine is stopped by the firewall before it.
    pub(super) fn refuses(&self, conditions: &Conditions, frame: &[u8]) -> bool {
        let refused = conditions.closed && calls_in(frame);
        if refused {
            self.state.refused.fetch_add(1, Ordering::Relaxed);
        }
        refused
    }
}

/// Whether an Ethernet frame begins something, as far as it says so itself.
fn calls_in(frame: &[u8]) -> bool {
    const ARP: [u8; 2] = [0x08, 0x06];
    const IPV4: [u8; 2] = [0x08, 0x00];
    const TCP: u8 = 6;
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    match frame.get(12..14) {
        Some(kind) if kind == ARP => return false,
        Some(kind) if kind == IPV4 => {}
        _ => return true,
    }
    let Some(packet) = frame.get(14..) else { return true };
    let header = packet.first().map_or(0, |byte| usize::from(byte & 0x0f) * 4);
    match (packet.get(9), packet.get(header + 13)) {
        (Some(&TCP), Some(flags)) => flags & (SYN | ACK) == SYN,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::calls_in;

    fn tcp(flags: u8) -> Vec<u8> {
        let mut frame = vec![0; 14 + 40];
        frame[12] = 0x08;
        frame[14] = 0x45;
        frame[14 + 9] = 6;
        frame[14 + 20 + 13] = flags;
        frame
    }

    #[test]
    fn only_what_begins_something_calls_in() {
        assert!(calls_in(&tcp(0x02)), "SYN");
        assert!(!calls_in(&tcp(0x12)), "its answer");
        assert!(!calls_in(&tcp(0x18)), "data");
        let mut datagram = tcp(0);
        datagram[14 + 9] = 17;
        assert!(calls_in(&datagram));
        let mut arp = tcp(0);
        arp[13] = 0x06;
        assert!(!calls_in(&arp));
        assert!(calls_in(&[0; 3]));
    }
}
