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

/// Bytes of a column that are gathered in memory before they become a file, by default.
pub const WRITE_BUFFER_BYTES_DEFAULT: usize = 64 << 20;

/// How many blocks wait in the journal by default, before what they change is written to its columns.
pub const JOURNAL_BLOCKS_DEFAULT: u64 = 16;

/// Bytes of values and trie nodes that are kept in memory, by default.
pub const CACHE_BYTES_DEFAULT: usize = 64 << 20;

/// Bytes of RocksDB's blocks that are kept in memory, by default.
pub const BLOCK_CACHE_BYTES_DEFAULT: usize = 64 << 20;

/// How a database is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// How a commit reaches the disk.
    pub durability: Durability,
    /// How many of the last blocks can be undone, and their parents' states shown; 256 by default. 0 keeps
    /// nothing of what blocks have changed.
    pub history_blocks: u64,
    /// How many blocks wait in the journal before what they change together is written to its columns, by a thread of
    /// the database; 16 by default, or fewer where they change very much. Until then it is in memory, too. At least 1.
    pub journal_blocks: u64,
    /// Bytes of a column that are gathered in memory before they become a file; 64 MiB by default. There are seven
    /// columns, and of each up to two buffers.
    pub write_buffer_bytes: usize,
    /// Bytes of values and trie nodes that are kept in memory, half of them for each; 64 MiB by default. 0 keeps none, and what
    /// undoes a block is read when it is committed.
    pub cache_bytes: usize,
    /// Bytes of RocksDB's blocks that are kept in memory, with what it needs to find them; 64 MiB by default.
    pub block_cache_bytes: usize,
    /// Whether a thread of the database looks for what a block writes while the block is executed, so that its root is
    /// calculated from what is in memory, and what undoes it is known; `true` by default. Without [`DatabaseConfig::cache_bytes`] there is none.
    pub prefetch: bool,
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
            journal_blocks: JOURNAL_BLOCKS_DEFAULT,
            write_buffer_bytes: WRITE_BUFFER_BYTES_DEFAULT,
            cache_bytes: CACHE_BYTES_DEFAULT,
            block_cache_bytes: BLOCK_CACHE_BYTES_DEFAULT,
            prefetch: true,
        }
    }
}
