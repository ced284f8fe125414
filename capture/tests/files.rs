//! Packet files of every kind, whole and broken.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use capture::{CaptureError, FileError, Source};
use protocol::Protocol as _;
use recording::{Kind, Recording, Timestamp};
use support::*;
use tempfile::TempDir;

const WHOLE: &str = "C:hello S:world fin";

fn talk() -> Talk {
    let mut talk = Talk::open(ENDS);
    talk.say(CLIENT, "hello");
    talk.say(SERVER, "world");
    talk.close();
    talk
}

fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("packets");
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn capture_bytes(bytes: &[u8]) -> Captured {
    let (_dir, path) = file(bytes);
    capture_file(&path, &[PORT])
}

/// Writes numbers in one byte order or the other.
struct Words {
    big: bool,
    bytes: Vec<u8>,
}

impl Words {
    fn u16(&mut self, word: u16) {
        self.bytes.extend(if self.big {
            word.to_be_bytes()
        } else {
            word.to_le_bytes()
        });
    }

    fn u32(&mut self, word: u32) {
        self.bytes.extend(if self.big {
            word.to_be_bytes()
        } else {
            word.to_le_bytes()
        });
    }
}

fn classic(big: bool, nanos: bool, frames: &[Frame]) -> Vec<u8> {
    let mut words = Words {
        big,
        bytes: Vec::new(),
    };
    words.u32(if nanos { 0xa1b2_3c4d } else { 0xa1b2_c3d4 });
    words.u16(2);
    words.u16(4);
    for word in [0, 0, 262_144, 1] {
        words.u32(word);
    }
    for frame in frames {
        words.u32((frame.at / 1_000_000_000) as u32);
        words.u32((frame.at % 1_000_000_000) as u32 / if nanos { 1 } else { 1000 });
        words.u32(frame.bytes.len() as u32);
        words.u32(frame.wire_len as u32);
        words.bytes.extend(&frame.bytes);
    }
    words.bytes
}

impl Words {
    fn block(&mut self, kind: u32, body: impl FnOnce(&mut Words)) {
        let start = self.bytes.len();
        self.u32(kind);
        self.u32(0);
        body(self);
        while !(self.bytes.len() - start).is_multiple_of(4) {
            self.bytes.push(0);
        }
        let len = (self.bytes.len() - start + 4) as u32;
        self.u32(len);
        let bytes = if self.big {
            len.to_be_bytes()
        } else {
            len.to_le_bytes()
        };
        self.bytes[start + 4..start + 8].copy_from_slice(&bytes);
    }

    fn section(&mut self) {
        self.block(0x0a0d_0d0a, |words| {
            words.u32(0x1a2b_3c4d);
            words.u32(1);
            words.u32(u32::MAX);
            words.u32(u32::MAX);
        });
    }

    fn interface(&mut self, link_type: u16, resolution: Option<u8>) {
        self.block(1, |words| {
            words.u16(link_type);
            words.u16(0);
            words.u32(262_144);
            if let Some(byte) = resolution {
                words.u16(9);
                words.u16(1);
                words.bytes.extend([byte, 0, 0, 0]);
                words.u32(0);
            }
        });
    }

    fn packet(&mut self, interface: u32, units: u64, bytes: &[u8]) {
        self.block(6, |words| {
            words.u32(interface);
            words.u32((units >> 32) as u32);
            words.u32(units as u32);
            words.u32(bytes.len() as u32);
            words.u32(bytes.len() as u32);
            words.bytes.extend(bytes);
        });
    }

    fn statistics(&mut self, interface: u32, kernel: u64) {
        self.block(5, |words| {
            words.u32(interface);
            words.u32(0);
            words.u32(0);
            words.u16(7);
            words.u16(8);
            let bytes = if words.big {
                kernel.to_be_bytes()
            } else {
                kernel.to_le_bytes()
            };
            words.bytes.extend(bytes);
            words.u32(0);
        });
    }
}

/// Packets of two interfaces of different link types and clocks, with blocks between that are not
/// read.
fn pcapng(big: bool, frames: &[Frame]) -> Vec<u8> {
    let mut words = Words {
        big,
        bytes: Vec::new(),
    };
    words.section();
    words.interface(1, Some(9));
    words.interface(101, None);
    for (number, frame) in frames.iter().enumerate() {
        match number % 2 {
            0 => words.packet(0, frame.at as u64, &frame.bytes),
            _ => words.packet(1, frame.at as u64 / 1000, &frame.bytes[14..]),
        }
        words.block(0xbad, |words| words.u32(1));
    }
    words.bytes
}

