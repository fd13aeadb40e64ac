//! A small assembler for the kernel's BPF machine: as much of its instruction set (RFC 9669) as the programs beside it use.
//!
//! It knows no program and no system call. A jump goes to a label that is placed once, before or after it.

/// A register. `R0` is the result, `R1` to `R5` are arguments and lost in a call, `R6` to `R9` outlive it, `R10` is the
/// stack's upper end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reg(pub(super) u8);

pub(super) const R0: Reg = Reg(0);
pub(super) const R1: Reg = Reg(1);
pub(super) const R2: Reg = Reg(2);
pub(super) const R3: Reg = Reg(3);
pub(super) const R4: Reg = Reg(4);
pub(super) const R5: Reg = Reg(5);
pub(super) const R6: Reg = Reg(6);
pub(super) const R7: Reg = Reg(7);
pub(super) const R8: Reg = Reg(8);
pub(super) const R9: Reg = Reg(9);
pub(super) const STACK: Reg = Reg(10);

/// How many bytes a load or store moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    One = 0x10,
    Two = 0x08,
    Four = 0x00,
    Eight = 0x18,
}

/// When a jump is taken. Numbers are compared without sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Equal = 0x10,
    Greater = 0x20,
    /// They have a bit in common.
    Shares = 0x40,
    Differs = 0x50,
}

/// A place in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

const LOAD: u8 = 0x61;
const LOAD_DOUBLE: u8 = 0x18;
const STORE: u8 = 0x63;
const STORE_NUMBER: u8 = 0x62;
const MOVE: u8 = 0xbf;
const MOVE_NUMBER: u8 = 0xb7;
const ADD_NUMBER: u8 = 0x07;
const ADD_NUMBER_32: u8 = 0x04;
const AND_NUMBER: u8 = 0x57;
const TO_NETWORK_ORDER: u8 = 0xdc;
const JUMP: u8 = 0x05;
const JUMP_ON_NUMBER: u8 = 0x05;
const JUMP_ON_REGISTER: u8 = 0x0d;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// Marks the number of a double load as the descriptor of a map.
const IS_MAP: Reg = Reg(1);

#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    to: Reg,
    from: Reg,
    offset: i16,
    number: i32,
}

/// A program being written.
#[derive(Default)]
pub(super) struct Assembler {
    instructions: Vec<Instruction>,
    /// Where each label is, once it is placed.
    labels: Vec<Option<usize>>,
    /// Instructions whose offset is the way to a label.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// A label that is placed later.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Places a label here.
    pub(super) fn place(&mut self, label: Label) {
        debug_assert!(self.labels[label.0].is_none(), "a label is in one place");
        self.labels[label.0] = Some(self.instructions.len());
    }

    /// `to = *(base + offset)`
    pub(super) fn load(&mut self, width: Width, to: Reg, base: Reg, offset: i16) {
        self.push(LOAD | width as u8, to, base, offset, 0);
    }

    /// `*(base + offset) = from`
    pub(super) fn store(&mut self, width: Width, base: Reg, offset: i16, from: Reg) {
        self.push(STORE | width as u8, base, from, offset, 0);
    }

    /// `*(base + offset) = number`
    pub(super) fn store_number(&mut self, width: Width, base: Reg, offset: i16, number: i32) {
        self.push(STORE_NUMBER | width as u8, base, R0, offset, number);
    }

    /// `to = from`
    pub(super) fn copy(&mut self, to: Reg, from: Reg) {
        self.push(MOVE, to, from, 0, 0);
    }

    /// `to = number`
    pub(super) fn set(&mut self, to: Reg, number: i32) {
        self.push(MOVE_NUMBER, to, R0, 0, number);
    }

    /// `to = the map of this descriptor`
    pub(super) fn map(&mut self, to: Reg, descriptor: i32) {
        self.push(LOAD_DOUBLE, to, IS_MAP, 0, descriptor);
        self.push(0, R0, R0, 0, 0);
    }

    /// `to += number`
    pub(super) fn add(&mut self, to: Reg, number: i32) {
        self.push(ADD_NUMBER, to, R0, 0, number);
    }

    /// `to += number`, in 32 bits.
    pub(super) fn add_32(&mut self, to: Reg, number: i32) {
        self.push(ADD_NUMBER_32, to, R0, 0, number);
    }

