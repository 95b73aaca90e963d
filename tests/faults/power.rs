//! Power cuts: what was echoed in `synced` mode is there after it.
