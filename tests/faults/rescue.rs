//! A sync or write that fails: what was acknowledged is saved to a new segment.
