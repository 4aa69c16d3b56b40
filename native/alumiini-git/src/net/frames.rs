//! Bounds what servers send beside their answers.
//!
//! A server can send frames of HTTP/2 that belong to no answer, at almost no cost and without a
//! request. Without a bound they would keep a thread busy for as long as the connection is kept.
//! The HTTP client gives no access to its connections, so this file looks at the bytes that TLS
//! decrypts, and ends a connection there. That is enough, since HTTP/2 is spoken over TLS only. Of
//! HTTP/1 it counts informational answers, which cost as little.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, KeyBlockShape, MessageDecrypter,
    MessageEncrypter, Tls12AeadAlgorithm, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::{CipherSuiteCommon, CryptoProvider};
use rustls::{
    ConnectionTrafficSecrets, ContentType, Error, SupportedCipherSuite, Tls12CipherSuite,
    Tls13CipherSuite,
};

use crate::net::interim::Interim;

/// The allowance of a connection: how many frames and records a server may send that no answer pays
/// for.
const MOST: u32 = 1_000;
/// What the end of an answer, and each second, adds to the allowance.
const ANSWER: u32 = 10;
const SECOND: u32 = 10;
/// So many bytes of answers pay for one frame. Servers that write each line of a list by itself
/// send frames of 50 bytes and more; lines of progress have about as many. An honest server that
/// sends shorter frames is slow, and ten frames a second are free.
const BYTES: usize = 32;
/// The most bytes of padding in a frame, with the byte for its length (RFC 9113, 6.1).
const PADDING: usize = 256;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const PADDED: u8 = 8;
const HEAD: usize = 9;

/// `provider`, with a bound: a connection ends when its server has used up the allowance.
pub(super) fn bounded(provider: CryptoProvider) -> CryptoProvider {
    static SUITES: OnceLock<Vec<SupportedCipherSuite>> = OnceLock::new();
    let suites = SUITES.get_or_init(|| provider.cipher_suites.iter().map(watched).collect());
    CryptoProvider {
        cipher_suites: suites.clone(),
        ..provider
    }
}

/// Makes a suite that counts. Suites live for ever, so this is called once for each.
fn watched(suite: &SupportedCipherSuite) -> SupportedCipherSuite {
    let common = |common: &CipherSuiteCommon| CipherSuiteCommon {
        suite: common.suite,
        hash_provider: common.hash_provider,
        confidentiality_limit: common.confidentiality_limit,
    };
    match suite {
        SupportedCipherSuite::Tls13(suite) => {
            SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: common(&suite.common),
                hkdf_provider: suite.hkdf_provider,
                aead_alg: Box::leak(Box::new(Watched(suite.aead_alg))),
                quic: None,
            })))
        }
        SupportedCipherSuite::Tls12(suite) => {
            SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common: common(&suite.common),
                prf_provider: suite.prf_provider,
                kx: suite.kx,
                sign: suite.sign,
                aead_alg: Box::leak(Box::new(Watched(suite.aead_alg))),
            })))
        }
    }
}

struct Watched<T>(T);

thread_local! {
    /// The counts of the connection whose keys this thread is changing. The last message under the
    /// old keys announces the change, and rustls makes the new keys right after it.
    static LEFT: Cell<Option<Frames>> = const { Cell::new(None) };
}

impl Tls13AeadAlgorithm for Watched<&'static dyn Tls13AeadAlgorithm> {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        self.0.encrypter(key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Decrypter {
            inner: self.0.decrypter(key, iv),
            frames: LEFT.take().unwrap_or_default(),
            may_change_keys: true,
        })
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }
}

impl Tls12AeadAlgorithm for Watched<&'static dyn Tls12AeadAlgorithm> {
    fn encrypter(&self, key: AeadKey, iv: &[u8], extra: &[u8]) -> Box<dyn MessageEncrypter> {
        self.0.encrypter(key, iv, extra)
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        Box::new(Decrypter {
            inner: self.0.decrypter(key, iv),
            frames: Frames::default(),
            may_change_keys: false,
        })
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        self.0.key_block_shape()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: &[u8],
        explicit: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv, explicit)
    }
}

