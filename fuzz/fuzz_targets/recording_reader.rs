//! A recording of any bytes: it opens or fails, and its rows end. The first byte says what the rest
//! is. Panics of the decoder that the reader catches are no crashes: the hook keeps them from being
//! taken for some.

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use recording::Recording;

const FILES: [&str; 3] = ["open-00000.arrows", "requests-00000.parquet", "manifest.json"];

fuzz_target!(init: std::panic::set_hook(Box::new(|_| ())), |data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    let dir = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let file = FILES[usize::from(*kind) % FILES.len()];
    fs::write(dir.path().join(file), bytes).expect("written");
    if let Ok(recording) = Recording::open(dir.path())
        && let Ok(rows) = recording.rows()
    {
        rows.for_each(drop);
    }
});
