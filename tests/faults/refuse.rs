//! A full disk with `store.on-disk-full = "reject"`.
