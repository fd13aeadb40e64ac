//! What can be wrong with what the other side sends.

/// Why a connection can't go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing failed.
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    /// A control frame of a version that isn't 3.
    #[error("SPDY version {0} is not spoken here")]
    Version(u16),
    /// A frame that is longer than any client makes.
    #[error("a frame of {0} bytes is too long")]
    TooLong(usize),
    /// A frame that ends before what it must have.
    #[error("a frame of type {0} is too short")]
    TooShort(u16),
    /// Headers that can't be unpacked.
    #[error("the headers of a stream are malformed")]
    Headers,
}
