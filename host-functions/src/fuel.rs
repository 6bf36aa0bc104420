//! What a guest can ask about its fuel.
//!
//! A guest that counts never gets here: what calls this function in it answers by itself. So this is
//! what a guest is told that nobody meters.

use sp_runtime_interface::runtime_interface;

/// Fuel as the guest sees it.
#[runtime_interface]
pub trait Fuel {
    /// What is left of the limit the chain sets, or `u64::MAX` if it sets none.
    fn left() -> u64 {
        u64::MAX
    }
}
