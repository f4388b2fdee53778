//! What must hold for stacks of layers, whatever their bytes are: `palan_testkit::fuzz::whiteouts`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| palan_testkit::fuzz::whiteouts(bytes));
