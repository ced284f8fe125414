//! What a capture of large requests holds at the most, as it was asked of the allocator.
#![allow(unsafe_code, clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use capture::{Budget, Options, Ports, Source};
use support::{CLIENT, FIN, SERVER, Talk, pcap};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn held(bytes: usize) {
    let held = HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(held, Ordering::Relaxed);
}

// SAFETY: it counts, and leaves the rest to the system's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        held(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        held(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // What is large is moved, and not copied.
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        held(size);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONNECTIONS: usize = 16;

/// Requests of `sizes`, as many at once as there are connections. Bytes that do not compress.
fn write_requests(path: &Path, sizes: &[usize]) {
    let mut file = BufWriter::new(std::fs::File::create(path).unwrap());
    file.write_all(&pcap(1, &[])).unwrap();
    let mut random = 7_u64;
    let noise: Vec<u8> = (0..1 << 20)
        .map(|_| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            b'a' + (random >> 33) as u8 % 26
        })
        .collect();
    let noise = String::from_utf8(noise).unwrap();
    let mut talks: Vec<(Talk, usize)> = (0..CONNECTIONS)
        .map(|number| {
            let mut ends = support::ENDS;
            ends.client.1 += number as u16;
            (Talk::open(ends), 0)
        })
        .collect();
    let mut sizes = sizes.iter();
    let mut at = 1_700_000_000_000_000_000;
    loop {
        let mut idle = 0;
        for (talk, left) in &mut talks {
            talk.at = at;
            if *left == 0 {
                match sizes.next() {
                    Some(size) => {
                        let head = format!("PUT /a HTTP/1.1\r\nContent-Length: {size}\r\n\r\n");
                        talk.say(CLIENT, &head);
                        *left = *size;
                    }
                    None => idle += 1,
                }
            } else {
                let piece = (*left).min(1448);
                let from = *left % (noise.len() - piece);
                talk.say(CLIENT, &noise[from..from + piece]);
                *left -= piece;
                if *left == 0 {
                    talk.say(SERVER, "HTTP/1.1 204 No Content\r\n\r\n");
                }
            }
            if *left == 0 && sizes.len() == 0 && idle == CONNECTIONS {
                talk.send(CLIENT, "", FIN);
            }
            at = talk.at;
            let frames = std::mem::take(&mut talk.frames);
            file.write_all(&pcap(1, &frames)[24..]).unwrap();
        }
        if idle == CONNECTIONS {
            break;
        }
    }
    file.flush().unwrap();
}

#[test]
fn large_requests_stay_within_the_memory_that_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.pcap");
    let sizes: Vec<usize> = (0..1000)
        .map(|number| if number % 80 < 6 { 4 << 20 } else { 64 << 10 })
        .collect();
    write_requests(&path, &sizes);

    let http = protocol::by_name("http").unwrap();
    let mut options = Options::new(vec![Source::File(path)], Ports::new([(5432, http)]));
    options.memory = Budget::LEAST;
    options.workers = 1;
    let budget = Budget::of(options.memory, options.workers);
    options.limits.request = budget.largest_row();
    options.writer.flush_bytes = budget.flush_bytes();
    options.writer.rotate_bytes = budget.largest_segment();
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let recording = dir.path().join("large.rec");
    let stop = AtomicBool::new(false);
    let summary = capture::run(&options, &recording, &stop, &|_| {}).unwrap();
    let peak = PEAK.load(Ordering::Relaxed) - before;

    let ledger = &summary.progress.ledger;
    assert!(ledger.balanced(), "{ledger:#?}");
    assert!(ledger.account("requests").unwrap().seen > 900);
    // What grows has room that nothing was written to yet: it takes no memory, but was asked for.
    let room = options.memory * 3 / 4;
    assert!(peak <= options.memory + room, "{peak} bytes");
}
