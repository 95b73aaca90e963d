//! Disks that are slow or hang.
