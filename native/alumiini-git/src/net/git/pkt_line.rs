//! Pkt-lines (gitprotocol-common) over a stream of chunks that may be cut anywhere, and side-band
//! demultiplexing.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use gix_packetline::PacketLineRef;
use gix_packetline::decode::{Stream, streaming};

use crate::error::{Error, Hint, Key, Kind, Result};
use crate::net::refusal;
use crate::net::secrets::Secrets;

/// The most data that one line can carry: LARGE_PACKET_DATA_MAX of Git.
const MAX_DATA: usize = 65_516;
/// What is kept of a text that a server sends for people.
const MAX_TEXT: usize = 512;
/// Bytes that are read before another task has its turn: what a server compressed well comes
/// without being waited for.
const TURN: usize = 1 << 20;

/// One pkt-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PktLine {
    Data(Bytes),
    /// `0000`: the end of a message.
    Flush,
    /// `0001`: the end of a section.
    Delimiter,
    /// `0002`: the end of a response, in protocols that are not stateless.
    ResponseEnd,
}

impl PktLine {
    /// The data without a newline at its end; None for the special lines.
    pub(crate) fn text(&self) -> Option<&[u8]> {
        match self {
            PktLine::Data(data) => Some(data.strip_suffix(b"\n").unwrap_or(data)),
            _ => None,
        }
    }
}

/// Not a pkt-line: the length is no hexadecimal number, is 0003, or is over 65,520.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotPktLine;

/// An incremental decoder. It holds one chunk and at most one incomplete line. A line that lies
/// within one chunk is a slice of it; only lines that straddle chunks are copied.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    chunks: VecDeque<Bytes>,
    /// The beginning of a line whose end lies in a later chunk.
    partial: BytesMut,
}

impl Decoder {
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.chunks.push_back(chunk);
        }
    }

    /// Whether all that was pushed has come out as lines.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.partial.is_empty()
    }

    /// The next line, or None where more chunks are needed.
    pub(crate) fn next(&mut self) -> Result<Option<PktLine>, NotPktLine> {
        while let Some(chunk) = self.chunks.front_mut() {
            let used = if self.partial.is_empty() {
                let (line, used) = decode(chunk)?;
                if let Some(line) = line {
                    let bytes = chunk.split_to(used);
                    self.drop_spent();
                    return Ok(Some(line.of(bytes)));
                }
                chunk.len()
            } else {
                let (_, missing) = decode(&self.partial)?;
                missing.min(chunk.len())
            };
            self.partial.extend_from_slice(&chunk.split_to(used));
            self.drop_spent();
            if let (Some(line), _) = decode(&self.partial)? {
                return Ok(Some(line.of(self.partial.split().freeze())));
            }
        }
        Ok(None)
    }

    /// The next four bytes, which may be no line's; None where more chunks are needed.
    fn start(&self) -> Option<[u8; 4]> {
        let mut bytes = self
            .partial
            .iter()
            .chain(self.chunks.iter().flatten())
            .copied();
        Some([bytes.next()?, bytes.next()?, bytes.next()?, bytes.next()?])
    }

    /// The next bytes that are here, which are in no line.
    fn rest(&mut self) -> Option<Bytes> {
        if self.partial.is_empty() {
            self.chunks.pop_front()
        } else {
            Some(self.partial.split().freeze())
        }
    }

    fn drop_spent(&mut self) {
        if self.chunks.front().is_some_and(Bytes::is_empty) {
            self.chunks.pop_front();
        }
    }
}

/// What a complete line is, before it takes its bytes.
enum Shape {
    Data,
    Flush,
    Delimiter,
    ResponseEnd,
}

impl Shape {
    fn of(&self, mut bytes: Bytes) -> PktLine {
        match self {
            Shape::Data => PktLine::Data(bytes.split_off(4)),
            Shape::Flush => PktLine::Flush,
            Shape::Delimiter => PktLine::Delimiter,
            Shape::ResponseEnd => PktLine::ResponseEnd,
        }
    }
}

