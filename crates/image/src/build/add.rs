//! COPY and ADD carried out: sources, here-documents, downloads and archives become a layer.

use std::fs::File;
use std::io::{BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::error::{At as _, Result};
use crate::unpack::{self, Sync};

use super::chmod::Chmod;
use super::copy::{Copies, Rules, digest_of_file};
use super::fault;
use super::instruction::Copy;
use super::pattern::Ignore;
use super::stage::{Build, From};
use super::state::State;
use super::tarball::Tarball;
use super::tree::{Node, Tree};
use super::users::{self, User};
use super::words::join;

impl Build<'_> {
    /// COPY and ADD.
    pub(super) fn copy(&self, index: usize, state: &mut State, copy: &Copy, name: &str) -> Result<()> {
        let from = self.from(index, copy.from.as_deref())?;
        // A linked layer doesn't depend on what lies below.
        let nothing = Tree::default();
        let base = if copy.link { nothing } else { state.tree.clone() };
        let sources = copy.sources.iter().map(|source| state.expand(source));
        let sources = sources.collect::<Result<Vec<_>, _>>().map_err(fault)?;
        let rules = self.rules(state, copy, &from, sources.len() + copy.documents.len())?;
        let mut pieces = Vec::new();
        for source in &sources {
            pieces.push(self.piece(copy, &from.tree, source)?);
        }
        for document in &copy.documents {
            let data = if document.expand {
                state.expand(&document.data()).map_err(fault)?
            } else {
                document.data()
            };
            pieces.push(Piece::Content {
                name: document.name.clone(),
                bytes: data.into(),
                mode: 0o644,
                mtime: None,
            });
        }
        let placed = Placed {
            from: &from.tree,
            base: &base,
            rules: &rules,
        };
        let copies = placed.sealed(&pieces)?;
        let digest = copies.digest()?;
        let below = state.tree.clone();
        let key = match copy.link {
            true => self.key(&State::scratch(state.escape), &["LINK", &digest]),
            false => self.key(state, &["COPY", &digest]),
        };
        self.layer(state, name, &key, |_| {
            let mut layer = Tarball::new(self.store, if copy.link { &base } else { &below }, self.times)?;
            self.check()?;
            // Kept until the layer is written.
            let mut unpacked = Vec::new();
            let copies = match pieces.iter().any(|piece| matches!(piece, Piece::Archive(_))) {
                true => placed.opened(&pieces, self, &mut unpacked)?,
                false => copies,
            };
            copies.write(&mut layer)?;
            layer.finish()
        })?;
        let words = history(copy, &sources);
        state.note(words, false);
        Ok(())
    }

    fn rules(&self, state: &State, copy: &Copy, from: &From, count: usize) -> Result<Rules> {
        let expand = |text: &String| state.expand(text).map_err(fault);
        let dest = expand(&copy.dest)?;
        let into_directory =
            dest.ends_with('/') || dest == "." || dest.ends_with("/.") || dest == ".." || dest.ends_with("/..");
        if count > 1 && !into_directory {
            return Err(fault(format!(
                "with several sources the destination {dest:?} must end with a /"
            )));
        }
        let owner = match &copy.chown {
            Some(text) => Some(users::owner(&expand(text)?, &state.tree)?),
            None if from.keeps_owner => None,
            None => Some(User::default()),
        };
        let chmod = copy
            .chmod
            .as_ref()
            .map(|text| Chmod::parse(&expand(text)?).map_err(fault))
            .transpose()?;
        let exclude = copy.exclude.iter().map(expand).collect::<Result<Vec<_>>>()?;
        if copy.checksum.is_some() && !(copy.sources.len() == 1 && is_url(&copy.sources[0])) {
            return Err(fault("ADD --checksum goes with one source that is a URL"));
        }
        if let Some(source) = copy.sources.iter().find(|source| !copy.add && is_url(source)) {
            return Err(fault(format!("COPY can't download {source}; ADD can")));
        }
        Ok(Rules {
            target: join(&state.config.config.working_dir, &dest),
            into_directory,
            owner,
            chmod,
            parents: copy.parents,
            exclude: Ignore::new(exclude.iter().map(String::as_str)).map_err(fault)?,
            times: self.times,
        })
    }

    /// What a source is.
    fn piece(&self, copy: &Copy, from: &Tree, source: &str) -> Result<Piece> {
        if is_git(source) {
            return Err(fault(format!(
                "{source}: nothing is fetched by git; use a URL of an archive, or a context"
            )));
        }
        if is_url(source) {
            return self.fetched(copy, source);
        }
        if copy.add && copy.unpack != Some(false) {
            let found = from.find(&join("/", source))?;
            if let Some(Node::Other(_, host, metadata)) = found
                && metadata.is_file()
                && is_archive(&mut BufReader::new(File::open(&host).at("opening", &host)?))
            {
                return Ok(Piece::Archive(Archive::File(host)));
            }
        }
        Ok(Piece::Files(source.to_string()))
    }

    fn fetched(&self, copy: &Copy, url: &str) -> Result<Piece> {
        let mut file =
            tempfile::tempfile_in(&self.options.workspace).at("making a file in", &self.options.workspace)?;
        let mtime = self.host.fetch(url, &mut file).map_err(fault)?;
        let mut bytes = Vec::new();
        file.rewind()
            .and_then(|()| file.read_to_end(&mut bytes))
            .at("reading", url)?;
        if let Some(wanted) = &copy.checksum {
            let found = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
            if !wanted.starts_with("sha256:") {
                return Err(fault(format!("ADD --checksum={wanted}: only sha256:... is known")));
            }
            if *wanted != found {
                return Err(fault(format!("{url} has the digest {found}, not {wanted}")));
            }
        }
        if copy.unpack == Some(true) && is_archive(&mut bytes.as_slice()) {
            return Ok(Piece::Archive(Archive::Bytes(bytes.into())));
        }
        let path = url
            .split(['?', '#'])
            .next()
            .unwrap_or(url)
            .splitn(4, '/')
            .nth(3)
            .unwrap_or_default();
        let name = path
            .rsplit('/')
            .next()
            .filter(|name| !name.is_empty())
            .unwrap_or("__unnamed__");
        Ok(Piece::Content {
            name: name.to_string(),
            bytes: bytes.into(),
            mode: 0o600,
            mtime,
        })
    }

    /// A directory that is gone when the build is over.
    pub(super) fn scratch(&self) -> Result<TempDir> {
        tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir_in(&self.options.workspace)
            .at("making a directory in", &self.options.workspace)
    }
}

