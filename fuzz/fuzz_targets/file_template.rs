#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(target) = capn_fuzz::target("file_template") {
        (target.run)(bytes);
    }
});
