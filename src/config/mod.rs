//! TOML in, checked types out.
