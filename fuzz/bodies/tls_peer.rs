//! A TLS 1.3 server in memory that holds its own keys, and so can say what no honest one would.
//!
//! ```text
//! rustls' client ◄─ handshake ─► rustls' server          then: InPlaceRecords ◄── records of any content, type, padding ── Peer
//! ```

#![allow(dead_code, reason = "each program uses what it needs of this module")]

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::kernel::KernelConnection;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{ClientConfig, ConnectionTrafficSecrets, RootCertStore, ServerConfig, SupportedCipherSuite};
use std::sync::{Arc, OnceLock};
use tickwire::hot::InPlaceRecords;

pub(crate) const ALERT: u8 = 21;
pub(crate) const HANDSHAKE: u8 = 22;
pub(crate) const APPLICATION_DATA: u8 = 23;

/// Every suite whose records are opened in place.
pub(crate) const SUITES: [SupportedCipherSuite; 3] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// One direction's key: the same as the engine's by RFC 8446 alone.
pub(crate) struct Key {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    pub(crate) sequence: u64,
}

impl Key {
    /// A key of AES-128-GCM that everybody knows.
    pub(crate) fn known() -> Self {
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("a key of its length"));
        Self { key, iv: [9; NONCE_LEN], sequence: 0 }
    }

    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Self {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => panic!("a suite of TLS 1.3"),
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).expect("a key of its length"));
        Self { key, iv: iv.as_ref().try_into().expect("12 bytes"), sequence }
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    /// A record of this inner plaintext: content, type and padding as they stand.
    pub(crate) fn seal_inner(&mut self, inner: &[u8]) -> Vec<u8> {
        let [high, low] = u16::try_from(inner.len() + 16).expect("a record's length").to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, high, low];
        let mut body = inner.to_vec();
        let nonce = self.nonce();
        self.key.seal_in_place_append_tag(nonce, Aad::from(header), &mut body).expect("sealed");
        [&header[..], &body].concat()
    }

    pub(crate) fn seal(&mut self, kind: u8, content: &[u8], padding_bytes: usize) -> Vec<u8> {
        self.seal_inner(&[content, &[kind], &vec![0; padding_bytes]].concat())
    }

    /// Opens one whole record where it lies: content and type.
    pub(crate) fn open_in_place<'r>(&mut self, record: &'r mut [u8]) -> &'r [u8] {
        let (header, body) = record.split_at_mut(5);
        let (inner, tag) = body.split_last_chunk_mut::<16>().expect("a tag");
        let nonce = self.nonce();
        self.key.open_in_place_separate_tag(nonce, Aad::from(&*header), &*tag, inner).expect("an authentic record")
    }

    /// Opens one whole record: its type and content.
    pub(crate) fn open(&mut self, record: &[u8]) -> (u8, Vec<u8>) {
        assert_eq!(record[..3], [APPLICATION_DATA, 3, 3]);
        let mut record = record.to_vec();
        let (&kind, content) = self.open_in_place(&mut record).split_last().expect("a type");
        (kind, content.to_vec())
    }
}

/// The server's end.
pub(crate) struct Peer {
    pub(crate) sealing: Key,
    pub(crate) opening: Key,
    kernel: KernelConnection<ServerConnectionData>,
}

impl Peer {
    /// A record of application data.
    pub(crate) fn data(&mut self, content: &[u8]) -> Vec<u8> {
        self.sealing.seal(APPLICATION_DATA, content, 0)
    }

    /// A key update; what is sealed behind it has the next key.
    pub(crate) fn key_update(&mut self, is_requested: bool) -> Vec<u8> {
        let record = self.sealing.seal(HANDSHAKE, &[24, 0, 0, 1, u8::from(is_requested)], 0);
        self.next_sealing_key();
        record
    }

    pub(crate) fn next_sealing_key(&mut self) {
        self.sealing = Key::new(self.kernel.update_tx_secret().expect("TLS 1.3"));
    }

    /// What the client has sent, record by record; its key updates are followed.
    pub(crate) fn hear(&mut self, mut ciphertext: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut heard = Vec::new();
        while !ciphertext.is_empty() {
            let record_bytes = 5 + usize::from(u16::from_be_bytes([ciphertext[3], ciphertext[4]]));
            let (record, rest) = ciphertext.split_at(record_bytes);
            ciphertext = rest;
            let (kind, content) = self.opening.open(record);
            if (kind, &content[..]) == (HANDSHAKE, &[24, 0, 0, 1, 0]) {
                self.opening = Key::new(self.kernel.update_rx_secret().expect("TLS 1.3"));
            }
            heard.push((kind, content));
        }
        heard
    }
}

pub(crate) struct Configs {
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Arc<ServerConfig>,
}

pub(crate) fn configs(suite: SupportedCipherSuite) -> Configs {
    static CERTIFIED: OnceLock<rcgen::CertifiedKey<rcgen::KeyPair>> = OnceLock::new();
    let certified =
        CERTIFIED.get_or_init(|| rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate"));
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites = vec![suite];
    let provider = Arc::new(provider);
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .expect("a server");
    server.enable_secret_extraction = true;
    server.send_tls13_tickets = 0;
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).expect("a root");
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    Configs { client: Arc::new(client), server: Arc::new(server) }
}

/// One turn of one end: what it says goes to `outgoing`. True once it may send data.
macro_rules! turn {
    ($session:expr, $incoming:expr, $outgoing:expr) => {{
        let UnbufferedStatus { discard, state } = $session.process_tls_records($incoming);
        let is_done = match state.expect("a handshake") {
            ConnectionState::EncodeTlsData(mut data) => {
                let mut record = vec![0; 32 * 1024];
                let encoded = data.encode(&mut record).expect("room");
                $outgoing.extend_from_slice(&record[..encoded]);
                false
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                false
            }
            ConnectionState::BlockedHandshake => false,
            ConnectionState::WriteTraffic(_) => true,
            other => panic!("unexpected {other:?}"),
        };
        $incoming.drain(..discard);
        is_done
    }};
}

/// Both ends after their handshake with this suite, by its place in [`SUITES`]; the client's records are opened in place.
pub(crate) fn session(suite: usize) -> (InPlaceRecords, Peer) {
    let (client, peer) = handshaken(suite);
    (InPlaceRecords::new(client, Vec::new()).expect("a suite that is opened in place"), peer)
}

/// The same, the client's end as rustls has it.
pub(crate) fn handshaken(suite: usize) -> (UnbufferedClientConnection, Peer) {
    static CONFIGS: OnceLock<Vec<Configs>> = OnceLock::new();
    let Configs { client, server } = &CONFIGS.get_or_init(|| SUITES.into_iter().map(configs).collect())[suite];
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = UnbufferedClientConnection::new(Arc::clone(client), name).expect("a session");
    let mut server = UnbufferedServerConnection::new(Arc::clone(server)).expect("a session");
    let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let is_client_done = turn!(client, &mut to_client, to_server);
        let is_server_done = turn!(server, &mut to_server, to_client);
        if is_client_done && is_server_done && to_client.is_empty() && to_server.is_empty() {
            let (secrets, kernel) = server.dangerous_into_kernel_connection().expect("a finished handshake");
            let peer = Peer { sealing: Key::new(secrets.tx), opening: Key::new(secrets.rx), kernel };
            return (client, peer);
        }
    }
    panic!("the handshake does not end");
}
