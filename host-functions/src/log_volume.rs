//! How much a guest may have this host log in one call.
//!
//! Invariant: a guest sees nothing of it; that something is cut, and that something is left out, is said once in a call. A
//! call within a call has what the outer one has left. Cost: a variable of the thread, where a guest logs and where a call
//! begins.

use std::{borrow::Cow, cell::Cell};

/// Limits of what a guest logs. What they do is not seen by guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes of one message; what is longer is cut. Default: 16 KiB.
    pub message_bytes_max: u32,
    /// Bytes of all messages of one call; what comes then is left out. Each counts with its target, of which at most 256 bytes are
    /// logged, and 64 more, about what a line has beside them. Default: 1 MiB.
    pub call_bytes_max: u32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            message_bytes_max: 16 << 10,
            call_bytes_max: 1 << 20,
        }
    }
}

/// Bytes of a target; what is longer is cut.
const TARGET_BYTES_MAX: u32 = 256;

/// What a line costs beside its message and its target.
const LINE_BYTES: u32 = 64;

#[derive(Debug, Clone, Copy)]
struct Volume {
    message_bytes_max: u32,
    left: u32,
    /// Whether something was cut.
    cut: bool,
    /// Whether something was left out.
    over: bool,
}

thread_local! {
    /// Of the call that runs; `None` outside one.
    static VOLUME: Cell<Option<Volume>> = const { Cell::new(None) };
}

/// Within a call of a guest, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Logging {
    /// Whether no other call is around it.
    outermost: bool,
}

/// A call of a guest begins on this thread.
pub fn begin_call(limits: LogLimits) -> Logging {
    let outermost = VOLUME.get().is_none();
    if outermost {
        VOLUME.set(Some(Volume {
            message_bytes_max: limits.message_bytes_max,
            left: limits.call_bytes_max,
            cut: false,
            over: false,
        }));
    }
    Logging { outermost }
}

impl Drop for Logging {
    fn drop(&mut self) {
        if self.outermost {
            VOLUME.set(None);
        }
    }
}

/// What is to be said of a message by this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notice {
    /// It is cut, as the first one of the call.
    Cut,
    /// It is left out, as the first one of the call.
    LeftOut,
}

/// Target and message, as far as they are to be logged.
type Line<'m> = Option<(&'m str, &'m [u8])>;

/// What of a message is to be logged, which this counts; and says where it is not all.
pub(crate) fn admitted<'m>(target: &'m str, message: &'m [u8]) -> Line<'m> {
    let (line, notice) = admit(target, message);
    match notice {
        Some(Notice::Cut) => log::warn!(
            target: "slackwater::guest",
            "what this call logs is cut where it is long: a message of {} bytes for the target {}, the first",
            message.len(),
            shown(target)
        ),
        Some(Notice::LeftOut) => log::warn!(
            target: "slackwater::guest",
            "what else this call logs is left out: it is more than it may log"
        ),
        None => {}
    }
    line
}

/// A target, or its beginning.
fn shown(target: &str) -> Cow<'_, str> {
    let end = character_end(target.as_bytes(), TARGET_BYTES_MAX);
    if end == target.len() {
        Cow::Borrowed(target)
    } else {
        Cow::Owned(format!("{}...", &target[..end]))
    }
}

fn admit<'m>(target: &'m str, message: &'m [u8]) -> (Line<'m>, Option<Notice>) {
    let Some(mut volume) = VOLUME.get() else {
        return (Some((target, message)), None);
    };
    let target_end = character_end(target.as_bytes(), TARGET_BYTES_MAX);
    let message_end = character_end(message, volume.message_bytes_max);
    let logged = u32::try_from(target_end.saturating_add(message_end)).unwrap_or(u32::MAX);
    let cost = logged.saturating_add(LINE_BYTES);
    let admitted = if volume.over {
        (None, None)
    } else if cost > volume.left {
        volume.over = true;
        (None, Some(Notice::LeftOut))
    } else {
        volume.left -= cost;
        let is_cut = target_end < target.len() || message_end < message.len();
        let notice = (is_cut && !volume.cut).then_some(Notice::Cut);
        volume.cut |= is_cut;
        (
            Some((&target[..target_end], &message[..message_end])),
            notice,
        )
    };
    VOLUME.set(Some(volume));
    admitted
}

/// The last end of a character at or before so many bytes.
fn character_end(message: &[u8], bytes: u32) -> usize {
    let end = usize::try_from(bytes)
        .unwrap_or(usize::MAX)
        .min(message.len());
    let continues = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
    (0..=end)
        .rev()
        .find(|end| !message.get(*end).is_some_and(continues))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that are logged of a message of so many, for a target of so many, and what is said of it.
    fn admit(target: usize, message: usize) -> (Option<(usize, usize)>, Option<Notice>) {
        let (target, message) = ("t".repeat(target), vec![b'm'; message]);
        let (line, notice) = super::admit(&target, &message);
        (
            line.map(|(target, message)| (target.len(), message.len())),
            notice,
        )
    }

    #[test]
    fn messages_are_cut_and_left_out_by_call() {
        let whole = |target, message| (Some((target, message)), None);
        assert_eq!(admit(1, 100), whole(1, 100), "no guest runs");
        let limits = LogLimits {
            message_bytes_max: 10,
            call_bytes_max: 4 * LINE_BYTES + (2 + 10) + (2 + 10) + 256 + 10,
        };
        let outer = begin_call(limits);
        assert_eq!(admit(2, 10), whole(2, 10));
        assert_eq!(admit(2, 100), (Some((2, 10)), Some(Notice::Cut)));
        assert_eq!(admit(300, 0), whole(256, 0), "that is said already");
        {
            let _within = begin_call(limits);
            assert_eq!(admit(0, 10), whole(0, 10), "it has what is left");
            assert_eq!(admit(0, 10), (None, Some(Notice::LeftOut)));
        }
        assert_eq!(admit(0, 0), (None, None), "the outer one has no more");
        drop(outer);
        let next = begin_call(limits);
        assert_eq!(admit(0, 10), whole(0, 10));
        drop(next);
        assert_eq!(admit(1, 100), whole(1, 100), "no guest runs");
    }

    #[test]
    fn lines_without_a_message_come_to_an_end() {
        let _call = begin_call(LogLimits::default());
        let lines = (0..1_000_000).take_while(|_| admit(0, 0).0.is_some());
        assert_eq!(lines.count(), (1 << 20) / 64);
    }

    #[test]
    fn characters_stay_whole() {
        let message = "a\u{e4}\u{20ac}".as_bytes();
        for (bytes, end) in [
            (0, 0),
            (1, 1),
            (2, 1),
            (3, 3),
            (4, 3),
            (5, 3),
            (6, 6),
            (9, 6),
        ] {
            assert_eq!(character_end(message, bytes), end, "{bytes}");
        }
    }
}
