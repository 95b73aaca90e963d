//! The configuration: any text is read or refused in one harmless line, and what is printed is read back.
use super::is_harmless;
use crate::config::{parse, print, units};
use std::path::Path;

/// Any text.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let read = |text: &str| parse(text, Path::new("echostored.toml"), Path::new("/here"));
    match read(text) {
        Ok(config) => {
            let printed = print(&config);
            assert_eq!(read(&printed), Ok(config), "printed, it means something else");
        }
        Err(error) => {
            let told = error.to_string();
            assert!(is_harmless(&told), "a terminal would be attacked: {told:?}");
        }
    }
}

/// Sizes and times.
pub fn units(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match units::parse_size(text) {
        Ok(size) => assert_eq!(units::parse_size(&units::format_size(size)), Ok(size)),
        Err(why) => assert!(is_harmless(&why)),
    }
    match units::parse_time(text) {
        Ok(time) => assert_eq!(units::parse_time(&units::format_time(time)), Ok(time)),
        Err(why) => assert!(is_harmless(&why)),
    }
}
