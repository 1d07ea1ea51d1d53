#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(target) = capn_fuzz::target("container_linux_config") {
        (target.run)(bytes);
    }
});
