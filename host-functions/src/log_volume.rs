//! How much a guest may have this host log in one call.
//!
//! Invariant: a guest sees nothing of it. What is cut or left out is said once. Cost: a variable of the thread, where a
//! guest logs and where a call begins.

use std::cell::Cell;

/// Limits of what a guest logs. What they do is not seen by guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes of one message; what is longer is cut. Default: 16 KiB.
    pub message_bytes_max: u32,
    /// Bytes of all messages of one call; what comes then is left out. Default: 1 MiB.
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

#[derive(Debug, Clone, Copy)]
struct Volume {
    message_bytes_max: u32,
    left: u32,
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
pub struct Logging(Option<Volume>);

/// A call of a guest begins on this thread.
pub fn begin_call(limits: LogLimits) -> Logging {
    Logging(VOLUME.replace(Some(Volume {
        message_bytes_max: limits.message_bytes_max,
        left: limits.call_bytes_max,
        over: false,
    })))
}

impl Drop for Logging {
    fn drop(&mut self) {
        VOLUME.set(self.0.take());
    }
}

/// What is to be logged of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// All of it.
    Whole,
    /// So many bytes from its beginning.
    Cut(usize),
    /// Nothing, and that is to be said.
    FirstLeftOut,
    /// Nothing.
    LeftOut,
}

/// Counts a message.
pub(crate) fn admit(message: &[u8]) -> Admitted {
    let Some(mut volume) = VOLUME.get() else {
        return Admitted::Whole;
    };
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let logged = length.min(volume.message_bytes_max);
    let admitted = if volume.over {
        Admitted::LeftOut
    } else if logged > volume.left {
        volume.over = true;
        Admitted::FirstLeftOut
    } else {
        volume.left -= logged;
        if logged == length {
            Admitted::Whole
        } else {
            Admitted::Cut(character_end(message, logged))
        }
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

    #[test]
    fn messages_are_cut_and_left_out_by_call() {
        assert_eq!(admit(&[b'a'; 100]), Admitted::Whole, "no guest runs");
        let limits = LogLimits {
            message_bytes_max: 10,
            call_bytes_max: 25,
        };
        let outer = begin_call(limits);
        assert_eq!(admit(&[b'a'; 10]), Admitted::Whole);
        assert_eq!(admit(&[b'a'; 100]), Admitted::Cut(10));
        {
            let _within = begin_call(limits);
            assert_eq!(admit(&[b'a'; 10]), Admitted::Whole);
        }
        assert_eq!(admit(&[b'a'; 6]), Admitted::FirstLeftOut);
        assert_eq!(admit(b"a"), Admitted::LeftOut);
        drop(outer);
        let _next = begin_call(limits);
        assert_eq!(admit(b"a"), Admitted::Whole);
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
