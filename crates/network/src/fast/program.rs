//! The two programs on the host's end of each pod's link, and what they know of connections.
//!
//! One sees what comes in from the pod, before the host's network stack does; the other what the host is about to give to
//! the pod. A connection is known when its handshake has passed both as one between two pods by their own addresses and
//! ports, that is: no rule has changed or dropped a part of it. See `State`. Then everything but its end is given straight
//! to the other pod. All that isn't of a known connection goes to the stack, as if there were no program.
//!
//! Never in here: a decision about who may talk to whom. That is made by the rules, which see each handshake.

use super::assembler::{Assembler, Label, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, STACK, When, Width};
use super::bpf::Map;
use crate::attach::{HOST_MAC, POD_MAC};

/// The addresses of this node's pods -> index of the host's end of the link.
pub(super) const PODS: (usize, usize) = (4, 4);
/// Source, destination, both ports, as they are in a packet -> a `flow`.
pub(super) const FLOWS: (usize, usize) = (12, flow::SIZE);

/// What is known of one direction of a connection: a structure of these fields, by their offsets.
pub(super) mod flow {
    /// The link by which its packets come in.
    pub(in crate::fast) const FROM: i16 = 0;
    /// The link of who gets them.
    pub(in crate::fast) const TO: i16 = 4;
    /// A `State`.
    pub(in crate::fast) const STATE: i16 = 8;
    /// What the answer to its first packet acknowledges, as it is in the packet.
    pub(in crate::fast) const ANSWER: i16 = 12;
    /// How many packets were given straight to the other pod.
    pub(in crate::fast) const COUNT: i16 = 16;
    pub(in crate::fast) const SIZE: usize = 24;
}

/// How far a connection is. It goes on by one step at a time, from what the client asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum State {
    /// The client's SYN for the other pod's own address came in.
    Asked = 1,
    /// The other pod's answer to just that came in.
    Answered = 2,
    /// The answer, not changed by any rule, was on its way out to the client: the stack let it pass.
    Allowed = 3,
    /// The client's next packet came in, and went through the stack too, for which the connection is established now.
    /// Both directions are known.
    Known = 4,
}

/// Where things are in a packet with an Ethernet header and an IPv4 header without options.
mod packet {
    pub(super) const VERSION_AND_LENGTH: i16 = 14;
    pub(super) const FRAGMENT: i16 = 20;
    pub(super) const PROTOCOL: i16 = 23;
    pub(super) const SOURCE: i16 = 26;
    pub(super) const DESTINATION: i16 = 30;
    pub(super) const PORTS: i16 = 34;
    pub(super) const SEQUENCE: i16 = 38;
    pub(super) const ACKNOWLEDGED: i16 = 42;
    pub(super) const FLAGS: i16 = 47;
    pub(super) const SIZE: i32 = 54;
    /// Version 4, five words of header.
    pub(super) const PLAIN: i32 = 0x45;
    pub(super) const TCP: i32 = 6;
    /// More fragments, or not the first one.
    pub(super) const IS_FRAGMENT: u16 = 0x3fff;
}

const FIN: i32 = 1;
const SYN: i32 = 2;
const RST: i32 = 4;
const ACK: i32 = 16;

/// Where things are in the kernel's `struct __sk_buff`.
mod context {
    pub(super) const PACKET_TYPE: i16 = 4;
    pub(super) const LINK: i16 = 40;
    pub(super) const DATA: i16 = 76;
    pub(super) const DATA_END: i16 = 80;
}

/// Functions of the kernel.
mod helper {
    pub(super) const LOOK_UP: i32 = 1;
    pub(super) const UPDATE: i32 = 2;
    pub(super) const DELETE: i32 = 3;
    pub(super) const STORE_BYTES: i32 = 9;
    pub(super) const REDIRECT_PEER: i32 = 155;
}

/// For this host, by the hardware address.
const TO_US: i32 = 0;
/// The result that leaves the packet to what comes next, in the end the stack.
const GO_ON: i32 = -1;

/// On the stack: the key of this direction, that of the other, a new value, and both hardware addresses.
const KEY: i16 = -16;
const OTHER_KEY: i16 = -32;
const VALUE: i16 = -64;
/// So that the pod's address in it is aligned.
const HARDWARE: i16 = -78;

