//! The only I/O of the control plane: connect, TLS, upgrade, REST.
