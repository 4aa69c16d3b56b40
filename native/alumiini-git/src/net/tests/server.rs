//! A scripted HTTP/1.1 server on loopback: it hands each request to a closure and writes what that
//! returns, as badly as told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::repo::upload_pack;

#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Which connection it came on, from 0.
    pub(super) connection: usize,
    pub(super) method: String,
    pub(super) target: String,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn is_post(&self) -> bool {
        self.method == "POST"
    }
}

#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// Write the body in pieces of this size, as chunks of HTTP.
    pub(super) pieces: Option<usize>,
    /// Close the connection after so many bytes of the body; the headers promise all.
    pub(super) cut: Option<usize>,
    /// Close the connection after it.
    pub(super) close: bool,
    /// Close the connection instead of it.
    pub(super) nothing: bool,
    /// Write this instead of it, and close.
    pub(super) raw: Option<Vec<u8>>,
}

impl Reply {
    pub(super) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Reply {
        Reply {
            status,
            headers: vec![("Content-Type".into(), content_type.into())],
            body: body.into(),
            pieces: None,
            cut: None,
            close: false,
            nothing: false,
            raw: None,
        }
    }

    pub(super) fn status(status: u16) -> Reply {
        Reply::new(status, "text/plain", "no")
    }

    pub(super) fn nothing() -> Reply {
        Reply {
            nothing: true,
            ..Reply::status(200)
        }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.into(), value.into()));
        self
    }

    fn write(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        if let Some(raw) = &self.raw {
            return stream.write_all(raw);
        }
        let mut head = format!("HTTP/1.1 {} Said\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let Some(size) = self.pieces else {
            head.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
            stream.write_all(head.as_bytes())?;
            return stream.write_all(&self.body[..self.cut.unwrap_or(self.body.len())]);
        };
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        for piece in self.body.chunks(size) {
            stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
            stream.write_all(piece)?;
            stream.write_all(b"\r\n")?;
        }
        stream.write_all(b"0\r\n\r\n")
    }
}

/// It ends with the test's process: its threads wait in `accept` and `read`.
pub(super) struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub(super) fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server {
            port: listener.local_addr().unwrap().port(),
            seen: Arc::default(),
        };
        let (seen, answer) = (server.seen.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().flatten().enumerate() {
                let (seen, answer) = (seen.clone(), answer.clone());
                std::thread::spawn(move || serve(stream, connection, &seen, &*answer));
            }
        });
        server
    }

    /// `http://127.0.0.1:port/path`.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// `GET /r/info/refs…`, `POST …`, in order.
    pub(super) fn asked(&self) -> Vec<String> {
        self.seen()
            .iter()
            .map(|seen| format!("{} {}", seen.method, seen.target))
            .collect()
    }
}

fn serve(
    stream: TcpStream,
    connection: usize,
    log: &Mutex<Vec<Seen>>,
    answer: &dyn Fn(&Seen) -> Reply,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    stream.set_nodelay(true).unwrap();
    loop {
        let Some(seen) = read(&mut reader, connection) else {
            return;
        };
        log.lock().unwrap().push(seen.clone());
        let reply = answer(&seen);
        if reply.nothing
            || reply.write(&mut stream).is_err()
            || reply.close
            || reply.cut.is_some()
            || reply.raw.is_some()
        {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>, connection: usize) -> Option<Seen> {
    let mut lines = vec![];
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let mut first = lines.first()?.split(' ').map(str::to_owned);
    let (method, target) = (first.next()?, first.next()?);
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, n)| n.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen {
        connection,
        method,
        target,
        headers,
        body,
    })
}

/// Answers as `git http-backend` does, in v2 where `v2` and the client asks for it.
pub(super) fn git_answer(dir: &Path, seen: &Seen, v2: bool) -> Reply {
    let version = seen
        .header("git-protocol")
        .filter(|_| v2)
        .unwrap_or_default();
    if seen.is_post() {
        let body = upload_pack(dir, version, Some(&seen.body));
        return Reply::new(200, "application/x-git-upload-pack-result", body);
    }
    assert!(
        seen.target.ends_with("/info/refs?service=git-upload-pack"),
        "{}",
        seen.target
    );
    let mut body = if version.is_empty() {
        b"001e# service=git-upload-pack\n0000".to_vec()
    } else {
        vec![]
    };
    body.extend_from_slice(&upload_pack(dir, version, None));
    Reply::new(200, "application/x-git-upload-pack-advertisement", body)
}
