#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| echostored::fuzzing::run("http", data));