/// The line that `bytes` begins with and the length of it, or None and how many bytes are missing
/// at least.
fn decode(bytes: &[u8]) -> Result<(Option<Shape>, usize), NotPktLine> {
    // An empty data line: nobody should send one and Git reads it all the same; gix-packetline
    // refuses it.
    if bytes.starts_with(b"0004") {
        return Ok((Some(Shape::Data), 4));
    }
    match streaming(bytes).map_err(|_| NotPktLine)? {
        Stream::Incomplete { bytes_needed } => Ok((None, bytes_needed)),
        Stream::Complete {
            line,
            bytes_consumed,
        } => {
            let shape = match line {
                PacketLineRef::Data(_) => Shape::Data,
                PacketLineRef::Flush => Shape::Flush,
                PacketLineRef::Delimiter => Shape::Delimiter,
                PacketLineRef::ResponseEnd => Shape::ResponseEnd,
            };
            Ok((Some(shape), bytes_consumed))
        }
    }
}

/// Where chunks come from: an HTTP body, or a test's list.
pub(crate) trait Chunks: Send {
    /// The next chunk, None at a clean end.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>>> + Send;

    /// After the last line that is wanted: what lets the connection serve again. Here, reading to
    /// the end of a body.
    fn end(&mut self) -> impl Future<Output = ()> + Send {
        async { while let Ok(Some(_)) = self.chunk().await {} }
    }
}

/// Reads lines from chunks and turns everything that is no line into an error that names `shown`.
pub(crate) struct PktLineReader<C> {
    chunks: C,
    decoder: Decoder,
    shown: String,
    left: u64,
    limit: u64,
    seen: bool,
    /// Bytes since others had their turn.
    turn: usize,
    /// What is not repeated of what the server tells.
    hidden: Option<Arc<Secrets>>,
}

impl<C: Chunks> PktLineReader<C> {
    /// `shown`: the URL as it may be shown. `limit`: bytes after which reading ends with
    /// `too_large`.
    pub(crate) fn new(chunks: C, shown: String, limit: u64) -> Self {
        PktLineReader {
            chunks,
            decoder: Decoder::default(),
            shown,
            left: limit,
            limit,
            seen: false,
            turn: 0,
            hidden: None,
        }
    }

    /// The same, of which no error repeats these.
    pub(crate) fn without(self, hidden: Option<Arc<Secrets>>) -> Self {
        PktLineReader { hidden, ..self }
    }

    /// The next line. A stream that ends, in the middle of a line or between two, is `network`:
    /// every message of the protocol has an end of its own. An `ERR` line is the error it tells.
    pub(crate) async fn line(&mut self) -> Result<PktLine> {
        loop {
            match self.decoder.next() {
                Ok(Some(PktLine::Data(data))) if data.starts_with(b"ERR ") => {
                    return Err(self.told(&data[4..]));
                }
                Ok(Some(line)) => {
                    self.seen = true;
                    return Ok(line);
                }
                Ok(None) => {}
                Err(NotPktLine) if self.seen => {
                    return Err(self.protocol(
                        "sent something that is not Git's protocol in the middle of its answer",
                    ));
                }
                Err(NotPktLine) => return Err(self.protocol("did not answer in Git's protocol")),
            }
            if !self.more().await? {
                return Err(self.cut());
            }
        }
    }

    /// Whether what comes next begins with `magic`, instead of a line.
    pub(crate) async fn begins(&mut self, magic: &[u8; 4]) -> Result<bool> {
        loop {
            if let Some(start) = self.decoder.start() {
                return Ok(start == *magic);
            }
            if !self.more().await? {
                return Err(self.cut());
            }
        }
    }

