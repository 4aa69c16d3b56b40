//! `hosts`: the requests that run and wait at each host.

use crate::error::Result;
use crate::net::host_limits::{Circuit, SeenHost};
use crate::ops::operation::{Context, Done, Operation};
use crate::port::fields::Fields;
use crate::port::reply::{Answer, Host, Waiting};

#[derive(Debug)]
pub(crate) struct Hosts;

impl Operation for Hosts {
    fn decode(_fields: &mut Fields) -> Result<Self> {
        Ok(Hosts)
    }

    fn describe(&self) -> String {
        "hosts".into()
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        let seen = context.worker.net.host_limits.look();
        Ok((
            Answer::Hosts(seen.into_iter().map(Host::from).collect()),
            None,
        ))
    }
}

impl From<SeenHost> for Host {
    fn from(shown: SeenHost) -> Host {
        let seen = shown.seen;
        let repositories = seen.repositories.into_iter();
        Host {
            host: shown.host,
            proxy: shown.proxy,
            running: seen.running,
            waiting: seen.waiting,
            limit: seen.limit,
            per_second: seen.per_second,
            tokens: seen.tokens,
            circuit: match seen.circuit {
                Circuit::HalfOpen => "half_open",
                Circuit::Closed => "closed",
                Circuit::Open => "open",
            },
            held_for: seen.held_for.map(|time| time.as_millis() as u64),
            failing: seen.failing,
            repositories: repositories
                .map(|(url, waiting)| Waiting { url, waiting })
                .collect(),
        }
    }
}