#[test]
fn pcap_of_both_byte_orders_and_clocks() {
    let talk = talk();
    for big in [false, true] {
        for nanos in [false, true] {
            let captured = capture_bytes(&classic(big, nanos, &talk.frames));
            assert_eq!(captured.sessions(), [WHOLE]);
            assert_eq!(captured.rows[0].started_at, Timestamp(talk.frames[0].at));
        }
    }
}

#[test]
fn pcapng_of_several_interfaces_and_sections() {
    let mut first = talk();
    first.at += 1_000_000_000;
    for big in [false, true] {
        let mut bytes = pcapng(big, &first.frames);
        let mut second = Talk::open(Ends {
            client: ([10, 0, 0, 9], 9),
            ..ENDS
        });
        second.say(CLIENT, "other section");
        bytes.extend(pcapng(!big, &second.frames));
        let captured = capture_bytes(&bytes);
        assert_eq!(
            captured.sessions(),
            [WHOLE, "C:other section capture ended"]
        );
        assert_eq!(captured.rows[0].started_at, Timestamp(first.frames[0].at));
    }
}

#[test]
fn pcapng_resolutions() {
    for (resolution, rate) in [
        (6, 1_000_000_u64),
        (0x80 | 20, 1 << 20),
        (3, 1000),
        (9, 1_000_000_000),
    ] {
        let mut words = Words {
            big: false,
            bytes: Vec::new(),
        };
        words.section();
        words.interface(1, Some(resolution));
        let talk = talk();
        for (number, frame) in talk.frames.iter().enumerate() {
            words.packet(0, rate * (100 + number as u64), &frame.bytes);
        }
        let captured = capture_bytes(&words.bytes);
        assert_eq!(captured.sessions(), [WHOLE]);
        assert_eq!(captured.rows[0].started_at, Timestamp(100_000_000_000));
    }
}

#[test]
fn pcapng_tells_of_drops() {
    let mut words = Words {
        big: true,
        bytes: Vec::new(),
    };
    for _ in 0..2 {
        words.section();
        words.interface(1, Some(9));
        // Counters since the beginning: the last one stands.
        words.statistics(0, 3);
        words.statistics(0, 5);
    }
    let captured = capture_bytes(&words.bytes);
    assert_eq!(captured.lost("packets", "kernel drop"), 10);
}

#[test]
fn compressed() {
    let mut talk = Talk::open(ENDS);
    let mut text = 1_u64;
    for _ in 0..2000 {
        text = text.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        talk.say(CLIENT, &text.to_string());
    }
    let bytes = classic(false, true, &talk.frames);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(&bytes).unwrap();
    let gz = gz.finish().unwrap();
    let zst = zstd::encode_all(bytes.as_slice(), 1).unwrap();
    let plain = capture_bytes(&bytes);
    for packed in [gz, zst] {
        assert_eq!(capture_bytes(&packed).rows, plain.rows);
        let torn = capture_bytes(&packed[..packed.len() - 20]);
        assert!(torn.rows.len() > 2);
        assert!(torn.progress.warnings[0].contains("is left out"));
    }
}

#[test]
fn a_torn_tail_is_told_at_every_offset() {
    let frames = talk().frames;
    let bytes = classic(false, true, &frames);
    for len in 24..bytes.len() {
        let captured = capture_bytes(&bytes[..len]);
        let packets = captured.progress.ledger.account("packets").unwrap().seen as usize;
        let read: usize = frames[..packets].iter().map(|it| 16 + it.bytes.len()).sum();
        let warnings = &captured.progress.warnings;
        let told = warnings
            .iter()
            .any(|it| it.contains("its last packet is left out"));
        assert_eq!(told, 24 + read < len, "{len}");
    }
    let bytes = pcapng(true, &frames);
    for len in 24..bytes.len() {
        capture_bytes(&bytes[..len]);
    }
    let captured = capture_bytes(&bytes[..bytes.len() - 21]);
    assert!(captured.progress.warnings[0].contains("its last packet is left out"));
}

/// How many packets were read before the damage, and how it is told.
fn damage(bytes: &[u8]) -> (u64, String) {
    let (_dir, path) = file(bytes);
    let stop = AtomicBool::new(false);
    let mut sink = Memory::default();
    let (progress, outcome) =
        capture::run_into(&options(&path, &[PORT]), &mut sink, &stop, &|_| {});
    let error = outcome.unwrap_err();
    let CaptureError::File(FileError::Damaged { .. }) = error else {
        panic!("{error}");
    };
    assert!(progress.ledger.balanced());
    let seen = progress.ledger.account("packets").unwrap().seen;
    (seen, error.to_string())
}

