//! Where packets come from.

mod buffer;
mod classic;
mod file;
mod live;
mod pcapng;

pub use file::{FULL_SNAPLEN, FileError, PacketFile};
pub use live::{Live, LiveError, LiveOptions, READ_TIMEOUT_MS};

use recording::Timestamp;

/// A captured packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    pub at: Timestamp,
    pub link_type: u32,
    pub bytes: &'a [u8],
    /// Length on the wire; `bytes` is shorter where the capture cut it.
    pub wire_len: u32,
}