/// What a source of COPY or ADD is.
enum Piece {
    /// Files of a tree, by this name.
    Files(String),
    /// A file with this content.
    Content {
        name: String,
        bytes: Bytes,
        mode: u32,
        mtime: Option<i64>,
    },
    /// What is unpacked.
    Archive(Archive),
}

enum Archive {
    File(PathBuf),
    Bytes(Bytes),
}

/// Where pieces come from and go to.
struct Placed<'a> {
    from: &'a Tree,
    base: &'a Tree,
    rules: &'a Rules,
}

impl Placed<'_> {
    /// What is copied, archives as they are: enough to know it again, and quick.
    fn sealed(&self, pieces: &[Piece]) -> Result<Copies> {
        self.gather(pieces, |copies, archive| {
            let digest = match archive {
                Archive::File(path) => digest_of_file(path)?,
                Archive::Bytes(bytes) => Sha256::digest(bytes).to_vec(),
            };
            copies.add_sealed(digest, self.base, self.rules)
        })
    }

    /// What is copied, archives unpacked: each beside, where nothing in it can do harm. Owners and modes are the
    /// archive's, unless others are asked for.
    fn opened(&self, pieces: &[Piece], build: &Build<'_>, unpacked: &mut Vec<TempDir>) -> Result<Copies> {
        let rules = Rules {
            target: self.rules.target.clone(),
            into_directory: true,
            owner: self.rules.owner.clone().filter(|owner| *owner != User::default()),
            chmod: self.rules.chmod.clone(),
            parents: false,
            exclude: self.rules.exclude.clone(),
            times: self.rules.times,
        };
        self.gather(pieces, |copies, archive| {
            let dir = build.scratch()?;
            match archive {
                Archive::File(path) => unpack_into(&mut BufReader::new(File::open(path).at("opening", path)?), &dir)?,
                Archive::Bytes(bytes) => unpack_into(&mut &bytes[..], &dir)?,
            }
            copies.add_unpacked(dir.path(), self.base, &rules)?;
            unpacked.push(dir);
            Ok(())
        })
    }

    fn gather(
        &self,
        pieces: &[Piece],
        mut archived: impl FnMut(&mut Copies, &Archive) -> Result<()>,
    ) -> Result<Copies> {
        let mut copies = Copies::default();
        for piece in pieces {
            match piece {
                Piece::Files(source) => copies.add(self.from, source, self.base, self.rules)?,
                Piece::Content {
                    name,
                    bytes,
                    mode,
                    mtime,
                } => copies.add_bytes(name, bytes.clone(), *mode, *mtime, self.base, self.rules)?,
                Piece::Archive(archive) => archived(&mut copies, archive)?,
            }
        }
        Ok(copies)
    }
}

