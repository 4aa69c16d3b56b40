//! `probe`: takes the steps to a remote one by one, up to the first that fails.

use std::sync::Arc;
use std::time::Instant;

use crate::error::{Result, on_one_line};
use crate::net::git::advertised::Wanted;
use crate::net::probe::Walk;
use crate::net::secrets::Secrets;
use crate::net::url;
use crate::ops::operation::{Context, Done, Operation};
use crate::ops::secrets::{hidden, secrets};
use crate::port::fields::Fields;
use crate::port::remote;
use crate::port::reply::{Answer, Step};
use crate::remote::Remote;
use crate::spec::RemoteSpec;
use crate::task::share::Share;
use crate::worker::Worker;

#[derive(Debug)]
pub(crate) struct Probe {
    remote: RemoteSpec,
}

impl Operation for Probe {
    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(Probe {
            remote: remote::spec(fields)?,
        })
    }

    fn describe(&self) -> String {
        format!("probe of {}", url::redacted(&self.remote.url))
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        let secrets = secrets(&self.remote, &[]);
        let walked = walk(context.worker, &self.remote, &secrets).await;
        Ok((walked.map_err(hidden(secrets))?, None))
    }
}

async fn walk(worker: &Arc<Worker>, spec: &RemoteSpec, secrets: &Secrets) -> Result<Answer> {
    let remote = Remote::new(worker, spec)?;
    let mut taken = vec![];
    let mut add = |step, started: Instant, result: Result<String>| {
        let us = started.elapsed().as_micros() as u64;
        let (note, error) = match result {
            Ok(note) => (on_one_line(&secrets.hide(&note)), None),
            Err(error) => (String::new(), Some(secrets.hide_in(error).into())),
        };
        let failed = error.is_some();
        taken.push(Step {
            step,
            us,
            note,
            error,
        });
        failed
    };
    match remote {
        Remote::Network(endpoint) => {
            let mut walk = Walk::new(*endpoint, worker.net.lists.clone());
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
            let share = Share::of(&worker.net.lists);
            let heads = [b"refs/heads/".to_vec()];
            let refs = remote.refs(worker, Wanted::every(&heads, &share)).await;
            add(
                "refs",
                started,
                refs.map(|refs| format!("{} branches, on this machine", refs.len())),
            );
        }
    }
    Ok(Answer::Steps(taken))
}
