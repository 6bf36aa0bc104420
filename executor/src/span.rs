//! Spans of `tracing` around blocks, extrinsics and calls of guests.
//!
//! Invariant: nothing that is executed reads them. Cost: without the feature `tracing`, none at all; with it, a look at
//! whether anybody listens.

#[cfg(feature = "tracing")]
mod spans {
    use codec::Decode;
    use tracing::{Span as Spanned, field::Empty, span::EnteredSpan};

    use crate::block::Header;

    /// Something that is going on.
    pub(crate) struct Span(Spanned);

    /// Within it until it is dropped.
    pub(crate) type Entered = EnteredSpan;

    impl Span {
        /// A block, whose number is not known yet.
        pub(crate) fn block() -> Self {
            Self(tracing::info_span!(target: "slackwater", "block", number = Empty))
        }

        /// It is this one.
        pub(crate) fn record_number(&self, number: u64) {
            self.0.record("number", number);
        }

        /// It is this encoded one.
        pub(crate) fn record_number_of(&self, mut block: &[u8]) {
            if !self.0.is_disabled()
                && let Ok(header) = Header::decode(&mut block)
            {
                self.record_number(header.number);
            }
        }

        /// Goes on with it.
        pub(crate) fn enter(&self) -> Entered {
            self.0.clone().entered()
        }
    }

    /// An extrinsic, by its number among those that were tried.
    pub(crate) fn extrinsic(index: u32) -> Entered {
        tracing::debug_span!(target: "slackwater", "extrinsic", index).entered()
    }

    /// A call of a guest.
    pub(crate) fn call(method: &str) -> Entered {
        tracing::debug_span!(target: "slackwater", "call", method).entered()
    }
}

#[cfg(not(feature = "tracing"))]
mod spans {
    /// Something that is going on.
    pub(crate) struct Span;

    /// Within it until it is dropped.
    pub(crate) struct Entered;

    impl Span {
        /// A block.
        pub(crate) fn block() -> Self {
            Self
        }

        /// Which one.
        #[expect(clippy::unused_self, reason = "as with the feature")]
        pub(crate) fn record_number(&self, _number: u64) {}

        /// Which one.
        #[expect(clippy::unused_self, reason = "as with the feature")]
        pub(crate) fn record_number_of(&self, _block: &[u8]) {}

        /// Goes on with it.
        #[expect(clippy::unused_self, reason = "as with the feature")]
        pub(crate) fn enter(&self) -> Entered {
            Entered
        }
    }

    /// An extrinsic.
    pub(crate) fn extrinsic(_index: u32) -> Entered {
        Entered
    }

    /// A call of a guest.
    pub(crate) fn call(_method: &str) -> Entered {
        Entered
    }
}

pub(crate) use spans::{Span, call, extrinsic};
