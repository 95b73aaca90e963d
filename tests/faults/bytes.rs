//! Damaged stores: every truncation and every flipped bit of a live file.
