//! The only I/O of the control plane: names resolved, sockets opened, TLS and the upgrade done, REST asked.
//!
//! ```text
//!            dial              tls_stream           upgrade              connect
//! url ──► DNS, TCP ──► rustls' unbuffered ──► 101 Switching ──► Established ──► (ring) ──► hot core
//!         options set    client (wss only)    Protocols, by       socket, session,
//!         before connect                      handover to the     bytes behind the 101
//!                                             last byte
//!                   (in_place_io, where records are opened in place)
//!              └─────► tokio-rustls ────────────► client: WebSocketConnection, which stays on the cold runtime
//!
//! rest: GET with a bound on everything; instrument lists page by page; governed: never without the governor's permit
//! token: a connection's URL, asked for by REST before each connect
//! control_socket: a Unix socket on which the running engine is asked, in JSON lines
//! ```
//! Runs on the cold runtime, called by the engine. Decides nothing: when to connect again, what to subscribe and whom to
//! believe is `control`'s. Never switches certificate verification off, never offers an extension, never prints a header.

mod client;
mod connect;
mod control_protocol;
mod control_socket;
mod dial;
mod governed;
mod handover;
mod in_place_io;
mod rest;
mod retry_after;
mod tls;
mod tls_stream;
mod token;
mod upgrade;

#[cfg(test)]
mod testing;

pub use client::{CloseReason, Message, WebSocketConnection, WebSocketError, WebSocketOptions};
pub use connect::{
    Attempt, ConnectError, ConnectOptions, Established, Granted, Keepalive, Secret, SocketOptions, Step, Timeouts,
    Timings, TlsFailure, connect, host_of,
};
pub use control_protocol::{ControlRequest, ControlResponse};
pub use control_socket::{
    ControlHandler, ControlSocket, ControlSocketCounts, ControlSocketError, ControlSocketOptions, ControlSocketStats,
};
pub use governed::{GovernedRest, GovernorGuard, SharedGovernor};
pub use rest::{InstrumentList, RestClient, RestError, RestOptions, RestReply};
pub use tls::{TlsError, client_config};
pub use token::{TokenBootstrap, TokenError, TokenMethod};
