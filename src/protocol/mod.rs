//! What travels, as pure code: framing of messages and connection ids. Never does I/O, never knows a role.
pub mod framing;
pub mod ids;
