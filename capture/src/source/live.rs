//! Network interfaces, by libpcap.

use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use pcap::{Active, Capture, Device};
use recording::Timestamp;

use super::Packet;
use crate::ports::Ports;

/// How long the kernel may hold packets back before it hands them over, in milliseconds.
pub const READ_TIMEOUT_MS: i32 = 100;
/// How long to sleep where there is no packet: each time costs all threads a turn. The ring has room for
/// what comes meanwhile, and libpcap's own waiting may never end on a quiet interface.
const QUIET: Duration = Duration::from_millis(50);
/// The same where more than a part of the ring came since the last time.
const BUSY: Duration = Duration::from_millis(20);
const BUSY_PART: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveOptions {
    /// Bytes of a packet that are kept.
    pub snaplen: u32,
    /// Bytes of the kernel's ring.
    pub buffer: u32,
    /// In libpcap's notation, in place of the one made from the ports.
    pub filter: Option<String>,
}

impl Default for LiveOptions {
    fn default() -> LiveOptions {
        LiveOptions {
            snaplen: 262_144,
            buffer: 64 << 20,
            filter: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error(
        "failed to open interface {interface}: {source} (capturing needs root, or `setcap cap_net_raw+ep` on the program)"
    )]
    Open {
        interface: String,
        source: pcap::Error,
    },
    #[error("failed to set the filter {filter:?} on interface {interface}: {source}")]
    Filter {
        interface: String,
        filter: String,
        source: pcap::Error,
    },
    #[error("failed to capture on interface {interface}: {source}")]
    Read {
        interface: String,
        source: pcap::Error,
    },
}

/// An interface that is being listened to.
pub struct Live {
    interface: String,
    capture: Capture<Active>,
    link_type: u32,
    /// How often the kernel counts a packet: twice on the loopback, on its way out and on its way
    /// in, where it can't be told to leave the first out. libpcap hands over the second.
    copies: u64,
    /// The kernel's counters when last asked: received, dropped, dropped by the interface. They
    /// wrap.
    counters: [u32; 3],
    /// The same since the beginning.
    counted: [u64; 3],
    read: u64,
    /// Bytes of the kernel's ring, and of what came since there was no packet.
    ring: usize,
    lately: usize,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live")
            .field("interface", &self.interface)
            .field("link_type", &self.link_type)
            .finish_non_exhaustive()
    }
}

impl Live {
    pub fn open(interface: &str, ports: &Ports, options: &LiveOptions) -> Result<Live, LiveError> {
        let fail = |source| LiveError::Open {
            interface: interface.to_owned(),
            source,
        };
        let clamp = |bytes: u32| i32::try_from(bytes).unwrap_or(i32::MAX);
        let mut inactive = Capture::from_device(interface)
            .map_err(fail)?
            .snaplen(clamp(options.snaplen))
            .buffer_size(clamp(options.buffer))
            .timeout(READ_TIMEOUT_MS)
            .promisc(false);
        if cfg!(target_os = "linux") {
            inactive = inactive.precision(pcap::Precision::Nano);
        }
        let mut capture = inactive
            .open()
            .and_then(Capture::setnonblock)
            .map_err(fail)?;
        let copies = if is_loopback(interface) && !ignore_outgoing(&capture) {
            2
        } else {
            1
        };
        set_filter(&mut capture, interface, ports, options)?;
        let link_type = u32::try_from(capture.get_datalink().0).unwrap_or(u32::MAX);
        let mut live = Live {
            interface: interface.to_owned(),
            capture,
            link_type,
            copies,
            counters: [0; 3],
            counted: [0; 3],
            read: 0,
            ring: options.buffer as usize,
            lately: 0,
        };
        // What came before the filter is not of this capture.
        live.count();
        live.counted = [0; 3];
        Ok(live)
    }

