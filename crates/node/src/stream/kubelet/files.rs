//! The machine's log directory: its files and listings of its directories. Nothing outside of it can be read by it,
//! whatever names or links say.

use std::fs::File;
use std::os::fd::AsFd as _;

use futures::StreamExt as _;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use rustix::fs::{Dir, Mode, OFlags, ResolveFlags};
use tokio_util::io::ReaderStream;
use tunnel::Body;

use super::{text, typed};
use crate::stream::decode_path;

const ROOT: &str = "/var/log";

/// Answers with a file or a directory's list.
pub(super) async fn answer(slash: bool, below: &[&str]) -> Response<Body> {
    let path: Vec<String> = below.iter().map(|part| decode_path(part)).collect();
    let path = path.join("/");
    let opened = tokio::task::spawn_blocking(move || open(&path)).await;
    match opened {
        Ok(Ok(file)) if file.metadata().is_ok_and(|data| data.is_dir()) => {
            if !slash {
                let name = below.last().copied().unwrap_or("logs");
                return elsewhere(&format!("{name}/"));
            }
            list(&file)
        }
        Ok(Ok(file)) => {
            let pieces = ReaderStream::new(tokio::fs::File::from_std(file));
            let body = StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync();
            let mut response = Response::new(body);
            let plain = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, plain);
            response
        }
        _ => text(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

fn open(path: &str) -> rustix::io::Result<File> {
    let root = rustix::fs::open(ROOT, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = if path.is_empty() { "." } else { path };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(rustix::fs::openat2(root.as_fd(), path, flags, Mode::empty(), beneath)?);
    let kind = file.metadata().map(|data| data.is_file() || data.is_dir());
    // Pipes and devices have no end.
    match kind {
        Ok(true) => Ok(file),
        _ => Err(rustix::io::Errno::NOENT),
    }
}

fn elsewhere(to: &str) -> Response<Body> {
    let mut response = text(StatusCode::MOVED_PERMANENTLY, "");
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

fn list(dir: &File) -> Response<Body> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir).into_iter().flatten().flatten() {
        let name = String::from_utf8_lossy(entry.file_name().to_bytes()).into_owned();
        if matches!(name.as_str(), "." | "..") {
            continue;
        }
        let slash = if entry.file_type().is_dir() { "/" } else { "" };
        names.push(format!("{name}{slash}"));
    }
    names.sort();
    let mut page = String::from("<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n");
    for name in names {
        let shown = name
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&#34;");
        let link = name
            .replace('%', "%25")
            .replace('"', "%22")
            .replace('?', "%3F")
            .replace('#', "%23");
        page.push_str(&format!("<a href=\"{link}\">{shown}</a>\n"));
    }
    page.push_str("</pre>\n");
    typed("text/html; charset=utf-8", page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_is_opened() {
        assert!(open("").is_ok());
        assert!(open("../../etc/passwd").is_err());
        assert!(open("/etc/passwd").is_err());
    }
}
