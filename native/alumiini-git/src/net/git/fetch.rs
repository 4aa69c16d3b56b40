//! One round of `fetch`: what is wanted and what is there go out, and the pack comes back as it is
//! made.

use bytes::{Buf, Bytes};
use git2::Oid;
use tokio::sync::mpsc;

use crate::error::{Error, Key, Kind, Result};
use crate::net::git::advertised::{Wanted, parse_oid};
use crate::net::git::capabilities::{AGENT, Capabilities, V0, V2};
use crate::net::git::discovery::discover;
use crate::net::git::pack_stream::PackStream;
use crate::net::git::pkt_line::{Chunks, PktLine, PktLineReader, PktLineWriter};
use crate::net::server_cache::{ServerInfo, could_cause};
use crate::net::{Endpoint, Net};

/// The pack bytes that a fetch takes unless told otherwise.
pub(crate) const DEFAULT_MAX_BYTES: u64 = 8 << 30;
/// As `depth`: the whole history, also of what was shallow before (Git's INFINITE_DEPTH).
pub(crate) const UNSHALLOW: u32 = 2_147_483_647;
/// The most `shallow`, `unshallow`, `ACK` and `NAK` lines before the pack.
const MAX_LINES: usize = 1_000_000;
/// The most bytes of progress messages, which are thrown away, that may come with a pack.
const MAX_PROGRESS: u64 = 64 << 20;

/// What to fetch.
#[derive(Debug, Clone)]
pub(crate) struct FetchRequest {
    /// The commits (or tag objects) to fetch, at least one.
    pub(crate) wants: Vec<Oid>,
    /// Commits that are here whole, up to what `shallow` cuts off.
    pub(crate) haves: Vec<Oid>,
    /// All entries of `.git/shallow`.
    pub(crate) shallow: Vec<Oid>,
    /// Commits of history from `want` on. None asks for all that is not here, and leaves what is
    /// shallow shallow; [`UNSHALLOW`] completes it.
    pub(crate) depth: Option<u32>,
    /// Whether the pack may hold deltas against objects that are here: whoever indexes it must be
    /// able to complete it.
    pub(crate) thin: bool,
    /// Pack bytes after which the fetch ends with `too_large`; see [`DEFAULT_MAX_BYTES`].
    pub(crate) max_bytes: u64,
}

/// What came beside the pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FetchOutcome {
    /// Commits that are shallow now.
    pub(crate) shallow: Vec<Oid>,
    /// Commits that were and are no longer.
    pub(crate) unshallow: Vec<Oid>,
    /// Bytes of the pack.
    pub(crate) bytes: u64,
}

/// Fetches into `sink`: the pack's bytes in order, as they arrive. A full channel holds the
/// connection back. Only when this returns `Ok` is the pack complete; the channel stays open, so
/// its owner must drop the sender then.
///
/// `ref_not_found` means only that the server no longer has (or offers) `want`: see [`is_denied`].
/// `cancelled` means that the receiver of `sink` is gone, whose own error says why. Others:
/// `network`, `rate_limited`, `certificate`, `auth`, `repo_not_found`, `protocol`, `unsupported` (a
/// server without `shallow`), `too_large`, `invalid` (a depth of 0).
pub(crate) async fn fetch(
    net: &Net,
    endpoint: &Endpoint,
    request: &FetchRequest,
    sink: &mpsc::Sender<Bytes>,
) -> Result<FetchOutcome> {
    let mut outcome = FetchOutcome::default();
    if let Some(server) = net.server_cache.get(endpoint) {
        match attempt(net, endpoint, &server, request, sink, &mut outcome).await {
            // Once pack bytes are on their way, a second pack must not follow them.
            Err(e) if outcome.bytes == 0 && could_cause(endpoint, &server.base, &e) => {
                net.server_cache.doubt(endpoint)
            }
            done => return net.server_cache.judge(endpoint, done).map(|()| outcome),
        }
        outcome = FetchOutcome::default();
    }
    let done = async {
        // The refs that a v0 server sends along are not asked for here: a name that no ref has
        // keeps none of them.
        let (server, _) = discover(net, endpoint, Wanted::named(b"\0")).await?;
        attempt(net, endpoint, &server, request, sink, &mut outcome).await
    };
    let done = done.await;
    net.server_cache.judge(endpoint, done).map(|()| outcome)
}

/// Whether a fetch failed because the server denies what it listed: the ref has moved since it was
/// asked for, or the server stands for several of which some are behind. So ask again and fetch
/// once more.
pub(crate) fn is_denied(error: &Error) -> bool {
    matches!(error.kind, Kind::RefNotFound | Kind::RepoNotFound)
}

async fn attempt(
    net: &Net,
    endpoint: &Endpoint,
    server: &ServerInfo,
    request: &FetchRequest,
    sink: &mpsc::Sender<Bytes>,
    outcome: &mut FetchOutcome,
) -> Result<()> {
    let (body, form) = match &server.capabilities {
        Capabilities::V2(v2) => (body_v2(server, v2, request)?, Form::Sections),
        Capabilities::V0(v0) => {
            let depth = depth_v0(v0, request);
            let deepened = depth.is_some();
            (
                body_v0(server, v0, request, depth)?,
                Form::Acknowledged { deepened },
            )
        }
    };
    // Bounded by the pack's own limit, and by the number of other lines.
    let mut reader = net.ask(endpoint, server, body, u64::MAX).await?;
    answer(&mut reader, form, request.max_bytes, sink, outcome).await?;
    reader.finish().await;
    Ok(())
}

