//! Configuration, in two steps: what the file says (TOML, keys, positions) becomes what the daemon means
//! ([`Config`]: units resolved, limits held, paths absolute). Promises one error text for every fault, with file, line,
//! column, key and what is allowed. Must never look at the system beyond the file itself, nor guess at a value.
pub mod defaults;
mod document;
mod doors;
mod error;
mod file;
mod hints;
mod key;
mod keys;
mod limits;
mod listen;
mod log;
mod metrics;
mod networks;
mod print;
mod read;
mod reload;
mod syntax;
mod types;
pub mod units;

pub use document::parse;
pub use error::ConfigError;
pub use file::{Loaded, MAX_FILE_SIZE, load, load_control, load_from};
pub use key::Key;
pub use keys::{KEYS, TABLES};
pub use print::print;
pub use reload::reload_refusals;
pub use types::{
    Choice, ClientCertificate, Compress, Config, Control, Daemon, Echo, Format, Framing, Level, Limits, Listen, Log,
    LogFormat, Method, Metrics, OnDiskFull, OnOversize, Pem, Proxy, Retain, Rotate, Sandbox, Security, Server, Space,
    Store, Timezone, Tls, TlsVersion, Workers,
};
