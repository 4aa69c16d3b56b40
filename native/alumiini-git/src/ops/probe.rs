//! `probe`: the way to a remote, step by step, up to where it ends.

use std::sync::Arc;
use std::time::Instant;

use crate::answer::{Answer, Step};
use crate::error::Result;
use crate::net::auth::hide;
use crate::net::probe::Walk;
use crate::net::refs::Wanted;
use crate::ops::{Worker, secrets};
use crate::protocol::RemoteRequest;
use crate::remote::Remote;

pub(crate) async fn run(worker: &Arc<Worker>, request: &RemoteRequest) -> Result<Answer> {
    let remote = Remote::new(request)?;
    let mut taken = vec![];
    let mut add = |step, started: Instant, result: Result<String>| {
        let us = started.elapsed().as_micros() as u64;
        let (note, error) = match result {
            Ok(note) => (note, None),
            Err(error) => (String::new(), Some(hide(error, &secrets(request)).into())),
        };
        let failed = error.is_some();
        taken.push(Step { step, us, note, error });
        failed
    };
    match remote {
        Remote::Network(endpoint) => {
            let mut walk = Walk::new(*endpoint);
            for step in walk.steps() {
                let started = Instant::now();
                let result = walk.take(step).await;
                if add(step.as_str(), started, result) {
                    break;
                }
            }
        }
        Remote::Local { .. } => {
            let started = Instant::now();
            let refs = remote.refs(worker, Wanted::of(&[b"refs/heads/".to_vec()])).await;
            add(
                "refs",
                started,
                refs.map(|refs| format!("{} branches, on this machine", refs.len())),
            );
        }
    }
    Ok(Answer::Steps(taken))
}
