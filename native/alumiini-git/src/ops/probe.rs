//! `probe`: the way to a remote, step by step, up to where it ends.

use std::sync::Arc;
use std::time::Instant;

use crate::answer::{Answer, Step};
use crate::error::{Result, on_one_line};
use crate::net::probe::Walk;
use crate::net::refs::Wanted;
use crate::net::secrets::Secrets;
use crate::ops::Worker;
use crate::protocol::RemoteRequest;
use crate::remote::Remote;

pub(crate) async fn run(worker: &Arc<Worker>, request: &RemoteRequest, secrets: &Secrets) -> Result<Answer> {
    let remote = Remote::new(worker, request)?;
    let mut taken = vec![];
    let mut add = |step, started: Instant, result: Result<String>| {
        let us = started.elapsed().as_micros() as u64;
        let (note, error) = match result {
            Ok(note) => (on_one_line(&secrets.hide(&note)), None),
            Err(error) => (String::new(), Some(secrets.hide_in(error).into())),
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
        Remote::Local(_) => {
            let started = Instant::now();
            let refs = remote.refs(worker, Wanted::every(&[b"refs/heads/".to_vec()])).await;
            add(
                "refs",
                started,
                refs.map(|refs| format!("{} branches, on this machine", refs.len())),
            );
        }
    }
    Ok(Answer::Steps(taken))
}
