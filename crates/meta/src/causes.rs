//! Errors as one line for people.

use std::error::Error;

/// An error with all its causes, outermost first, parted by `: `. For errors whose own text leaves their causes out, as
/// `tonic`'s and `hyper`'s do.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Said(&'static str, Option<Box<Said>>);

    impl std::fmt::Display for Said {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Said {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn all_causes_in_their_order() {
        assert_eq!(chain(&Said("alone", None)), "alone");
        let deep = Said(
            "outer",
            Some(Box::new(Said("middle", Some(Box::new(Said("inner", None)))))),
        );
        assert_eq!(chain(&deep), "outer: middle: inner");
    }
}
