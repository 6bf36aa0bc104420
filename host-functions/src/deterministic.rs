//! Replacements for host functions whose reference implementation answers with a setting of the
//! host: its log level, and whether something subscribes to its trace spans. Either one changes
//! which instructions the guest runs, and with them its fuel; so both are pinned here. And for those
//! that write to the host's log, which is limited here.
//!
//! The replacements are registered over the originals by name, see [`crate::set`].

/// Every replacement, to be laid over a set that holds the originals.
pub type HostFunctions = (
    logging::HostFunctions,
    misc::HostFunctions,
    wasm_tracing::HostFunctions,
);

mod interfaces {
    use crate::log_volume;
    use sp_core::{RuntimeInterfaceLogLevel, hexdisplay::HexDisplay};
    use sp_runtime_interface::{
        pass_by::{PassAs, PassFatPointerAndRead},
        runtime_interface,
    };

    /// The level every guest is told, whatever the host logs: `Info`.
    const LEVEL_FILTER_INFO: u8 = 3;

    /// The part of the logging interface that answers.
    #[runtime_interface]
    pub trait Logging {
        /// The most verbose level the guest should format messages for: always `Info`. What the
        /// host prints of them is still the host's choice.
        fn max_level() -> u8 {
            LEVEL_FILTER_INFO
        }

        /// Logs what the guest says, as far as it may: see [`crate::LogLimits`]. Not if it runs ahead of a block, which will
        /// say it once more.
        fn log(
            level: PassAs<RuntimeInterfaceLogLevel, u8>,
            target: PassFatPointerAndRead<&str>,
            message: PassFatPointerAndRead<&[u8]>,
        ) {
            if crate::verified::is_ahead() {
                return;
            }
            if !is_logged(target, level.into()) {
                return;
            }
            if let Some((target, message)) = log_volume::admitted(target, message) {
                sp_io::logging::log(level, target, message);
            }
        }
    }

    /// What the reference's functions of printing have for a target.
    const PRINTED: &str = "runtime";

    /// Whether anybody would see it, so that what nobody does counts for nothing.
    fn is_logged(target: &str, level: log::Level) -> bool {
        log::log_enabled!(target: target, level)
    }

    /// Logs what is printed, as far as it may be.
    fn print(message: impl FnOnce() -> Option<String>) {
        if crate::verified::is_ahead() || !is_logged(PRINTED, log::Level::Debug) {
            return;
        }
        let Some(message) = message() else { return };
        if let Some((_, message)) = log_volume::admitted(PRINTED, message.as_bytes()) {
            sp_io::misc::print_utf8(message);
        }
    }

    /// The part of the miscellaneous interface that writes to the log.
    #[runtime_interface]
    pub trait Misc {
        /// Prints a number.
        fn print_num(value: u64) {
            print(|| Some(value.to_string()));
        }

        /// Prints text, if it is UTF-8.
        fn print_utf8(text: PassFatPointerAndRead<&[u8]>) {
            print(|| std::str::from_utf8(text).ok().map(str::to_owned));
        }

        /// Prints bytes as hexadecimal digits.
        fn print_hex(data: PassFatPointerAndRead<&[u8]>) {
            print(|| Some(HexDisplay::from(&data).to_string()));
        }
    }

    /// Guest spans: never enabled, and silent should a guest open one all the same.
    #[runtime_interface(wasm_only, no_tracing)]
    pub trait WasmTracing {
        /// Whether a span described by `metadata` (SCALE) should be traced: never.
        fn enabled(&mut self, _metadata: PassFatPointerAndRead<&[u8]>) -> bool {
            false
        }

        /// Opens no span; 0 is the identifier of a span that is not recorded.
        fn enter_span(&mut self, _span: PassFatPointerAndRead<&[u8]>) -> u64 {
            0
        }

        /// Records no event.
        fn event(&mut self, _event: PassFatPointerAndRead<&[u8]>) {}

        /// Closes no span.
        fn exit(&mut self, _span: u64) {}
    }
}

pub use interfaces::{logging, misc, wasm_tracing};
