//! Echoes every text and binary message of one connection until the server closes it: what an RFC 6455 conformance
//! suite drives. Exit code 0 after a clean close; otherwise 1, with the reason on stderr.
//!
//! ```text
//! cargo run --release --example echo_client -- 'ws://127.0.0.1:9001/runCase?case=1&agent=tickwire'
//! cargo run --release --example echo_client -- wss://localhost:9443/ --ca ca.pem --transport cold
//! ```

use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use tickwire::hot::{ClosedBy, ConnectionSettings, DataKind, HotConnection, Poller, ReadOutcome, SendError, Waker};
use tickwire::limits::VISIT_BYTES_MAX;
use tickwire::net::{self, ConnectOptions, Message, WebSocketConnection, WebSocketOptions};
use url::Url;

/// Bytes a frame adds to the longest message: opcode, 64-bit length, mask.
const HEADER_BYTES_MAX: usize = 14;

#[derive(Clone, Copy, ValueEnum)]
enum Transport {
    /// The hot core's own connection.
    Hot,
    /// tokio-tungstenite.
    Cold,
}

/// Echoes every message of one WebSocket connection until the server closes it.
#[derive(Parser)]
struct Arguments {
    /// ws:// or wss:// and the rest.
    url: Url,
    /// Which of the two clients.
    #[arg(long, value_enum, default_value = "hot")]
    transport: Transport,
    /// PEM file of certificates to trust beside the public ones.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Longest message accepted, in bytes, fragments joined.
    #[arg(long, default_value_t = 64 * 1024 * 1024)]
    max_message_bytes: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo_client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut options = ConnectOptions::new(arguments.url.clone());
    options.tls = Some(net::client_config(arguments.ca.as_deref())?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.transport {
        Transport::Cold => runtime.block_on(echo_cold(&options, arguments.max_message_bytes)),
        Transport::Hot => {
            let established = runtime.block_on(net::connect(&options))?;
            let settings = ConnectionSettings {
                max_message_bytes: arguments.max_message_bytes,
                strict_utf8: true,
                write_buffer_bytes: arguments.max_message_bytes + HEADER_BYTES_MAX,
                ..ConnectionSettings::default()
            };
            echo_hot(HotConnection::new(established.stream, &established.leftover, &settings)?)
        }
    }
}

async fn echo_cold(options: &ConnectOptions, max_message_bytes: usize) -> anyhow::Result<()> {
    let sizes = WebSocketOptions {
        max_message_bytes,
        // A pong may wait before the message.
        write_buffer_bytes: max_message_bytes + 16 * HEADER_BYTES_MAX,
        ..WebSocketOptions::default()
    };
    let mut socket = WebSocketConnection::connect(options, &sizes).await?;
    while let Some(message) = socket.recv().await? {
        if let Message::Text(_) | Message::Binary(_) = message {
            socket.send(message).await?;
        }
    }
    Ok(())
}

/// Reads, echoes and waits, as a parked hot core does, until the connection ends.
fn echo_hot(mut connection: HotConnection) -> anyhow::Result<()> {
    let waker = Waker::new()?;
    let mut poller = Poller::new(&waker)?;
    poller.add(connection.raw_fd(), 0, false)?;
    let mut message_copy = Vec::new();
    let ended = loop {
        match echo_received(&mut connection, &mut poller, &mut message_copy) {
            Ok(()) => {}
            Err(SendError::Closed(closed)) => break closed,
            // We close only in answer to the server, whose close frame is the next thing to be read.
            Err(SendError::Closing) => {}
            Err(error) => return Err(error.into()),
        }
        match connection.read(VISIT_BYTES_MAX) {
            Ok(ReadOutcome::WouldBlock) if !connection.has_buffered() => wait(&connection, &mut poller)?,
            Ok(_) => {}
            Err(closed) => break closed,
        }
    };
    match ended.by {
        ClosedBy::Peer | ClosedBy::Us => Ok(()),
        _ => Err(ended.into()),
    }
}

/// Echoes what has been read. A message is copied once, because it lies in the buffer of the connection that sends it.
fn echo_received(
    connection: &mut HotConnection,
    poller: &mut Poller,
    message_copy: &mut Vec<u8>,
) -> Result<(), SendError> {
    while let Some(message) = connection.next_message().map_err(SendError::Closed)? {
        let kind = message.kind;
        message_copy.clear();
        message_copy.extend_from_slice(&message.payload);
        loop {
            let sent = match kind {
                DataKind::Text => connection.send_text(message_copy),
                DataKind::Binary => connection.send_binary(message_copy),
            };
            match sent {
                // It fits an empty buffer; until then nothing more is read, so that a server that sends without
                // reading is held back by its own full socket.
                Err(SendError::Full { .. }) if connection.wants_write() => {
                    wait(connection, poller).map_err(|error| {
                        SendError::Closed(tickwire::hot::Closed { code: None, by: ClosedBy::Transport(error.into()) })
                    })?;
                    connection.flush().map_err(SendError::Closed)?;
                }
                outcome => break outcome?,
            }
        }
    }
    Ok(())
}

/// Waits until the socket can be read, or written while something waits for that.
fn wait(connection: &HotConnection, poller: &mut Poller) -> std::io::Result<()> {
    poller.modify(connection.raw_fd(), 0, connection.wants_write())?;
    const AGAIN_MS: i32 = 1_000;
    poller.wait(AGAIN_MS);
    Ok(())
}
