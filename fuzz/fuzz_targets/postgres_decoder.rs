#![no_main]

mod decoder;

libfuzzer_sys::fuzz_target!(|data: &[u8]| decoder::decode("postgres", data));
