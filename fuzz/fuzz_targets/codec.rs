//! What must hold for compressed streams, whatever their bytes are: `palan_testkit::fuzz::codec`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| palan_testkit::fuzz::codec(bytes));