    /// `to &= number`
    pub(super) fn and(&mut self, to: Reg, number: i32) {
        self.push(AND_NUMBER, to, R0, 0, number);
    }

    /// Turns the lower four bytes from the machine's order into the network's, or back.
    pub(super) fn network_order(&mut self, to: Reg) {
        self.push(TO_NETWORK_ORDER, to, R0, 0, 32);
    }

    pub(super) fn jump(&mut self, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(JUMP, R0, R0, 0, 0);
    }

    /// Jumps when the register and the number are so.
    pub(super) fn jump_if(&mut self, one: Reg, when: When, number: i32, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(JUMP_ON_NUMBER | when as u8, one, R0, 0, number);
    }

    /// Jumps when the two registers are so.
    pub(super) fn jump_if_both(&mut self, one: Reg, when: When, other: Reg, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(JUMP_ON_REGISTER | when as u8, one, other, 0, 0);
    }

    /// Calls a function of the kernel by its number.
    pub(super) fn call(&mut self, function: i32) {
        self.push(CALL, R0, R0, 0, function);
    }

    /// Ends the program with what is in `R0`.
    pub(super) fn exit(&mut self) {
        self.push(EXIT, R0, R0, 0, 0);
    }

    /// The program as the kernel takes it.
    pub(super) fn finish(mut self) -> Vec<u8> {
        for (at, label) in &self.jumps {
            let place = self.labels[label.0].expect("each label is placed");
            // Counted from the instruction after the jump.
            self.instructions[*at].offset = (place as i64 - *at as i64 - 1) as i16;
        }
        self.instructions.iter().flat_map(|one| one.bytes()).collect()
    }

    fn push(&mut self, code: u8, to: Reg, from: Reg, offset: i16, number: i32) {
        self.instructions.push(Instruction {
            code,
            to,
            from,
            offset,
            number,
        });
    }
}

impl Instruction {
    fn bytes(self) -> [u8; 8] {
        let registers = if cfg!(target_endian = "big") {
            self.to.0 << 4 | self.from.0
        } else {
            self.from.0 << 4 | self.to.0
        };
        let ([a, b], [c, d, e, f]) = (self.offset.to_ne_bytes(), self.number.to_ne_bytes());
        [self.code, registers, a, b, c, d, e, f]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the encodings in RFC 9669, as a little-endian machine has them.
    #[test]
    #[cfg(target_endian = "little")]
    fn instructions_are_encoded_as_the_standard_says() {
        let mut program = Assembler::default();
        program.load(Width::Four, R2, R1, 16);
        program.store(Width::Eight, STACK, -8, R2);
        program.store_number(Width::One, STACK, -1, 3);
        program.copy(R6, R1);
        program.set(R0, -1);
        program.add_32(R2, 1);
        program.network_order(R2);
        program.call(155);
        program.exit();
        let expected: [[u8; 8]; 9] = [
            [0x61, 0x12, 16, 0, 0, 0, 0, 0],
            [0x7b, 0x2a, 0xf8, 0xff, 0, 0, 0, 0],
            [0x72, 0x0a, 0xff, 0xff, 3, 0, 0, 0],
            [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
            [0xb7, 0x00, 0, 0, 0xff, 0xff, 0xff, 0xff],
            [0x04, 0x02, 0, 0, 1, 0, 0, 0],
            [0xdc, 0x02, 0, 0, 32, 0, 0, 0],
            [0x85, 0x00, 0, 0, 155, 0, 0, 0],
            [0x95, 0x00, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(program.finish(), expected.concat());
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn jumps_lead_to_their_labels_over_double_instructions() {
        let mut program = Assembler::default();
        let (start, end) = (program.label(), program.label());
        program.place(start);
        program.jump_if(R2, When::Shares, 4, end);
        program.map(R1, 9);
        program.jump_if_both(R2, When::Greater, R3, start);
        program.jump(end);
        program.place(end);
        program.exit();
        let expected: [[u8; 8]; 6] = [
            [0x45, 0x02, 4, 0, 4, 0, 0, 0],
            [0x18, 0x11, 0, 0, 9, 0, 0, 0],
            [0; 8],
            [0x2d, 0x32, 0xfc, 0xff, 0, 0, 0, 0],
            [0x05, 0x00, 0, 0, 0, 0, 0, 0],
            [0x95, 0x00, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(program.finish(), expected.concat());
    }
}
