//! The answer to a fetch: the sections before the pack, and the pack (gitprotocol-v2(5), "fetch";
//! gitprotocol-pack(5), "Packfile Data").

use bytes::{Buf, Bytes};
use git2::Oid;
use tokio::sync::mpsc;

use crate::error::{Error, Key, Kind, Result};
use crate::net::git::advertised::parse_oid;
use crate::net::git::pack_stream::PackStream;
use crate::net::git::pkt_line::{Chunks, PktLine, PktLineReader};

/// The most `shallow`, `unshallow`, `ACK` and `NAK` lines before the pack.
const MAX_LINES: usize = 1_000_000;
/// The most bytes of progress messages that may come with a pack. They are discarded.
const MAX_PROGRESS: u64 = 64 << 20;

/// What a fetch brought beside the pack itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FetchOutcome {
    /// Commits that are shallow now.
    pub(crate) shallow: Vec<Oid>,
    /// Commits that were shallow and no longer are.
    pub(crate) unshallow: Vec<Oid>,
    /// Bytes of the pack.
    pub(crate) bytes: u64,
    /// Whether the server applied the filter of the request.
    pub(crate) is_filtered: bool,
}

/// The sections before a pack.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// v2.
    Sections,
    /// v0.
    Acknowledged { deepened: bool },
}

/// Reads the answer to a fetch. `outcome` is filled in also where reading fails.
pub(super) async fn answer<C: Chunks>(
    reader: &mut PktLineReader<C>,
    form: Form,
    max_bytes: u64,
    sink: &mpsc::Sender<Bytes>,
    outcome: &mut FetchOutcome,
) -> Result<()> {
    let first = match form {
        Form::Sections => {
            sections(reader, outcome).await?;
            Some(reader.line().await?)
        }
        Form::Acknowledged { deepened } => {
            if deepened {
                shallow_section(reader, outcome).await?;
            }
            acknowledgements(reader).await?
        }
    };
    let mut pack = Pack {
        stream: PackStream::new(first.is_none()),
        received: 0,
        max_bytes,
        sink,
        sent: &mut outcome.bytes,
    };
    match first {
        Some(first) => side_bands(reader, first, &mut pack).await?,
        None => {
            while let Some(data) = reader.bytes().await? {
                pack.take(reader, data).await?;
            }
        }
    }
    pack.end(reader).await
}

/// v2: reads the sections before the pack. The request decides which sections come. Ours says
/// `done`, so there is nothing to acknowledge, but some servers send acknowledgments all the same.
async fn sections<C: Chunks>(
    reader: &mut PktLineReader<C>,
    outcome: &mut FetchOutcome,
) -> Result<()> {
    let mut count = 0;
    loop {
        let header = reader.line().await?;
        match header.text() {
            Some(b"packfile") => return Ok(()),
            Some(b"shallow-info" | b"acknowledgments") => {}
            _ => return Err(reader.protocol("answered a fetch with something unexpected")),
        }
        loop {
            let line = reader.line().await?;
            count += 1;
            match line.text() {
                Some(text) if header.text() == Some(b"shallow-info") => {
                    shallow_info(reader, text, outcome)?
                }
                Some(_) => {}
                None if line == PktLine::Delimiter => break,
                None => return Err(reader.protocol("answered a fetch without a pack")),
            }
            bounded(reader, count)?;
        }
    }
}

/// v0: reads the shallow section, which is there if the request has a depth.
async fn shallow_section<C: Chunks>(
    reader: &mut PktLineReader<C>,
    outcome: &mut FetchOutcome,
) -> Result<()> {
    let mut count = 0;
    loop {
        let line = reader.line().await?;
        count += 1;
        bounded(reader, count)?;
        match line.text() {
            Some(text) => shallow_info(reader, text, outcome)?,
            None if line == PktLine::Flush => return Ok(()),
            None => return Err(reader.protocol("answered a fetch with something unexpected")),
        }
    }
}

/// v0: reads the answers to our haves, each `NAK`, `ACK <id>` or `ACK <id> continue|common|ready`
/// (gitprotocol-pack, "Packfile Negotiation"). They change nothing, since the request already had
/// all haves and `done`. Returns the first line of the pack, or `None` if the pack is not in lines,
/// as from servers without side-bands.
async fn acknowledgements<C: Chunks>(reader: &mut PktLineReader<C>) -> Result<Option<PktLine>> {
    let mut count = 0;
    while !reader.begins(b"PACK").await? {
        let line = reader.line().await?;
        count += 1;
        bounded(reader, count)?;
        match line.text() {
            Some(text) if text == b"NAK" || text.starts_with(b"ACK ") => {}
            _ => return Ok(Some(line)),
        }
    }
    Ok(None)
}

