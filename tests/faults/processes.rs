//! Roles killed, stopped and not to be forked.
