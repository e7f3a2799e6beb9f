//! Feeds text to what reads `conflux.toml`. Nothing may panic, what is wrong has to be said, and the same text has to mean
//! the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let read = conflux_cli::read_config(text);
    if let Err(why) = &read {
        assert!(!why.is_empty());
    }
    assert_eq!(conflux_cli::read_config(text), read);
});