fn shallow_info<C: Chunks>(
    reader: &PktLineReader<C>,
    text: &[u8],
    outcome: &mut FetchOutcome,
) -> Result<()> {
    let (list, oid) = if let Some(oid) = text.strip_prefix(b"shallow ") {
        (&mut outcome.shallow, oid)
    } else if let Some(oid) = text.strip_prefix(b"unshallow ") {
        (&mut outcome.unshallow, oid)
    } else {
        return Err(reader.protocol("sent a malformed list of shallow commits"));
    };
    list.push(
        parse_oid(oid)
            .ok_or_else(|| reader.protocol("sent a malformed list of shallow commits"))?,
    );
    Ok(())
}

/// Demultiplexes the side-bands up to the flush. `first` is their first line.
async fn side_bands<C: Chunks>(
    reader: &mut PktLineReader<C>,
    first: PktLine,
    pack: &mut Pack<'_>,
) -> Result<()> {
    let mut line = first;
    let mut progress = 0;
    loop {
        match line {
            PktLine::Data(mut data) => {
                let band = data.first().copied();
                data.advance(usize::from(band.is_some()));
                match band {
                    Some(1) if !data.is_empty() => pack.take(reader, data).await?,
                    // An empty line keeps the connection alive while the server prepares the pack.
                    Some(1 | 2) => {
                        progress += data.len() as u64 + 5;
                        if progress > MAX_PROGRESS {
                            return Err(reader.protocol("sent progress messages without end"));
                        }
                    }
                    Some(3) => return Err(reader.failed(&data)),
                    _ => return Err(reader.protocol("sent a pack that is not in Git's side-bands")),
                }
            }
            PktLine::Flush if pack.received == 0 => {
                return Err(reader.protocol("answered a fetch without a pack"));
            }
            PktLine::Flush => return Ok(()),
            PktLine::Delimiter | PktLine::ResponseEnd => {
                return Err(reader.protocol("sent a pack that is not in Git's side-bands"));
            }
        }
        line = reader.line().await?;
    }
}

/// A pack on its way to the sink.
struct Pack<'a> {
    stream: PackStream,
    received: u64,
    max_bytes: u64,
    sink: &'a mpsc::Sender<Bytes>,
    sent: &'a mut u64,
}

impl Pack<'_> {
    async fn take<C: Chunks>(&mut self, reader: &PktLineReader<C>, data: Bytes) -> Result<()> {
        self.received += data.len() as u64;
        if self.received > self.max_bytes {
            let sentence = format!("sent a pack larger than {} bytes", self.max_bytes);
            let mut error = reader.protocol(&sentence).with(Key::Limit, self.max_bytes);
            error.kind = Kind::TooLarge;
            return Err(error);
        }
        let passed = self.stream.take(data);
        self.send(passed).await
    }

    async fn end<C: Chunks>(mut self, reader: &PktLineReader<C>) -> Result<()> {
        let last = self.stream.end().ok_or_else(|| reader.cut())?;
        self.send(last).await
    }

    async fn send(&mut self, data: Bytes) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        *self.sent += data.len() as u64;
        self.sink.send(data).await.map_err(|_| {
            Error::new(
                Kind::Cancelled,
                "the pack is no longer wanted where it was going",
            )
        })
    }
}

fn bounded<C: Chunks>(reader: &PktLineReader<C>, count: usize) -> Result<()> {
    if count <= MAX_LINES {
        Ok(())
    } else {
        Err(reader.protocol("sent shallow commits without end"))
    }
}

/// The entry of the fuzz target: reads answers, each in every form.
#[cfg(fuzzing)]
pub(in crate::net) async fn fuzz<C: Chunks>(reader: impl Fn() -> PktLineReader<C>) {
    for form in [
        Form::Sections,
        Form::Acknowledged { deepened: true },
        Form::Acknowledged { deepened: false },
    ] {
        let (sink, mut source) = mpsc::channel(1);
        let (mut reader, mut outcome) = (reader(), FetchOutcome::default());
        let reading = async { while source.recv().await.is_some() {} };
        let answered = async move {
            let _ = answer(&mut reader, form, 1 << 20, &sink, &mut outcome).await;
            drop(sink);
        };
        tokio::join!(reading, answered);
    }
}

#[cfg(test)]
#[path = "fetch_answer_tests.rs"]
mod tests;
