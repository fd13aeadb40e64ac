//! The file of audit events, a line of JSON for each, rotated by size and age.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use parking_lot::Mutex;

/// Where audit events are written, and how long they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The file; `-` is the standard output.
    pub path: PathBuf,
    /// How many days files are kept that have been rotated out; 0 for ever.
    pub max_age: u32,
    /// How many of them are kept; 0 for all.
    pub max_backups: u32,
    /// When a file is rotated out, in megabytes.
    pub max_size: u32,
}

impl LogSettings {
    /// A file that is kept in pieces of 100 megabytes, all of them.
    pub fn new(path: impl Into<PathBuf>) -> LogSettings {
        LogSettings {
            path: path.into(),
            max_age: 0,
            max_backups: 0,
            max_size: 100,
        }
    }
}

/// The open log. An event is in it before its request goes on.
pub(super) struct Log(Option<Mutex<Rotated>>);

struct Rotated {
    settings: LogSettings,
    file: File,
    size: u64,
}

impl Log {
    pub(super) fn open(settings: &LogSettings) -> io::Result<Log> {
        if settings.path.as_os_str() == "-" {
            return Ok(Log(None));
        }
        if let Some(dir) = settings.path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            fs::create_dir_all(dir)?;
        }
        let file = open(&settings.path)?;
        let size = file.metadata()?.len();
        Ok(Log(Some(Mutex::new(Rotated {
            settings: settings.clone(),
            file,
            size,
        }))))
    }

    /// Writes a line. What can't be written is told of in the server's own log.
    pub(super) fn write(&self, line: &[u8]) {
        let written = match &self.0 {
            None => io::stdout().lock().write_all(line),
            Some(rotated) => rotated.lock().write(line),
        };
        if let Err(error) = written {
            tracing::error!(%error, "an audit event could not be written");
        }
    }
}

impl Rotated {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let most = u64::from(self.settings.max_size.max(1)) << 20;
        if self.size > 0 && self.size + line.len() as u64 > most {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let path = &self.settings.path;
        let aside = aside(path, Timestamp::now());
        fs::rename(path, aside)?;
        self.file = open(path)?;
        self.size = 0;
        self.forget();
        Ok(())
    }

    /// Removes what is too old or too much of what was rotated out.
    fn forget(&self) {
        let mut backups = backups(&self.settings.path);
        backups.sort_by_key(|(_, modified)| std::cmp::Reverse(*modified));
        let (most, days) = (self.settings.max_backups as usize, self.settings.max_age);
        let oldest = SystemTime::now().checked_sub(Duration::from_secs(u64::from(days) * 86_400));
        for (at, (backup, modified)) in backups.iter().enumerate() {
            let too_many = most > 0 && at >= most;
            let too_old = days > 0 && oldest.is_some_and(|oldest| *modified < oldest);
            if (too_many || too_old)
                && let Err(error) = fs::remove_file(backup)
            {
                tracing::warn!(%error, file = %backup.display(), "an old audit log could not be removed");
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// `audit.log` is rotated out to `audit-2026-01-02T03-04-05.678.log`.
fn aside(path: &Path, now: Timestamp) -> PathBuf {
    let (stem, extension) = parts(path);
    let time = now.strftime("%Y-%m-%dT%H-%M-%S%.3f");
    path.with_file_name(format!("{stem}-{time}{extension}"))
}

fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let extension = text(path.extension()).map_or_else(String::new, |extension| format!(".{extension}"));
    (text(path.file_stem()).unwrap_or_default(), extension)
}

fn backups(path: &Path) -> Vec<(PathBuf, SystemTime)> {
    let (stem, extension) = parts(path);
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let of_this_log = entries.filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let time = name
            .strip_prefix(&format!("{stem}-"))
            .and_then(|rest| rest.strip_suffix(&extension));
        time.is_some_and(|time| time.len() == 23 && time.starts_with(|c: char| c.is_ascii_digit()))
    });
    of_this_log
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.modified().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_rotated_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/audit.log");
        let settings = LogSettings {
            max_size: 1,
            max_backups: 2,
            ..LogSettings::new(&path)
        };
        let log = Log::open(&settings).unwrap();
        let line = vec![b'x'; 600 << 10];
        for _ in 0..6 {
            log.write(&line);
            std::thread::sleep(Duration::from_millis(3));
        }
        assert_eq!(backups(&path).len(), 2);
        assert_eq!(fs::metadata(&path).unwrap().len(), line.len() as u64);
        // What is there already is gone on with.
        drop(log);
        let log = Log::open(&settings).unwrap();
        log.write(b"one more\n");
        assert_eq!(fs::metadata(&path).unwrap().len(), line.len() as u64 + 9);
    }
}