#[test]
fn damage_is_told_and_allocates_nothing() {
    let frames = talk().frames;
    let mut bytes = classic(false, true, &frames);
    let second = 24 + 16 + frames[0].bytes.len();
    for len in [u32::MAX, 1 << 31, (16 << 20) + 1] {
        bytes[second + 8..second + 12].copy_from_slice(&len.to_le_bytes());
        let (seen, told) = damage(&bytes);
        assert_eq!(seen, 1);
        assert!(
            told.contains(&format!("is damaged at byte {second} (")),
            "{told}"
        );
    }
    let mut bytes = pcapng(false, &frames);
    for len in [0_u32, 8, 13, u32::MAX] {
        bytes[28 + 4..28 + 8].copy_from_slice(&len.to_le_bytes());
        let (_, told) = damage(&bytes);
        assert!(told.contains("at byte 28 (a block's length)"), "{told}");
    }
}

/// Some of it looks like a packet that the file ends in.
#[test]
fn garbage_is_not_taken_for_a_torn_tail() {
    let frames = talk().frames;
    let whole = frames.len() as u64;
    for nanos in [false, true] {
        let bytes = classic(false, nanos, &frames);
        let read = |words: [u32; 4]| words.map(u32::to_le_bytes).concat();
        for garbage in [
            vec![0; 64],
            vec![0xff; 64],
            b"a text that is long enough for a header".to_vec(),
            // Longer than on the wire, than the longest, and at no time.
            read([1_700_000_000, 5, 1500, 60]),
            read([1_700_000_000, 5, 300_000, 300_000]),
            read([1_700_000_000, 1_000_000_000, 60, 60]),
        ] {
            let (seen, told) = damage(&[&bytes[..], &garbage].concat());
            assert_eq!(seen, whole, "{garbage:02x?}");
            assert!(told.contains(&format!("at byte {}", bytes.len())), "{told}");
        }
    }
    let bytes = pcapng(false, &frames);
    let (seen, told) = damage(&[&bytes[..], &[0; 64]].concat());
    assert_eq!(seen, whole);
    assert!(told.contains(&format!("at byte {}", bytes.len())), "{told}");
}

#[test]
fn a_byte_too_much_is_damage() {
    let mut frames = talk().frames;
    for frame in &mut frames {
        frame.at += 500_000_000;
    }
    let mut bytes = classic(false, false, &frames);
    let third = 24 + 32 + frames[0].bytes.len() + frames[1].bytes.len();
    bytes.insert(third, b'x');
    let (seen, told) = damage(&bytes);
    assert_eq!(seen, 2);
    assert!(told.contains(&format!("at byte {third} (")), "{told}");
    // In the first packet's bytes, behind a section and two interfaces.
    let mut bytes = pcapng(false, &frames);
    let packet = 28 + 32 + 20;
    bytes.insert(packet + 40, b'x');
    let (seen, told) = damage(&bytes);
    assert_eq!(seen, 0);
    assert!(
        told.contains(&format!("at byte {packet} (a block of two lengths)")),
        "{told}"
    );
}

/// The files after it are read, and the recording says that it is not all.
#[test]
fn a_damaged_file_leaves_an_incomplete_recording() {
    let frames = talk().frames;
    let mut bytes = classic(false, true, &frames[..4]);
    bytes.extend([0xff; 64]);
    let (_one, first) = file(&bytes);
    let (_two, second) = file(&classic(false, true, &frames[4..]));
    let (_three, third) = file(&bytes);
    let mut options = options(&first, &[PORT]);
    options.sources.extend([second, third].map(Source::File));
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().join("monday.rec");
    let stop = AtomicBool::new(false);
    let summary = capture::run(&options, &dir, &stop, &|_| {}).unwrap();
    let error = summary.interrupted.unwrap().to_string();
    assert!(error.contains(&first.display().to_string()), "{error}");
    assert!(!summary.manifest.complete && summary.manifest.ledger.balanced());
    let packets = summary.manifest.ledger.account("packets").unwrap();
    assert_eq!(packets.seen, frames.len() as u64 + 4);
    let warnings = summary.progress.warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("was not read"), "{warnings:?}");
    assert!(!Recording::verify(&dir).unwrap().complete);
}

#[test]
fn what_is_no_packet_file_is_refused() {
    for (bytes, text) in [
        (&b""[..], "is empty"),
        (b"GET", "is neither pcap nor pcapng"),
        (
            b"a text that is long enough for a header",
            "is neither pcap nor pcapng",
        ),
    ] {
        let told = refusal(bytes);
        assert!(told.contains(text), "{told}");
    }
}