/// The program for what comes in from a pod.
pub(super) fn entering(pods: &Map, flows: &Map) -> Vec<u8> {
    let mut a = Assembler::default();
    let [out, opening, ending, third] = [(); 4].map(|()| a.label());
    a.copy(R6, R1);
    a.load(Width::Four, R2, R6, context::PACKET_TYPE);
    a.jump_if(R2, When::Differs, TO_US, out);
    read_packet(&mut a, out);
    a.jump_if(R9, When::Shares, SYN, opening);
    look_up(&mut a, flows, KEY, out);
    a.copy(R8, R0);
    // Another pod may claim this one's address: the stack drops that.
    a.load(Width::Four, R2, R8, flow::FROM);
    a.load(Width::Four, R3, R6, context::LINK);
    a.jump_if_both(R2, When::Differs, R3, out);
    a.jump_if(R9, When::Shares, FIN | RST, ending);
    a.load(Width::Four, R2, R8, flow::STATE);
    a.jump_if(R2, When::Differs, State::Known as i32, third);
    // The pod may be gone and another one have its address: so its link is looked up, not remembered.
    look_up(&mut a, pods, KEY + 4, out);
    a.load(Width::Four, R9, R0, 0);
    address_hardware(&mut a, out);
    a.load(Width::Eight, R2, R8, flow::COUNT);
    a.add(R2, 1);
    a.store(Width::Eight, R8, flow::COUNT, R2);
    a.copy(R1, R9);
    a.set(R2, 0);
    a.call(helper::REDIRECT_PEER);
    a.exit();

    a.place(third);
    become_known(&mut a, flows, out);
    // The stack sees the end of each connection, and what is left of it afterwards.
    a.place(ending);
    delete(&mut a, flows, KEY);
    other_key(&mut a);
    delete(&mut a, flows, OTHER_KEY);
    a.jump(out);
    a.place(opening);
    open(&mut a, pods, flows, out);
    a.place(out);
    a.set(R0, GO_ON);
    a.exit();
    a.finish()
}

/// The program for what the host gives to a pod: it watches for answers that the stack has let pass as they were.
pub(super) fn leaving(flows: &Map) -> Vec<u8> {
    let mut a = Assembler::default();
    let out = a.label();
    a.copy(R6, R1);
    read_packet(&mut a, out);
    a.and(R9, SYN | ACK | FIN | RST);
    a.jump_if(R9, When::Differs, SYN | ACK, out);
    step(&mut a, flows, flow::FROM, State::Answered, State::Allowed, out);
    a.place(out);
    a.set(R0, GO_ON);
    a.exit();
    a.finish()
}

/// Leaves for `out` unless the packet is TCP in one piece. Then `R7` points to it, `R9` has its flags, and its key is on
/// the stack.
fn read_packet(a: &mut Assembler, out: Label) {
    a.load(Width::Four, R7, R6, context::DATA);
    a.load(Width::Four, R2, R6, context::DATA_END);
    a.copy(R3, R7);
    a.add(R3, packet::SIZE);
    a.jump_if_both(R3, When::Greater, R2, out);
    a.load(Width::One, R2, R7, packet::VERSION_AND_LENGTH);
    a.jump_if(R2, When::Differs, packet::PLAIN, out);
    a.load(Width::One, R2, R7, packet::PROTOCOL);
    a.jump_if(R2, When::Differs, packet::TCP, out);
    a.load(Width::Two, R2, R7, packet::FRAGMENT);
    a.jump_if(R2, When::Shares, i32::from(packet::IS_FRAGMENT.to_be()), out);
    for (at, field) in [packet::SOURCE, packet::DESTINATION, packet::PORTS]
        .into_iter()
        .enumerate()
    {
        a.load(Width::Four, R2, R7, field);
        a.store(Width::Four, STACK, KEY + 4 * at as i16, R2);
    }
    a.load(Width::One, R9, R7, packet::FLAGS);
}

/// Gives the packet the hardware addresses that it would have from the host, for pods that bridge their link to something
/// of their own. What `R7` points to can't be read any more.
fn address_hardware(a: &mut Assembler, out: Label) {
    let pair = |bytes: [u8; 2]| i32::from(u16::from_ne_bytes(bytes));
    let [h0, h1, h2, h3, h4, h5] = HOST_MAC;
    a.store_number(Width::Two, STACK, HARDWARE, pair(POD_MAC));
    a.load(Width::Four, R2, STACK, KEY + 4);
    a.store(Width::Four, STACK, HARDWARE + 2, R2);
    for (at, bytes) in [(6, [h0, h1]), (8, [h2, h3]), (10, [h4, h5])] {
        a.store_number(Width::Two, STACK, HARDWARE + at, pair(bytes));
    }
    a.copy(R1, R6);
    a.set(R2, 0);
    a.copy(R3, STACK);
    a.add(R3, i32::from(HARDWARE));
    a.set(R4, 12);
    a.set(R5, 0);
    a.call(helper::STORE_BYTES);
    a.jump_if(R0, When::Differs, 0, out);
}

