//! `--chmod`: octal modes, and symbolic ones as chmod(1) has them.

/// A change of modes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chmod {
    /// This mode, whatever it was.
    Octal(u32),
    /// Clauses such as `u=rwX,go-w`.
    Symbolic(Vec<Clause>),
}

/// Who, and what happens to their bits in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clause {
    who: u32,
    actions: Vec<(char, String)>,
}

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHER: u32 = 0o1007;

impl Chmod {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("--chmod={text} is no mode such as 755 or u=rwX,go=rX");
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
            return mode.map(Self::Octal).ok_or_else(wrong);
        }
        let clauses = text.split(',').map(Clause::parse).collect::<Option<Vec<_>>>();
        clauses.map(Self::Symbolic).ok_or_else(wrong)
    }

    /// The mode that comes of one.
    pub(super) fn apply(&self, mode: u32, directory: bool) -> u32 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Symbolic(clauses) => clauses.iter().fold(mode, |mode, clause| clause.apply(mode, directory)),
        }
    }
}

impl Clause {
    fn parse(text: &str) -> Option<Self> {
        let first = text.find(['+', '-', '='])?;
        let mut who = 0;
        for c in text[..first].chars() {
            who |= match c {
                'u' => USER,
                'g' => GROUP,
                'o' => OTHER,
                'a' => USER | GROUP | OTHER,
                _ => return None,
            };
        }
        let mut actions: Vec<(char, String)> = Vec::new();
        for c in text[first..].chars() {
            match c {
                '+' | '-' | '=' => actions.push((c, String::new())),
                'r' | 'w' | 'x' | 'X' | 's' | 't' | 'u' | 'g' | 'o' => actions.last_mut()?.1.push(c),
                _ => return None,
            }
        }
        let who = if who == 0 { USER | GROUP | OTHER } else { who };
        Some(Self { who, actions })
    }

    fn apply(&self, mut mode: u32, directory: bool) -> u32 {
        for (action, letters) in &self.actions {
            let mut bits = 0;
            for letter in letters.chars() {
                let triple = |of: u32| (of & 7) * 0o111;
                bits |= match letter {
                    'r' => 0o444,
                    'w' => 0o222,
                    'x' => 0o111,
                    'X' if directory || mode & 0o111 != 0 => 0o111,
                    's' => 0o6000,
                    't' => 0o1000,
                    'u' => triple(mode >> 6),
                    'g' => triple(mode >> 3),
                    'o' => triple(mode),
                    _ => 0,
                };
            }
            let bits = bits & self.who;
            mode = match action {
                '+' => mode | bits,
                '-' => mode & !bits,
                _ => mode & !self.who | bits,
            };
        }
        mode
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, before, directory, after) in [
            ("755", 0o600, false, 0o755),
            ("4755", 0o600, false, 0o4755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("g=u", 0o640, false, 0o660),
            ("u+s,o=", 0o755, false, 0o4750),
            ("go-rwx+x", 0o777, false, 0o711),
        ] {
            assert_eq!(Chmod::parse(text).unwrap().apply(before, directory), after, "{text}");
        }
        for text in ["", "8", "77777", "x=r", "u", "u=q"] {
            assert!(Chmod::parse(text).is_err(), "{text}");
        }
    }
}
