//! The image: what a guest's memory holds before anything has run, as a sealed file in memory that
//! every instance of the guest maps for itself.
//!
//! Invariant: the bytes and the file say the same, and neither changes once made. Only the pages between
//! the first and the last byte that is not zero are in it; all others are zero. Without a file, which a
//! system may refuse, instances copy the bytes. Cost: the initial data of a guest, twice.

use std::{
    io::Write,
    ops::Range,
    os::fd::{AsFd, BorrowedFd},
};

use memfd::{FileSeal, Memfd, MemfdOptions};

use super::sys::{may_ask, page_bytes};

/// Initial contents of a memory.
#[derive(Debug)]
pub(crate) struct Image {
    /// Where the bytes begin in memory; a multiple of a page.
    start: usize,
    /// Whole pages.
    bytes: Box<[u8]>,
    file: Option<Memfd>,
}

impl Image {
    /// The image of a memory that holds `segments`, each at its offset, later ones over earlier ones.
    pub(crate) fn new<'s>(segments: impl Iterator<Item = (usize, &'s [u8])>, mapped: bool) -> Self {
        let page = page_bytes();
        let mut bytes = Vec::new();
        for (offset, segment) in segments {
            let end = offset.saturating_add(segment.len());
            if bytes.len() < end {
                bytes.resize(end.next_multiple_of(page), 0);
            }
            if let Some(target) = bytes.get_mut(offset..end) {
                target.copy_from_slice(segment);
            }
        }
        let is_zero = |page: &[u8]| page.iter().all(|byte| *byte == 0);
        let pages: Vec<_> = bytes.chunks(page).map(is_zero).collect();
        let first = pages.iter().position(|zero| !zero).unwrap_or(pages.len());
        let behind = pages
            .iter()
            .rposition(|zero| !zero)
            .map_or(first, |last| last + 1);
        let bytes: Box<[u8]> = bytes
            .get(first * page..behind * page)
            .unwrap_or_default()
            .into();
        let file = if mapped && !bytes.is_empty() {
            sealed(&bytes)
                .inspect_err(|error| {
                    log::warn!(
                        target: "slackwater::memory",
                        "no image in memory, instances copy it: {error}"
                    );
                })
                .ok()
        } else {
            None
        };
        Self {
            start: first * page,
            bytes,
            file,
        }
    }

    /// Where it lies in memory.
    pub(super) fn range(&self) -> Range<usize> {
        self.start..self.start + self.bytes.len()
    }

    /// What lies at `range` of memory, as far as that is in the image: the part, and its bytes.
    pub(super) fn part(&self, range: &Range<usize>) -> Option<(Range<usize>, &[u8])> {
        let own = self.range();
        let part = range.start.max(own.start)..range.end.min(own.end);
        if part.is_empty() {
            return None;
        }
        let bytes = self
            .bytes
            .get(part.start - own.start..part.end - own.start)?;
        Some((part, bytes))
    }

    /// The file to map, if there is one.
    pub(super) fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(|file| file.as_file().as_fd())
    }
}

/// A file in memory that holds `bytes` and can never hold anything else.
fn sealed(bytes: &[u8]) -> Result<Memfd, memfd::Error> {
    may_ask().map_err(memfd::Error::Create)?;
    let options = MemfdOptions::new().allow_sealing(true);
    let memfd = options.create("slackwater-image")?;
    memfd
        .as_file()
        .write_all(bytes)
        .map_err(memfd::Error::Create)?;
    memfd.add_seals(&[
        FileSeal::SealShrink,
        FileSeal::SealGrow,
        FileSeal::SealWrite,
        FileSeal::SealSeal,
    ])?;
    Ok(memfd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_pages_at_both_ends_are_left_out() {
        let page = page_bytes();
        let zeros = vec![0; 3 * page];
        let segments: [(usize, &[u8]); 4] = [
            (0, &zeros),
            (2 * page + 7, b"abc"),
            (2 * page + 8, b"X"),
            (5 * page, &zeros),
        ];
        let image = Image::new(segments.into_iter(), true);
        assert_eq!(image.range(), 2 * page..3 * page);
        let (part, bytes) = image.part(&(0..2 * page + 10)).expect("a part");
        assert_eq!(part, 2 * page..2 * page + 10);
        assert_eq!(bytes[7..], *b"aXc");
        assert!(image.part(&(3 * page..9 * page)).is_none());
        let empty = Image::new(std::iter::empty(), true);
        assert!(empty.range().is_empty() && empty.file().is_none());
    }

    #[test]
    fn the_file_cannot_be_written() {
        let image = Image::new([(0, b"abc".as_slice())].into_iter(), true);
        let file = image
            .file
            .as_ref()
            .expect("this system has files in memory");
        assert!(file.as_file().write_all(b"x").is_err());
        assert_eq!(
            file.as_file().metadata().expect("a file").len(),
            page_bytes() as u64
        );
    }
}