    /// The next packet; `None` where there was none for a while.
    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>, LiveError> {
        let unit = if cfg!(target_os = "linux") { 1 } else { 1000 };
        match self.capture.next_packet() {
            Ok(packet) => {
                self.read += 1;
                self.lately += packet.data.len();
                let time = packet.header.ts;
                Ok(Some(Packet {
                    at: Timestamp(time.tv_sec * 1_000_000_000 + time.tv_usec * unit),
                    link_type: self.link_type,
                    bytes: packet.data,
                    wire_len: packet.header.len,
                }))
            }
            Err(pcap::Error::TimeoutExpired) => {
                let lately = std::mem::take(&mut self.lately);
                let busy = lately > self.ring / BUSY_PART;
                thread::sleep(if busy { BUSY } else { QUIET });
                Ok(None)
            }
            Err(source) => Err(LiveError::Read {
                interface: self.interface.clone(),
                source,
            }),
        }
    }

    fn count(&mut self) -> [u64; 3] {
        if let Ok(stat) = self.capture.stats() {
            let now = [stat.received, stat.dropped, stat.if_dropped];
            for ((counted, before), now) in self.counted.iter_mut().zip(self.counters).zip(now) {
                *counted += u64::from(now.wrapping_sub(before));
            }
            self.counters = now;
        }
        self.counted
    }

    /// Has all been read that the kernel has put into its ring?
    pub fn is_drained(&mut self) -> bool {
        let [received, dropped, _] = self.count();
        received.saturating_sub(dropped) / self.copies <= self.read
    }

    /// Packets that the kernel and the interface dropped since the capture began. On the loopback
    /// the kernel's are known for certain only when the ring is `drained`.
    pub fn drops(&mut self, drained: bool) -> (u64, u64) {
        let [received, dropped, interface] = self.count();
        let kernel = if drained && self.copies > 1 && dropped > 0 {
            (received / self.copies).saturating_sub(self.read)
        } else {
            dropped / self.copies
        };
        (kernel, interface)
    }
}

/// Sets the first of the filters that the interface's link type can have.
fn set_filter(
    capture: &mut Capture<Active>,
    interface: &str,
    ports: &Ports,
    options: &LiveOptions,
) -> Result<(), LiveError> {
    let wanted = options.filter.clone().unwrap_or_else(|| of_ports(ports));
    let tagged = match options.filter {
        Some(_) => wanted.clone(),
        None => format!("{wanted} or (vlan and ({wanted}))"),
    };
    // No filter may ask for a packet's direction: libpcap runs the filter itself over the first
    // blocks of the ring, where it can't know that, and would throw them away.
    let filters = [tagged, wanted.clone()];
    let mut outcome = Ok(());
    for filter in filters {
        outcome = capture.filter(&filter, true);
        if outcome.is_ok() {
            break;
        }
    }
    outcome.map_err(|source| LiveError::Filter {
        interface: interface.to_owned(),
        filter: wanted,
        source,
    })
}

/// Spares the kernel the copy of each packet that it sends. False where it can't be: before Linux
/// 4.20, and elsewhere.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn ignore_outgoing(capture: &Capture<Active>) -> bool {
    /// From linux/if_packet.h.
    const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the kernel reads `on` while the call lasts.
    let refused = unsafe {
        libc::setsockopt(
            capture.as_raw_fd(),
            libc::SOL_PACKET,
            PACKET_IGNORE_OUTGOING,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    refused == 0
}

#[cfg(not(target_os = "linux"))]
fn ignore_outgoing(_: &Capture<Active>) -> bool {
    false
}

fn is_loopback(interface: &str) -> bool {
    let devices = Device::list().unwrap_or_default();
    devices
        .iter()
        .any(|device| device.name == interface && device.flags.is_loopback())
}

/// The servers' segments, and IP fragments of TCP beyond the first, which have no ports.
fn of_ports(ports: &Ports) -> String {
    let ports: Vec<String> = ports.numbers().map(|port| format!("port {port}")).collect();
    format!(
        "(tcp and ({})) or (ip proto 6 and ip[6:2] & 0x1fff != 0) or (ip6 proto 44)",
        ports.join(" or ")
    )
}
