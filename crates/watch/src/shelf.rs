//! The versions of a cache in the order of their keys, cheap to photograph.

use std::sync::Arc;

use crate::Version;

/// A chunk is split when it gets longer than this. A change after a snapshot copies one chunk and the list of chunks.
const CHUNK: usize = 128;

type Chunk = Vec<Arc<Version>>;

/// An ordered set of versions, at most one a key. A clone shares everything and costs nothing; whichever of the two
/// changes first copies the few pointers that it touches.
#[derive(Clone, Default)]
pub(crate) struct Shelf {
    /// None of them is empty.
    chunks: Arc<Vec<Arc<Chunk>>>,
    len: usize,
}

/// A place on a shelf: a chunk and an index in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    chunk: usize,
    index: usize,
}

impl Shelf {
    /// From versions in the order of their keys.
    pub(crate) fn from_sorted(versions: Vec<Arc<Version>>) -> Self {
        let len = versions.len();
        let chunks = versions
            .chunks(CHUNK * 3 / 4)
            .map(|chunk| Arc::new(chunk.to_vec()))
            .collect();
        Self {
            chunks: Arc::new(chunks),
            len,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Version>> {
        let place = self.find(key).ok()?;
        self.at(place)
    }

    /// Puts a version in, and gives back the one that it takes the place of.
    pub(crate) fn insert(&mut self, version: Arc<Version>) -> Option<Arc<Version>> {
        let found = self.find(version.key());
        let chunks = Arc::make_mut(&mut self.chunks);
        match found {
            Ok(place) => {
                let chunk = Arc::make_mut(&mut chunks[place.chunk]);
                Some(std::mem::replace(&mut chunk[place.index], version))
            }
            Err(place) => {
                self.len += 1;
                if chunks.is_empty() {
                    chunks.push(Arc::new(vec![version]));
                    return None;
                }
                let chunk = Arc::make_mut(&mut chunks[place.chunk]);
                chunk.insert(place.index, version);
                if chunk.len() > CHUNK {
                    // Keys often come in ascending order: leave the earlier chunk fuller then.
                    let at = if place.index == CHUNK { CHUNK * 7 / 8 } else { CHUNK / 2 };
                    let tail = chunk.split_off(at);
                    chunks.insert(place.chunk + 1, Arc::new(tail));
                }
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<Arc<Version>> {
        let place = self.find(key).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[place.chunk]);
        let removed = chunk.remove(place.index);
        self.len -= 1;
        if chunk.is_empty() {
            chunks.remove(place.chunk);
        }
        Some(removed)
    }

    /// The first place whose key is not before `key`.
    pub(crate) fn lower_bound(&self, key: &str) -> Place {
        let place = match self.find(key) {
            Ok(place) | Err(place) => place,
        };
        self.normal(place)
    }

    /// The versions from one place on.
    pub(crate) fn iter_from(&self, place: Place) -> impl Iterator<Item = &Arc<Version>> {
        let (first, rest) = match self.chunks.get(place.chunk..) {
            Some([first, rest @ ..]) => (first.get(place.index..).unwrap_or_default(), rest),
            _ => (&[][..], &[][..]),
        };
        first.iter().chain(rest.iter().flat_map(|chunk| chunk.iter()))
    }

    /// How many versions lie between two places.
    pub(crate) fn distance(&self, from: Place, to: Place) -> usize {
        let between: usize = self
            .chunks
            .get(from.chunk..to.chunk)
            .unwrap_or_default()
            .iter()
            .map(|c| c.len())
            .sum();
        (between + to.index).saturating_sub(from.index)
    }

    /// The place after the last.
    pub(crate) fn end(&self) -> Place {
        Place {
            chunk: self.chunks.len(),
            index: 0,
        }
    }

    /// Where a key is, or would have to be put in.
    fn find(&self, key: &str) -> Result<Place, Place> {
        let after = self
            .chunks
            .partition_point(|chunk| chunk.first().is_some_and(|first| first.key().as_str() <= key));
        let chunk = after.saturating_sub(1);
        let Some(versions) = self.chunks.get(chunk) else {
            return Err(Place { chunk: 0, index: 0 });
        };
        match versions.binary_search_by(|version| version.key().as_str().cmp(key)) {
            Ok(index) => Ok(Place { chunk, index }),
            Err(index) => Err(Place { chunk, index }),
        }
    }

    fn at(&self, place: Place) -> Option<&Arc<Version>> {
        self.chunks.get(place.chunk)?.get(place.index)
    }

    /// A place behind a chunk's last version is the next chunk's first.
    fn normal(&self, place: Place) -> Place {
        match self.chunks.get(place.chunk) {
            Some(chunk) if place.index >= chunk.len() => Place {
                chunk: place.chunk + 1,
                index: 0,
            },
            _ => place,
        }
    }
}
