//! What must hold for archives, whatever their bytes are: `palan_testkit::fuzz::tar`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| palan_testkit::fuzz::tar(bytes));
