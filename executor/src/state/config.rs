//! How a database is kept.

/// How a commit reaches the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Durability {
    /// `fsync` for every block: an acknowledged block survives a power cut.
    #[default]
    Sync,
    /// Left to the operating system: survives the death of the process; after a power cut the
    /// database may be at some earlier block, still whole.
    Buffered,
}

/// How many blocks can be undone by default.
pub const HISTORY_BLOCKS_DEFAULT: u64 = 256;

/// How a database is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// How a commit reaches the disk.
    pub durability: Durability,
    /// How many of the last blocks can be undone, and their parents' states shown; 256 by default. 0 keeps
    /// nothing of what blocks have changed.
    pub history_blocks: u64,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self::new(Durability::default())
    }
}

impl DatabaseConfig {
    /// The defaults, with this durability.
    pub fn new(durability: Durability) -> Self {
        Self {
            durability,
            history_blocks: HISTORY_BLOCKS_DEFAULT,
        }
    }
}
