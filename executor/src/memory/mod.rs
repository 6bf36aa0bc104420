//! Guest memories that are reset in place: their image, what a call has written, putting it back.
//!
//! This room knows pages and mappings; it does not know what a guest is, but for the size of its memory.
//!
//! | file | |
//! |---|---|
//! | `sys` | what the kernel is asked for, within one reservation |
//! | `image` | initial contents, as a sealed file in memory |
//! | `area` | one guest memory: its length, its seal, its fault |
//! | `creator` | areas as the memories of an engine |
//! | `strategy` | what this machine is found to support |
//! | `growth` | how much of what it grows by is opened, and kept |
//! | `tracker` | which pages a guest writes to, and how they are put back |

#[expect(
    unsafe_code,
    reason = "the engine's traits for memory are unsafe to implement"
)]
mod area;
#[expect(
    unsafe_code,
    reason = "the engine's traits for memory are unsafe to implement"
)]
mod creator;
mod growth;
mod image;
#[cfg(test)]
pub(crate) mod refusals;
mod strategy;
#[expect(unsafe_code, reason = "mappings and copies by address")]
mod sys;
mod tracker;

pub(crate) use area::Area;
pub(crate) use creator::{Areas, collect};
pub(crate) use image::Image;
pub use strategy::MemoryStrategy;
pub(crate) use strategy::Resetter;
pub(crate) use tracker::{Tracker, first_difference};
