//! Bounds on what an image may ask of the host.

/// How much an image may hold. Whoever makes an image chooses its numbers, so each one that we read has a
/// bound here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a compressed archive after it has been unpacked to a plain one.
    pub archive_bytes: u64,
    /// Bytes of one layer as a plain tar stream: the guard against decompression bombs.
    pub layer_bytes: u64,
    /// Entries of one layer.
    pub layer_entries: u64,
    /// Layers of one image. Overlayfs takes 500.
    pub layers: usize,
    /// Bytes of a manifest, an index or a configuration.
    pub json_bytes: u64,
    /// Bytes of a path or of the target of a link.
    pub path_bytes: usize,
    /// Folders above an entry. Taking a tree away holds a descriptor for each level.
    pub path_depth: usize,
    /// Bytes of the extended header of one entry.
    pub pax_bytes: u64,
    /// Largest owner id: a sandbox has 65,536 ids, and a larger one would be nobody's inside.
    pub owner_id: u64,
    /// Whether a path from the root counts as one below the root of what is unpacked.
    pub takes_absolute_paths: bool,
    /// Disk space that pulls leave to the host.
    pub disk_reserve_bytes: u64,
}

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

impl Default for Limits {
    fn default() -> Self {
        Self {
            archive_bytes: 128 * GIB,
            layer_bytes: 64 * GIB,
            layer_entries: 2_000_000,
            layers: 256,
            json_bytes: 4 * MIB,
            path_bytes: 4096,
            path_depth: 256,
            pax_bytes: MIB,
            owner_id: 65_535,
            takes_absolute_paths: false,
            disk_reserve_bytes: 0,
        }
    }
}
