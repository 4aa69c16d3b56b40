//! The whole layer against a scripted server whose answers are made by `git upload-pack`, and `git`
//! as the oracle.

mod addresses;
mod doubt;
mod fetching;
mod fetching_v0;
mod flooding;
mod framing;
mod lists;
mod refusals;
#[cfg(unix)]
mod relay;
mod repo;
mod server;
#[cfg(unix)]
mod ssh;
#[cfg(unix)]
mod ssh_idle;
#[cfg(unix)]
mod ssh_pool;
#[cfg(unix)]
mod sshd;
mod tokens;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::auth::Auth;
use super::git::advertised::{DEFAULT_MAX_BYTES as ADVERTISED_MAX_BYTES, RemoteRef, Wanted};
use super::git::fetch::{DEFAULT_MAX_BYTES, FetchOutcome, FetchRequest, fetch};
use super::git::ls_refs::ls_refs;
use super::tls::Tls;
use super::url::{HttpUrl, Location, NetUrl, RemoteUrl};
use super::{Endpoint, Net};
use crate::error::Result;
use crate::task::share::Share;

fn http(text: &str) -> HttpUrl {
    match RemoteUrl::parse(text.as_bytes()).unwrap().location {
        Location::Network(NetUrl::Http(http)) => http,
        other => panic!("{other:?}"),
    }
}

fn endpoint(text: &str) -> Endpoint {
    to(text, None)
}

fn ann(text: &str) -> Endpoint {
    let auth = Auth::Basic {
        username: "ann".into(),
        password: "sesame".into(),
    };
    to(text, Some(auth))
}

fn to(text: &str, auth: Option<Auth>) -> Endpoint {
    let url = NetUrl::Http(http(text));
    Endpoint::new(url, auth, true, Tls::default(), None, Arc::default()).unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

async fn refs(net: &Net, endpoint: &Endpoint, prefixes: &[&str]) -> Result<Vec<RemoteRef>> {
    let prefixes: Vec<Vec<u8>> = prefixes.iter().map(|p| p.as_bytes().to_vec()).collect();
    let share = Share::of(&net.lists);
    ls_refs(
        net,
        endpoint,
        Wanted::within(&prefixes, ADVERTISED_MAX_BYTES, &share),
    )
    .await
}

/// Fetches into memory, through a channel that is full nearly always.
async fn fetched(
    net: &Net,
    endpoint: &Endpoint,
    request: &FetchRequest,
) -> Result<(FetchOutcome, Vec<u8>)> {
    let (sink, mut source) = mpsc::channel::<Bytes>(1);
    let reading = tokio::spawn(async move {
        let mut pack = vec![];
        while let Some(chunk) = source.recv().await {
            pack.extend_from_slice(&chunk);
        }
        pack
    });
    let outcome = fetch(net, endpoint, request, &sink).await;
    drop(sink);
    let pack = reading.await.unwrap();
    outcome.map(|outcome| {
        assert_eq!(outcome.bytes, pack.len() as u64);
        (outcome, pack)
    })
}

fn want(oid: git2::Oid) -> FetchRequest {
    FetchRequest {
        wants: vec![oid],
        haves: vec![],
        shallow: vec![],
        depth: None,
        thin: true,
        filter: None,
        is_guess: false,
        max_bytes: DEFAULT_MAX_BYTES,
    }
}

/// The server spawns these.
#[test]
fn the_conversations_can_move_between_threads() {
    fn movable(_: impl Send + 'static) {}
    let (sink, _source) = mpsc::channel(1);
    movable(async move {
        let (net, endpoint) = (Net::new(), endpoint("http://h/r"));
        let share = Share::of(&net.lists);
        let _ = ls_refs(&net, &endpoint, Wanted::every(&[], &share)).await;
        fetch(&net, &endpoint, &want(git2::Oid::ZERO_SHA1), &sink).await
    });
}