    /// The next bytes, where no lines come any more; None at the end of the stream.
    pub(crate) async fn bytes(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.decoder.rest() {
                Some(bytes) => return Ok(Some(bytes)),
                None if self.more().await? => {}
                None => return Ok(None),
            }
        }
    }

    /// Takes one more chunk; false at the end of the stream.
    async fn more(&mut self) -> Result<bool> {
        let Some(chunk) = self.chunks.chunk().await? else {
            return Ok(false);
        };
        let Some(left) = self.left.checked_sub(chunk.len() as u64) else {
            return Err(Error::new(
                Kind::TooLarge,
                format!(
                    "the answer of {} is larger than {} bytes",
                    self.shown, self.limit
                ),
            )
            .with(Key::Url, self.shown.clone())
            .with(Key::Limit, self.limit));
        };
        self.left = left;
        self.turn += chunk.len();
        if self.turn > TURN {
            self.turn = 0;
            tokio::task::yield_now().await;
        }
        self.decoder.push(chunk);
        Ok(true)
    }

    /// After the last flush: lets the connection serve again. What else a server has to say there,
    /// or takes long to, costs it the connection and nothing more.
    pub(crate) async fn finish(mut self) {
        let _ =
            tokio::time::timeout(std::time::Duration::from_millis(100), self.chunks.end()).await;
    }

    /// `protocol`, with the server's name before `what`.
    pub(crate) fn protocol(&self, what: &str) -> Error {
        Error::new(Kind::Protocol, format!("{} {what}", self.shown))
            .with(Key::Url, self.shown.clone())
    }

    /// `network`: the stream ended too early.
    pub(crate) fn cut(&self) -> Error {
        let message = format!(
            "the connection to {} was cut before its answer was complete",
            self.shown
        );
        let error = Error::new(Kind::Network, message).with(Key::Url, self.shown.clone());
        if self.seen {
            error
        } else {
            error.hinted(Hint::Silent)
        }
    }

    /// What a server tells in an `ERR` line: what was asked for is gone, or what was asked is not
    /// allowed.
    fn told(&self, text: &[u8]) -> Error {
        told(Kind::Protocol, &self.shown, &self.whole(text))
    }

    /// What a server tells on side-band 3: it failed while it worked, as with an HTTP status of
    /// 500, so `network`.
    pub(crate) fn failed(&self, text: &[u8]) -> Error {
        told(Kind::Network, &self.shown, &self.whole(text))
    }

    /// Before it is cut short, which could leave half of a secret.
    fn whole<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        match &self.hidden {
            Some(hidden) => hidden
                .hide(&String::from_utf8_lossy(text))
                .into_bytes()
                .into(),
            None => text.into(),
        }
    }
}

fn told(kind: Kind, shown: &str, text: &[u8]) -> Error {
    let text = sanitised(text);
    let kind = if says_want_is_gone(&text) {
        Kind::RefNotFound
    } else {
        refusal::kind(&text).unwrap_or(kind)
    };
    Error::new(kind, format!("{shown} answered: {text}")).with(Key::Url, shown)
}

/// How servers say that they do not have, or no longer offer, the object of a `want`: Git
/// ("upload-pack: not our ref …"), JGit and with it Gerrit ("want … not valid"), Azure DevOps
/// (TF401035).
fn says_want_is_gone(text: &str) -> bool {
    text.contains("not our ref")
        || (text.contains("want ") && text.contains("not valid"))
        || text.contains("TF401035")
}

/// A text of a server for people: without control characters, bounded, on one line.
pub(crate) fn sanitised(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut out = String::new();
    for word in text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
    {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
        if out.len() > MAX_TEXT {
            let end = (0..=MAX_TEXT)
                .rev()
                .find(|at| out.is_char_boundary(*at))
                .unwrap_or(0);
            out.truncate(end);
            out.push('…');
            break;
        }
    }
    out
}

/// Builds a request.
#[derive(Debug, Default)]
pub(crate) struct PktLineWriter {
    bytes: Vec<u8>,
}

impl PktLineWriter {
    /// Appends `text` and a newline as one line. Lines of ours are short; a longer one is `invalid`
    /// (a ref name of 64 KiB).
    pub(crate) fn line(&mut self, text: &(impl AsRef<[u8]> + ?Sized)) -> Result<()> {
        let text = text.as_ref();
        if text.len() + 1 > MAX_DATA {
            return Err(Error::new(
                Kind::Invalid,
                "a name is too long to be asked for",
            ));
        }
        self.bytes
            .extend_from_slice(format!("{:04x}", text.len() + 5).as_bytes());
        self.bytes.extend_from_slice(text);
        self.bytes.push(b'\n');
        Ok(())
    }

    /// Adds a flush packet, which ends a list.
    pub(crate) fn flush(&mut self) {
        self.bytes.extend_from_slice(b"0000");
    }

    /// Adds a delimiter packet, which ends a section (gitprotocol-v2(5)).
    pub(crate) fn delimiter(&mut self) {
        self.bytes.extend_from_slice(b"0001");
    }

    /// The bytes of all that was added.
    pub(crate) fn finish(self) -> Bytes {
        self.bytes.into()
    }
}

#[cfg(test)]
#[path = "pkt_line_tests.rs"]
pub(crate) mod tests;
