//! What the embedded store needs of a file system: few operations, each with its durability spelled out, so that a
//! test can put a disk of its own underneath that forgets, fills up or lies.

use std::io;
use std::sync::Arc;

/// A directory of files.
pub trait Media: Send + Sync {
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file that is there.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Makes an empty file, in place of one of that name. Its name is durable after [`Media::sync_names`].
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name, in place of one that has it. Durable after [`Media::sync_names`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; who has it open can go on reading it. Durable after [`Media::sync_names`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    fn sync_names(&self) -> io::Result<()>;
}

/// An open file.
pub trait File: Send + Sync {
    /// How many bytes it has now.
    fn size(&self) -> io::Result<u64>;

    /// Fills the buffer from an offset as far as the file goes, and says how much that was.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of the bytes at an offset. After an error any part of them may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written before durable, the length included.
    fn sync(&self) -> io::Result<()>;

    /// Cuts it off. Durable after [`File::sync`].
    fn truncate(&self, len: u64) -> io::Result<()>;
}
