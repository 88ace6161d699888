//! The embedded exchange.
