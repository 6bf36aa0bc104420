//! How memory can be put back on this machine: what is wished for, and what is found to work.
//!
//! Invariant: a strategy in use was tried out on a memory of its own, and everything it needs held. Cost:
//! some twenty system calls, once for an executor.

use std::io;

use super::{
    area::Area,
    image::Image,
    sys::{Scanner, merges_pages, page_bytes},
};

/// Names the strategy where the configuration does not.
const STRATEGY_VARIABLE: &str = "SLACKWATER_MEMORY";

/// How memory is put back. All give the same contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemoryStrategy {
    /// The cheapest that this machine is found to support.
    Auto,
    /// Everything is given back to the kernel after each call. Needs no page to be protected, so it is
    /// for hosts that cannot handle faults.
    Discard,
    /// Everything is mapped and copied anew after each call. Trusts the kernel with nothing but
    /// mappings.
    Plain,
}

/// What the environment variable `SLACKWATER_MEMORY` says, `auto`, `discard` or `plain`; `Auto` if it
/// says nothing.
impl Default for MemoryStrategy {
    fn default() -> Self {
        let named = std::env::var(STRATEGY_VARIABLE).unwrap_or_default();
        match named.as_str() {
            "" | "auto" => Self::Auto,
            "discard" => Self::Discard,
            "plain" => Self::Plain,
            other => {
                log::warn!(
                    target: "slackwater::memory",
                    "{STRATEGY_VARIABLE} is `{other}`: neither `auto` nor `discard` nor `plain`"
                );
                Self::Auto
            }
        }
    }
}

/// What this machine can do, found out once.
#[derive(Debug)]
pub(crate) struct Resetter {
    pub(super) strategy: MemoryStrategy,
    pub(super) scanner: Option<Scanner>,
    pub(super) hot_pages_max: usize,
    /// Whether memory can be promised to a guest and opened later.
    pub(super) grows_lazily: bool,
}

impl Resetter {
    /// Tries out what `wanted` needs on a memory of its own. At most `hot_bytes_max` of a guest's
    /// memory are kept for its next call.
    pub(crate) fn new(wanted: MemoryStrategy, hot_bytes_max: usize) -> Self {
        let plain = Self {
            strategy: MemoryStrategy::Plain,
            scanner: None,
            hot_pages_max: hot_bytes_max / page_bytes(),
            grows_lazily: opens_later(),
        };
        let found = match wanted {
            MemoryStrategy::Plain => return plain,
            MemoryStrategy::Discard => discards().map(|()| None),
            MemoryStrategy::Auto => discards().map(|()| scans_and_seals()),
        };
        match found {
            Err(error) => {
                log::warn!(
                    target: "slackwater::memory",
                    "memory given back does not come back empty, it is copied: {error}"
                );
                plain
            }
            Ok(None) => Self {
                strategy: MemoryStrategy::Discard,
                ..plain
            },
            Ok(Some(scanner)) => Self {
                strategy: MemoryStrategy::Auto,
                scanner: Some(scanner),
                ..plain
            },
        }
    }

    /// The strategy in use.
    pub(crate) fn strategy(&self) -> MemoryStrategy {
        self.strategy
    }
}

/// Whether this process may make as much memory writable as it likes: only then opening it later cannot
/// fail, as it may not where a host function is what needs it.
fn opens_later() -> bool {
    let overcommit = std::fs::read_to_string("/proc/sys/vm/overcommit_memory");
    let limits = std::fs::read_to_string("/proc/self/limits");
    let (Ok(overcommit), Ok(limits)) = (overcommit, limits) else {
        return false;
    };
    let data = limits
        .lines()
        .find(|line| line.starts_with("Max data size"));
    let unlimited = data.is_some_and(|line| line.contains("unlimited"));
    overcommit.trim() != "2" && unlimited
}

/// A memory of sixteen pages with two of an image, and two written to: one of each.
fn sample() -> io::Result<Area> {
    let page = page_bytes();
    let contents = vec![7; 2 * page];
    let image = Image::new([(0, contents.as_slice())].into_iter(), true);
    let area = Area::new(16 * page, 16 * page, page)?;
    area.set_image(&image.into())?;
    for offset in [page, 3 * page] {
        if !area.is_writable(offset)? {
            return Err(io::Error::other("memory that can be written cannot"));
        }
    }
    Ok(area)
}

fn expect(held: bool, what: &'static str) -> io::Result<()> {
    held.then_some(()).ok_or_else(|| io::Error::other(what))
}

fn discards() -> io::Result<()> {
    let area = sample()?;
    let page = page_bytes();
    expect(!area.is_pristine(&(page..2 * page))?, "nothing was written")?;
    area.discard(0..area.length())?;
    expect(
        area.is_pristine(&(page..2 * page))?,
        "what was written stays",
    )
}

/// A scanner, if it finds what was written, and seals hold.
fn scans_and_seals() -> Option<Scanner> {
    let scanner = Scanner::open()?;
    let page = page_bytes();
    let tried = || {
        expect(!merges_pages(), "equal pages are merged")?;
        let area = sample()?;
        let mut found = Vec::new();
        let complete = area.written(&(0..area.length()), &scanner, &mut found)?;
        let written = [page..2 * page, 3 * page..4 * page];
        expect(complete && found == written, "written pages are not found")?;
        area.seal(std::slice::from_ref(&(3 * page..4 * page)))?;
        expect(!area.is_writable(5 * page)?, "a seal does not hold")?;
        expect(area.is_writable(3 * page)?, "what is open is sealed")?;
        area.unseal()?;
        expect(area.is_writable(5 * page)?, "a seal does not come off")
    };
    match tried() {
        Ok(()) => Some(scanner),
        Err(error) => {
            log::info!(
                target: "slackwater::memory",
                "pages are not tracked, memory is given back after each call: {error}"
            );
            None
        }
    }
}