fn refusal(bytes: &[u8]) -> String {
    let (_dir, path) = file(bytes);
    let mut sink = Memory::default();
    let stop = AtomicBool::new(false);
    let (_, outcome) = capture::run_into(&options(&path, &[PORT]), &mut sink, &stop, &|_| {});
    let error = outcome.unwrap_err();
    assert!(matches!(error, CaptureError::File(_)));
    error.to_string()
}

#[test]
fn a_file_that_is_cut_in_its_header_is_told_as_such() {
    let mut cut = Vec::new();
    for (big, nanos) in [(false, false), (false, true), (true, false), (true, true)] {
        let bytes = classic(big, nanos, &[]);
        cut.extend((1..24).map(|len| bytes[..len].to_vec()));
    }
    cut.extend((1..4).map(|len| pcapng(false, &[])[..len].to_vec()));
    let bytes = classic(false, true, &talk().frames);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(&bytes).unwrap();
    let gz = gz.finish().unwrap();
    let zst = zstd::encode_all(bytes.as_slice(), 1).unwrap();
    for packed in [gz, zst] {
        cut.extend((1..20).map(|len| packed[..len].to_vec()));
    }
    for bytes in cut {
        let told = refusal(&bytes);
        assert!(told.contains("is cut off"), "{told} {bytes:02x?}");
    }
}

#[test]
fn files_one_after_the_other_into_a_recording() {
    let frames = talk().frames;
    let (_one, first) = file(&classic(false, true, &frames[..4]));
    let (_two, second) = file(&pcapng(true, &frames[4..]));
    let mut options = options(&first, &[PORT]);
    options.sources.push(Source::File(second));
    options.workers = 3;
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().join("monday.rec");
    let stop = AtomicBool::new(false);
    let summary = capture::run(&options, &dir, &stop, &|_| {}).unwrap();
    assert!(summary.interrupted.is_none());
    assert!(summary.manifest.complete && summary.manifest.ledger.balanced());
    assert_eq!(summary.manifest.servers, ["10.0.0.2:5432".parse().unwrap()]);
    assert_eq!(summary.manifest.protocols, [Scribe.name()]);
    let recording = Recording::open(&dir).unwrap();
    let kinds: Vec<Kind> = recording
        .rows()
        .unwrap()
        .map(|row| row.unwrap().kind)
        .collect();
    assert_eq!(
        kinds,
        [Kind::Open, Kind::Request, Kind::Request, Kind::Close]
    );
}

#[test]
fn a_source_that_fails_leaves_an_incomplete_recording() {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&classic(false, true, &talk().frames)).unwrap();
    let mut bytes = gz.finish().unwrap();
    // The checksum, of which nothing is known before all is read.
    let checksum = bytes.len() - 8;
    bytes[checksum] ^= 1;
    let (_file, path) = file(&bytes);
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().join("monday.rec");
    let stop = AtomicBool::new(false);
    let summary = capture::run(&options(&path, &[PORT]), &dir, &stop, &|_| {}).unwrap();
    let error = summary.interrupted.unwrap();
    assert!(matches!(error, CaptureError::File(_)), "{error}");
    assert!(!summary.manifest.complete && summary.manifest.ledger.balanced());
    let found = Recording::verify(&dir).unwrap();
    assert!(found.is_sound() && found.rows == 4, "{found:?}");
    assert_eq!(Recording::repair(&dir).unwrap(), Vec::<String>::new());
}

#[test]
fn a_full_disk_is_told_with_its_path() {
    struct Full(u64);
    impl capture::Sink for Full {
        fn write(&mut self, _: recording::Batch) -> Result<(), recording::StoreError> {
            self.0 += 1;
            Err(recording::StoreError::Failed("/full/monday.rec".into()))
        }

        fn tick(
            &mut self,
            _: std::time::Instant,
            _: &capture::Progress,
        ) -> Result<(), recording::StoreError> {
            Ok(())
        }
    }
    let (_dir, path) = file(&classic(false, true, &talk().frames));
    let stop = AtomicBool::new(false);
    let mut sink = Full(0);
    let (progress, outcome) =
        capture::run_into(&options(&path, &[PORT]), &mut sink, &stop, &|_| {});
    assert!(
        outcome
            .unwrap_err()
            .to_string()
            .contains("/full/monday.rec")
    );
    assert_eq!(sink.0, 1);
    assert!(progress.ledger.balanced());
    let requests = progress.ledger.account("requests").unwrap();
    assert_eq!(requests.lost.get("not written"), Some(&2));
}
