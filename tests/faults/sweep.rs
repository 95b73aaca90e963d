//! The k-th system call fails, for every k.