fn unpack_into(input: &mut dyn Read, dir: &TempDir) -> Result<()> {
    let input = plain(input).at("reading", "an archive")?;
    unpack::unpack(input, dir.path(), Sync::Later)?;
    Ok(())
}

/// Puts the decompressors that layers don't need before those that they do.
fn plain<'r>(input: &'r mut dyn Read) -> std::io::Result<Box<dyn Read + 'r>> {
    let mut magic = Vec::new();
    input.take(6).read_to_end(&mut magic)?;
    let whole = std::io::Cursor::new(magic.clone()).chain(input);
    Ok(match magic.as_slice() {
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Box::new(lzma_rust2::XzReader::new(whole, true)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::read::MultiBzDecoder::new(whole)),
        _ => unpack::decompress(whole)?,
    })
}

/// Whether the content is a tar, compressed or not, whatever its name.
fn is_archive(input: &mut dyn Read) -> bool {
    let Ok(plain) = plain(input) else { return false };
    let mut archive = tar::Archive::new(plain);
    let Ok(mut entries) = archive.entries() else {
        return false;
    };
    matches!(entries.next(), Some(Ok(_)))
}

fn is_url(source: &str) -> bool {
    source.starts_with("http://") && !is_git(source) || source.starts_with("https://") && !is_git(source)
}

fn is_git(source: &str) -> bool {
    let path = source.split(['#', '?']).next().unwrap_or(source);
    source.starts_with("git@")
        || source.starts_with("git://")
        || source.starts_with("ssh://")
        || (path.starts_with("http") && path.contains("://") && path.ends_with(".git"))
}

/// The line of an image's history.
fn history(copy: &Copy, sources: &[String]) -> String {
    let mut words = vec![if copy.add { "ADD" } else { "COPY" }.to_string()];
    if copy.parents {
        words.push("--parents".to_string());
    }
    words.extend(copy.chown.iter().map(|value| format!("--chown={value}")));
    words.extend(copy.chmod.iter().map(|value| format!("--chmod={value}")));
    words.extend(sources.iter().cloned());
    words.extend(copy.documents.iter().map(|document| format!("<<{}", document.name)));
    words.push(copy.dest.clone());
    words.join(" ")
}

/// Writes what a path of a tree shows into a directory of the host.
pub(super) fn materialise(build: &Build<'_>, copies: &Copies, to: &Path) -> Result<()> {
    let nothing = Tree::default();
    let mut archive = Tarball::new(build.store, &nothing, build.times)?;
    copies.write(&mut archive)?;
    unpack::unpack(archive.into_file()?, to, Sync::Later)?;
    Ok(())
}
