//! Real file systems that run full, run out of inodes, or fail.