/// The key of the other direction, from the packet. `R7` points to it.
fn other_key(a: &mut Assembler) {
    let parts = [
        (Width::Four, packet::DESTINATION, 0),
        (Width::Four, packet::SOURCE, 4),
        (Width::Two, packet::PORTS + 2, 8),
        (Width::Two, packet::PORTS, 10),
    ];
    for (width, field, at) in parts {
        a.load(width, R2, R7, field);
        a.store(width, STACK, OTHER_KEY + at, R2);
    }
}

/// What begins with SYN: a client's question, or the answer to one.
fn open(a: &mut Assembler, pods: &Map, flows: &Map, out: Label) {
    let answer = a.label();
    a.jump_if(R9, When::Shares, ACK, answer);
    // A question from the pod itself to another one's own address.
    look_up(a, pods, KEY, out);
    a.load(Width::Four, R2, R0, 0);
    a.load(Width::Four, R3, R6, context::LINK);
    a.jump_if_both(R2, When::Differs, R3, out);
    a.store(Width::Four, STACK, VALUE + flow::FROM, R2);
    look_up(a, pods, KEY + 4, out);
    a.load(Width::Four, R2, R0, 0);
    a.store(Width::Four, STACK, VALUE + flow::TO, R2);
    a.load(Width::Four, R2, R7, packet::SEQUENCE);
    a.network_order(R2);
    a.add_32(R2, 1);
    a.network_order(R2);
    a.store(Width::Four, STACK, VALUE + flow::ANSWER, R2);
    finish_value(a, State::Asked);
    update(a, flows, KEY);
    other_key(a);
    delete(a, flows, OTHER_KEY);
    a.jump(out);

    a.place(answer);
    // A client may have asked a service, by the port of an earlier connection: what comes now isn't of that one.
    delete(a, flows, KEY);
    step(a, flows, flow::TO, State::Asked, State::Answered, out);
    a.jump(out);
}

/// An answer goes through this link: what it answers takes a step, if `link` of it is this one.
fn step(a: &mut Assembler, flows: &Map, link: i16, from: State, to: State, out: Label) {
    other_key(a);
    look_up(a, flows, OTHER_KEY, out);
    a.load(Width::Four, R2, R0, link);
    a.load(Width::Four, R3, R6, context::LINK);
    a.jump_if_both(R2, When::Differs, R3, out);
    a.load(Width::Four, R2, R0, flow::STATE);
    a.jump_if(R2, When::Differs, from as i32, out);
    a.load(Width::Four, R2, R0, flow::ANSWER);
    a.load(Width::Four, R3, R7, packet::ACKNOWLEDGED);
    a.jump_if_both(R2, When::Differs, R3, out);
    a.store_number(Width::Four, R0, flow::STATE, to as i32);
}

/// The client goes on after an answer that was allowed: from now on both directions are known. `R8` points to its flow,
/// `R2` has the state of it.
fn become_known(a: &mut Assembler, flows: &Map, out: Label) {
    a.jump_if(R2, When::Differs, State::Allowed as i32, out);
    a.store_number(Width::Four, R8, flow::STATE, State::Known as i32);
    a.load(Width::Four, R2, R8, flow::TO);
    a.store(Width::Four, STACK, VALUE + flow::FROM, R2);
    a.load(Width::Four, R2, R8, flow::FROM);
    a.store(Width::Four, STACK, VALUE + flow::TO, R2);
    a.store_number(Width::Four, STACK, VALUE + flow::ANSWER, 0);
    finish_value(a, State::Known);
    other_key(a);
    update(a, flows, OTHER_KEY);
    a.jump(out);
}

fn finish_value(a: &mut Assembler, state: State) {
    a.store_number(Width::Four, STACK, VALUE + flow::STATE, state as i32);
    a.store_number(Width::Eight, STACK, VALUE + flow::COUNT, 0);
}

/// `R0` points to what the map has for the key there on the stack; without it, on to `out`.
fn look_up(a: &mut Assembler, map: &Map, key: i16, out: Label) {
    with_key(a, map, key);
    a.call(helper::LOOK_UP);
    a.jump_if(R0, When::Equal, 0, out);
}

fn update(a: &mut Assembler, map: &Map, key: i16) {
    with_key(a, map, key);
    a.copy(R3, STACK);
    a.add(R3, i32::from(VALUE));
    a.set(R4, 0);
    a.call(helper::UPDATE);
}

fn delete(a: &mut Assembler, map: &Map, key: i16) {
    with_key(a, map, key);
    a.call(helper::DELETE);
}

fn with_key(a: &mut Assembler, map: &Map, key: i16) {
    a.map(R1, map.descriptor());
    a.copy(R2, STACK);
    a.add(R2, i32::from(key));
}
