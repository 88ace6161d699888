//! The hot plane: once per packet, no allocation, no lock, no log line.