/// What stands before a pack.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// v2.
    Sections,
    /// v0.
    Acknowledged { deepened: bool },
}

/// Reads the answer to a fetch. `outcome` is what came of it also where that fails.
async fn answer<C: Chunks>(
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

fn body_v2(server: &ServerInfo, v2: &V2, fetch: &FetchRequest) -> Result<Bytes> {
    if !v2.fetch {
        return Err(lacks(server, "fetch", "use another server"));
    }
    let mut request = PktLineWriter::default();
    request.line("command=fetch")?;
    if v2.agent {
        request.line(AGENT)?;
    }
    if v2.object_format {
        request.line("object-format=sha1")?;
    }
    request.delimiter();
    if fetch.thin {
        request.line("thin-pack")?;
    }
    request.line("ofs-delta")?;
    request.line("no-progress")?;
    for want in &fetch.wants {
        request.line(&format!("want {want}"))?;
    }
    shallow_lines(&mut request, server, v2.shallow, fetch, fetch.depth)?;
    have_lines(&mut request, fetch)?;
    request.flush();
    Ok(request.finish())
}

/// The depth to ask a v0 server for. One that is shallow itself says where the history that it
/// sends ends only to who asks for a depth.
fn depth_v0(v0: &V0, fetch: &FetchRequest) -> Option<u32> {
    let all = v0.is_shallow && v0.shallow && fetch.shallow.is_empty();
    fetch.depth.or(all.then_some(UNSHALLOW))
}

fn body_v0(
    server: &ServerInfo,
    v0: &V0,
    fetch: &FetchRequest,
    depth: Option<u32>,
) -> Result<Bytes> {
    let mut capabilities = String::new();
    // Of each kind the first that the server has.
    for (capability, has) in [
        ("multi_ack_detailed", v0.multi_ack_detailed),
        ("multi_ack", v0.multi_ack && !v0.multi_ack_detailed),
        ("side-band-64k", v0.side_band_64k),
        ("side-band", v0.side_band && !v0.side_band_64k),
        ("ofs-delta", v0.ofs_delta),
        ("thin-pack", v0.thin_pack && fetch.thin),
        ("no-progress", v0.no_progress),
        (AGENT, v0.agent),
    ] {
        if has {
            capabilities.push(' ');
            capabilities.push_str(capability);
        }
    }
    let mut request = PktLineWriter::default();
    for want in &fetch.wants {
        // With the first.
        let capabilities = std::mem::take(&mut capabilities);
        request.line(&format!("want {want}{capabilities}"))?;
    }
    shallow_lines(&mut request, server, v0.shallow, fetch, depth)?;
    request.flush();
    have_lines(&mut request, fetch)?;
    Ok(request.finish())
}

fn shallow_lines(
    request: &mut PktLineWriter,
    server: &ServerInfo,
    able: bool,
    fetch: &FetchRequest,
    depth: Option<u32>,
) -> Result<()> {
    if !able && (depth.is_some() || !fetch.shallow.is_empty()) {
        return Err(lacks(server, "shallow", "use depth: :infinity"));
    }
    for oid in &fetch.shallow {
        request.line(&format!("shallow {oid}"))?;
    }
    match depth {
        Some(0) => Err(Error::new(
            Kind::Invalid,
            "a depth of 0 cannot be asked for",
        )),
        Some(depth) => request.line(&format!("deepen {}", depth.min(UNSHALLOW))),
        None => Ok(()),
    }
}

fn have_lines(request: &mut PktLineWriter, fetch: &FetchRequest) -> Result<()> {
    for oid in &fetch.haves {
        request.line(&format!("have {oid}"))?;
    }
    request.line("done")
}

fn lacks(server: &ServerInfo, capability: &str, advice: &str) -> Error {
    let sentence = format!("the server of {} lacks {capability}: {advice}", server.base);
    Error::new(Kind::Unsupported, sentence).with(Key::Url, server.base.redacted())
}

/// v2: reads the sections before the pack. Which ones come depends on the request; ours says
/// `done`, so a server has nothing to acknowledge, but some do.
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

/// v0: reads the shallow section, which comes where a depth was asked for.
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

/// v0: reads what answers our haves, each `NAK`, `ACK <id>` or `ACK <id> continue|common|ready`
/// (gitprotocol-pack, "Packfile Negotiation"). It changes nothing: all our haves are out, and
/// `done`. Returns the first line of the pack; None where it comes in no lines, as it does from
/// servers without side-bands.
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

/// Takes the side-bands apart, `first` being their first line, up to the flush.
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
                    // An empty one: a server's way to keep the connection alive while it prepares
                    // the pack.
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

/// What the fuzz target feeds: answers, each in every form.
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
#[path = "fetch_tests.rs"]
mod tests;