struct Decrypter {
    inner: Box<dyn MessageDecrypter>,
    frames: Frames,
    may_change_keys: bool,
}

impl MessageDecrypter for Decrypter {
    fn decrypt<'a>(
        &mut self,
        msg: InboundOpaqueMessage<'a>,
        seq: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let plain = self.inner.decrypt(msg, seq)?;
        let is_data = plain.typ == ContentType::ApplicationData && !plain.payload.is_empty();
        let data = if is_data { plain.payload } else { &[] };
        if !self.frames.take(data, Instant::now()) {
            return Err(Error::General(
                "more beside answers than a server may send".to_owned(),
            ));
        }
        // A `KeyUpdate` is the last message of its record.
        let is_change = |payload: &[u8]| {
            payload
                .rchunks(5)
                .next()
                .is_some_and(|last| last.starts_with(&KEY_UPDATE))
        };
        if self.may_change_keys && plain.typ == ContentType::Handshake && is_change(plain.payload) {
            LEFT.set(Some(self.frames.clone()));
        }
        Ok(plain)
    }
}

/// A `KeyUpdate` message (RFC 8446, 4.6.3) without its last byte, which varies.
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];

/// Counts what has arrived on a connection.
#[derive(Debug, Clone)]
struct Frames {
    /// Whether the connection speaks HTTP/2, by its first byte. That is 0 in HTTP/2, since no
    /// client accepts a frame long enough for another value, and never 0 in HTTP/1.
    http2: Option<bool>,
    /// The head of a frame, as far as it has arrived.
    head: [u8; HEAD],
    have: usize,
    /// Bytes of the frame's body that have not arrived yet.
    left: usize,
    /// Counts the informational answers of HTTP/1.
    interim: Interim,
    allowed: u32,
    /// Bytes of answers that have not paid for a frame yet.
    bytes: usize,
    since: Option<Instant>,
}

impl Default for Frames {
    fn default() -> Self {
        Frames {
            http2: None,
            head: [0; HEAD],
            have: 0,
            left: 0,
            interim: Interim::default(),
            allowed: MOST,
            bytes: 0,
            since: None,
        }
    }
}

impl Frames {
    /// Counts a record with `data`, which is empty for a record of another type. Returns whether
    /// the connection may go on.
    fn take(&mut self, data: &[u8], now: Instant) -> bool {
        let since = self.since.get_or_insert(now);
        let seconds = now.saturating_duration_since(*since).as_secs();
        *since += Duration::from_secs(seconds);
        self.give(
            u32::try_from(seconds)
                .unwrap_or(MOST)
                .saturating_mul(SECOND),
        );
        let Some(first) = data.first() else {
            return self.spend();
        };
        if !*self.http2.get_or_insert(*first == 0) {
            let interim = self.interim.count(data);
            return (0..interim).all(|_| self.spend());
        }
        let mut rest = data;
        loop {
            let skipped = self.left.min(rest.len());
            self.left -= skipped;
            rest = &rest[skipped..];
            let taken = (HEAD - self.have).min(rest.len());
            self.head[self.have..self.have + taken].copy_from_slice(&rest[..taken]);
            self.have += taken;
            rest = &rest[taken..];
            if self.have < HEAD {
                return true;
            }
            self.have = 0;
            self.left = u32::from_be_bytes([0, self.head[0], self.head[1], self.head[2]]) as usize;
            let (kind, flags) = (self.head[3], self.head[4]);
            if kind == DATA {
                let padding = if flags & PADDED == 0 { 0 } else { PADDING };
                self.bytes += self.left.saturating_sub(padding);
                self.give((self.bytes / BYTES) as u32);
                self.bytes %= BYTES;
            }
            match (kind, flags & END_STREAM) {
                (DATA | HEADERS, END_STREAM) => self.give(ANSWER),
                _ if !self.spend() => return false,
                _ => {}
            }
        }
    }

    fn give(&mut self, more: u32) {
        self.allowed = self.allowed.saturating_add(more).min(MOST);
    }

    fn spend(&mut self) -> bool {
        let left = self.allowed.checked_sub(1);
        self.allowed = left.unwrap_or_default();
        left.is_some()
    }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
