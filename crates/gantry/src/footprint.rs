//! What an idle process keeps in memory of the program itself.
//!
//! A start runs through code that is not run again: defaults, bootstrap objects, the first fill of every cache. The
//! kernel goes on counting those pages to the process for as long as nobody needs the memory. They are given back
//! a few times after the start; what is needed again is mapped again out of the page cache, a fraction of a microsecond a
//! page.

use std::fs;
use std::time::Duration;

/// When the pages are given back: the work of a start is done, that of the first objects, and that of what comes up once
/// a minute.
const SETTLED: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(60)];

/// Gives the pages back after a while. To be called when the process is ready.
pub(crate) fn settle_later() {
    tokio::spawn(async {
        for pause in SETTLED {
            tokio::time::sleep(pause).await;
            settle();
        }
    });
}

/// Gives back the pages of the program's code and constants.
pub(crate) fn settle() {
    let (Ok(maps), Ok(program)) = (fs::read_to_string("/proc/self/maps"), fs::read_link("/proc/self/exe")) else {
        return;
    };
    for (start, end) in unchanged(&maps, &program.to_string_lossy()) {
        let start = std::ptr::with_exposed_provenance_mut::<libc::c_void>(start);
        let length = end - start.addr();
        // SAFETY: the range is a private mapping of the program's file that was never written to (see `unchanged`), so
        // that what is read there after this call is what was read before it.
        unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) };
    }
}

/// The ranges of the program that are as they are in its file: its code, and the read-only segment at the file's
/// beginning. Not the read-only segments behind them: the loader has written addresses into those.
fn unchanged<'a>(maps: &'a str, program: &'a str) -> impl Iterator<Item = (usize, usize)> + use<'a> {
    maps.lines().filter_map(move |line| {
        // START-END PERMISSIONS OFFSET DEVICE INODE PATH
        let mut words = line.split_ascii_whitespace();
        let (range, permissions, offset) = (words.next()?, words.next()?, words.next()?);
        let path = line.find('/').map(|at| &line[at..])?;
        let at_the_beginning = usize::from_str_radix(offset, 16).ok()? == 0;
        let fits = permissions == "r-xp" || permissions == "r--p" && at_the_beginning;
        let (start, end) = range.split_once('-')?;
        let range = (
            usize::from_str_radix(start, 16).ok()?,
            usize::from_str_radix(end, 16).ok()?,
        );
        (fits && path == program).then_some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
7f0000000000-7f0000001000 r--p 00000000 fe:00 12 /usr/bin/gantry
7f0000001000-7f0000005000 r-xp 00001000 fe:00 12 /usr/bin/gantry
7f0000005000-7f0000006000 r--p 00005000 fe:00 12 /usr/bin/gantry
7f0000006000-7f0000007000 rw-p 00006000 fe:00 12 /usr/bin/gantry
7f0000010000-7f0000020000 r-xp 00000000 fe:00 13 /usr/lib/other.so
7f0000020000-7f0000030000 rw-p 00000000 00:00 0
7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0 [vdso]
";

    #[test]
    fn only_what_nobody_wrote_to_is_given_back() {
        let found: Vec<_> = unchanged(MAPS, "/usr/bin/gantry").collect();
        let expected = [
            (0x7f00_0000_0000, 0x7f00_0000_1000),
            (0x7f00_0000_1000, 0x7f00_0000_5000),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_program_goes_on_as_before() {
        let sum = || (0..1000).map(|n| format!("{n}").len()).sum::<usize>();
        let before = sum();
        settle();
        assert_eq!(sum(), before);
        assert!(std::panic::catch_unwind(|| panic!("unwinding still finds its tables")).is_err());
    }
}
