//! Servers by HTTP/2 that go on sending what is no answer.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;

const LIST: &[u8] = b"001e# service=git-upload-pack\n00000045\
    1111111111111111111111111111111111111111 refs/heads/main\0shallow\n0000";
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// A server that answers its first request with [`LIST`], if it is to, and then, told so, sends
/// PINGs until its connection ends.
struct Flood {
    endpoint: Endpoint,
    begin: Sender<()>,
    ended: Receiver<()>,
}

impl Flood {
    fn start(dir: &Path, answers: bool, changes_keys: bool) -> Flood {
        let (config, ca) = certified(dir);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/r", listener.local_addr().unwrap());
        let ((begin, told), (tell, ended)) = (channel(), channel());
        std::thread::spawn(move || {
            let stream = listener.accept().unwrap().0;
            let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
            request(&mut stream);
            stream.write_all(&frame(4, 0, 0, b"")).unwrap();
            if answers {
                // Status 200, and the content type of so many bytes (RFC 7541).
                let headers = [
                    b"\x88\x0f\x10\x2b",
                    &b"application/x-git-upload-pack-advertisement"[..],
                ]
                .concat();
                stream.write_all(&frame(1, 4, 1, &headers)).unwrap();
                stream.write_all(&frame(0, 1, 1, LIST)).unwrap();
            }
            told.recv().unwrap();
            // What the client answers to them must not fill the way back.
            let mut back: TcpStream = stream.sock.try_clone().unwrap();
            std::thread::spawn(move || std::io::copy(&mut back, &mut std::io::sink()));
            while stream.write_all(&PING.repeat(100)).is_ok() {
                if changes_keys {
                    stream.conn.refresh_traffic_keys().unwrap();
                }
            }
            tell.send(()).unwrap();
        });
        let tls = Tls {
            ca: Some(ca),
            client: None,
        };
        let endpoint = Endpoint::new(
            NetUrl::Http(http(&url)),
            None,
            false,
            tls,
            None,
            Arc::default(),
        )
        .unwrap();
        Flood {
            endpoint,
            begin,
            ended,
        }
    }

    /// Has it begin; whether its connection ended.
    fn ends(&self) -> bool {
        self.begin.send(()).unwrap();
        self.ended.recv_timeout(Duration::from_secs(20)).is_ok()
    }
}

fn certified(dir: &Path) -> (Arc<ServerConfig>, String) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .args(["-days", "2", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let certificate = CertificateDer::from_pem_file(dir.join("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    (
        Arc::new(config),
        std::fs::read_to_string(dir.join("cert.pem")).unwrap(),
    )
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let head = [0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
    [&head[..], payload].concat()
}

/// Reads until a request has come.
fn request(stream: &mut impl Read) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).unwrap();
        if head[3] == 1 {
            return;
        }
    }
}

#[test]
fn a_connection_without_requests_that_keeps_talking_is_closed() {
    for changes_keys in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let flood = Flood::start(dir.path(), true, changes_keys);
        run(async {
            let net = Net::new();
            let found = refs(&net, &flood.endpoint, &[]).await.unwrap();
            assert_eq!(found[0].name, b"refs/heads/main");
            assert!(
                tokio::task::block_in_place(|| flood.ends()),
                "{changes_keys}"
            );
        });
    }
}

#[test]
fn the_connection_of_a_request_that_timed_out_is_closed_when_it_keeps_talking() {
    let dir = tempfile::tempdir().unwrap();
    let flood = Flood::start(dir.path(), false, false);
    run(async {
        let net = Net::new();
        let asked = tokio::time::timeout(Duration::from_secs(1), refs(&net, &flood.endpoint, &[]));
        assert!(asked.await.is_err());
        assert!(tokio::task::block_in_place(|| flood.ends()));
    });
}

/// What a server saw of two requests on one connection, of which it answers the second, once the
/// first is given up.
#[derive(Debug, PartialEq)]
enum Saw {
    Request(u32),
    GivenUp(u32),
    Closed,
}

/// A server by HTTP/2 that answers no request but the second.
fn second_only(dir: &Path, answer: Receiver<()>) -> (Endpoint, Receiver<Saw>) {
    let (config, ca) = certified(dir);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/r", listener.local_addr().unwrap());
    let (tell, saw) = channel();
    std::thread::spawn(move || {
        let stream = listener.accept().unwrap().0;
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
        stream.read_exact(&mut [0; 24]).unwrap();
        stream.write_all(&frame(4, 0, 0, b"")).unwrap();
        loop {
            let mut head = [0; 9];
            if stream.read_exact(&mut head).is_err() {
                break;
            }
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            stream.read_exact(&mut payload).unwrap();
            let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match head[3] {
                1 => tell.send(Saw::Request(id)).unwrap(),
                3 => tell.send(Saw::GivenUp(id)).unwrap(),
                _ => {}
            }
            if head[3] == 3 && answer.recv().is_ok() {
                let headers = [
                    b"\x88\x0f\x10\x2b",
                    &b"application/x-git-upload-pack-advertisement"[..],
                ]
                .concat();
                stream.write_all(&frame(1, 4, 3, &headers)).unwrap();
                stream.write_all(&frame(0, 1, 3, LIST)).unwrap();
            }
        }
        tell.send(Saw::Closed).unwrap();
    });
    let tls = Tls {
        ca: Some(ca),
        client: None,
    };
    let url = NetUrl::Http(http(&url));
    let endpoint = Endpoint::new(url, None, false, tls, None, Arc::default()).unwrap();
    (endpoint, saw)
}

const SOON: Duration = Duration::from_secs(10);

#[test]
fn the_connection_of_a_request_that_timed_out_is_closed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (_, never) = channel();
    let (endpoint, saw) = second_only(dir.path(), never);
    run(async {
        let net = Net::new();
        let asked = tokio::time::timeout(Duration::from_secs(1), refs(&net, &endpoint, &[]));
        assert!(asked.await.is_err());
        // The client is still there, and nothing else is asked.
        let next = || tokio::task::block_in_place(|| saw.recv_timeout(SOON));
        assert_eq!(next(), Ok(Saw::Request(1)));
        let mut last = next();
        if last == Ok(Saw::GivenUp(1)) {
            last = next();
        }
        assert_eq!(last, Ok(Saw::Closed));
        drop(net);
    });
}

#[test]
fn other_requests_on_the_connection_of_one_that_timed_out_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (answer, told) = channel();
    let (endpoint, saw) = second_only(dir.path(), told);
    run(async {
        let net = Arc::new(Net::new());
        let next = || tokio::task::block_in_place(|| saw.recv_timeout(SOON));
        let ask = || {
            let (net, endpoint) = (net.clone(), endpoint.clone());
            tokio::spawn(async move { refs(&net, &endpoint, &[]).await })
        };
        let first = ask();
        assert_eq!(next(), Ok(Saw::Request(1)));
        let second = ask();
        assert_eq!(next(), Ok(Saw::Request(3)));
        first.abort();
        assert_eq!(next(), Ok(Saw::GivenUp(1)));
        answer.send(()).unwrap();
        assert_eq!(second.await.unwrap().unwrap()[0].name, b"refs/heads/main");
        assert_eq!(next(), Ok(Saw::Closed));
    });
}
