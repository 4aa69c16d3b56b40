#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| alumiini_git::fuzz::configs(bytes));
