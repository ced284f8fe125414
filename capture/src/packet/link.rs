//! Link types, by the numbers of <https://www.tcpdump.org/linktypes.html>.

pub const NULL: u32 = 0;
pub const ETHERNET: u32 = 1;
pub const RAW: u32 = 101;
pub const LOOP: u32 = 108;
pub const SLL: u32 = 113;
pub const IPV4: u32 = 228;
pub const IPV6: u32 = 229;
pub const SLL2: u32 = 276;
/// What some systems call RAW when they capture.
pub const RAW_BSD: u32 = 12;
pub const RAW_OPENBSD: u32 = 14;

/// The ledger's name for frames of a link type that is not read.
pub fn unsupported(link_type: u32) -> &'static str {
    match link_type {
        9 => "unsupported link type PPP",
        105 => "unsupported link type IEEE802_11",
        127 => "unsupported link type IEEE802_11_RADIOTAP",
        147..=162 => "unsupported link type USER",
        189 | 220 => "unsupported link type USB_LINUX",
        192 => "unsupported link type PPI",
        239 => "unsupported link type NFLOG",
        253 => "unsupported link type NETLINK",
        258 => "unsupported link type PKTAP",
        _ => "unsupported link type",
    }
}
