//! The store's directory deleted, replaced or mounted over.
