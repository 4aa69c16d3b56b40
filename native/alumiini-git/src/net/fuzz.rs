//! What fuzz targets feed to the parsers of the network.

use std::collections::VecDeque;

use bytes::Bytes;

use super::git::advertised::Wanted;
use super::git::capabilities::advertisement;
use super::git::pkt_line::{Chunks, PktLineReader};
use super::git::{fetch_answer, ls_refs};
use super::url::RemoteUrl;
use crate::error::Result;
use crate::task::pool::Pool;
use crate::task::share::Share;

struct Pieces(VecDeque<Bytes>);

impl Chunks for Pieces {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        Ok(self.0.pop_front())
    }
}

/// The first byte says into pieces of how many bytes the others are cut.
fn reader(bytes: &[u8]) -> PktLineReader<Pieces> {
    let (size, rest) = bytes.split_first().unwrap_or((&1, &[]));
    let pieces = rest
        .chunks(usize::from(*size).max(1))
        .map(Bytes::copy_from_slice);
    PktLineReader::new(Pieces(pieces.collect()), "https://h/r".into(), 1 << 20)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// What a server says first: the refs of protocol v0, the capabilities of v2.
pub fn advertisements(bytes: &[u8]) {
    let pool = Pool::new(0);
    let share = Share::of(&pool);
    let _ = run(advertisement(
        &mut reader(bytes),
        Wanted::every(&[], &share),
    ));
}

/// The answer to `ls-refs`.
pub fn lists(bytes: &[u8]) {
    let pool = Pool::new(0);
    let share = Share::of(&pool);
    let heads = [b"refs/heads/".to_vec()];
    let _ = run(ls_refs::parse(
        &mut reader(bytes),
        Wanted::every(&heads, &share),
    ));
    let _ = run(ls_refs::parse(&mut reader(bytes), Wanted::named(b"HEAD")));
}

/// The answer to a fetch, up to the pack and with it, in the forms of v2 and v0.
pub fn fetches(bytes: &[u8]) {
    run(fetch_answer::fuzz(|| reader(bytes)));
}

pub fn pkt_lines(bytes: &[u8]) {
    let mut reader = reader(bytes);
    run(async { while reader.line().await.is_ok() {} });
}

pub fn known_hosts(bytes: &[u8]) {
    super::ssh::fuzz_known_hosts(&String::from_utf8_lossy(bytes));
}

/// URLs, and what is shown of them, which may be no URL: of what looks mistyped next to nothing is
/// shown.
pub fn urls(bytes: &[u8]) {
    if let Ok(url) = RemoteUrl::parse(bytes) {
        let _ = RemoteUrl::parse(url.redacted().as_bytes());
    }
    let _ = super::url::redacted(bytes);
}
