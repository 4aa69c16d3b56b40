//! The tokens that there are: each asked for once, however many want it, kept until shortly before
//! it ends, and renewed ahead of that while it still serves.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Detail, Error, Hint, Key, Kind, Result};
use crate::net::Endpoint;
use crate::net::auth::{Auth, Momentary};
use crate::net::host_limits::HostLimits;
use crate::net::http_clients::Clients;
use crate::net::secrets::Secrets;
use crate::net::token::civil;
use crate::net::token::codecommit;
use crate::net::token::fresh::Token;
use crate::net::token::provider;
use crate::net::token::request::{Asker, Way};
use crate::net::token::source::{AwsProof, CodeCommit, TokenSource};
use crate::net::url::NetUrl;
use crate::task::job::Job;
use crate::task::patience;
use crate::task::single_flight::{Lead, SingleFlight};

/// Credentials of which the tokens are kept. At more, those that were used longest ago are asked
/// for again.
const MAX_TOKENS: usize = 1_024;
/// A token is renewed when so much of its lifetime is left, at most that long before it ends.
const AHEAD: u32 = 5;
const MAX_AHEAD: Duration = Duration::from_secs(600);
/// And not used any more when so much is left, at most that long.
const SPARE: u32 = 20;
const MAX_SPARE: Duration = Duration::from_secs(60);
/// The shortest that a new token is taken to live, whatever a wrong clock makes of its end.
const SHORTEST: Duration = Duration::from_secs(60);
/// The longest, since nothing can be added to the clock without end.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// How long after a renewal ahead of time has begun the next one may, and how long it may take.
const AGAIN: Duration = Duration::from_secs(30);
const RENEWAL: Duration = Duration::from_secs(90);
/// A server that refuses a token which nobody has taken yet will refuse another one, too; until the
/// token is this old. So often, at most, refusals have a token replaced.
const REFUSED: Duration = Duration::from_secs(10);
/// How far a server's clock may be off before what is signed by time is signed again, in seconds.
const TOLERATED: u64 = 30;

/// The tokens of this process.
pub(crate) struct Tokens {
    asker: Asker,
    kept: Mutex<Kept>,
    flights: Arc<SingleFlight<TokenKey, Arc<Current>>>,
}

#[derive(Default)]
struct Kept {
    map: HashMap<TokenKey, Entry>,
    uses: u64,
}

/// What a token is kept by.
#[derive(Clone, PartialEq, Eq, Hash)]
struct TokenKey {
    source: TokenSource,
    way: Way,
}

#[derive(Default)]
struct Entry {
    current: Option<Arc<Current>>,
    /// How many seconds the clock of whoever reads our signatures is ahead of ours.
    clock: i64,
    /// From when on it may be tried again to renew it ahead of time.
    renew_from: Option<Instant>,
    /// When one was last replaced because a server refused it.
    refused: Option<Instant>,
    used: u64,
}

/// A token that serves.
struct Current {
    token: Token,
    made: Instant,
    renew: Instant,
    ends: Instant,
    /// Whether a server has taken it.
    accepted: AtomicBool,
}

/// An endpoint with the login of the moment.
struct Ready<'a> {
    endpoint: Cow<'a, Endpoint>,
    used: Option<(TokenKey, Arc<Current>)>,
}

impl Tokens {
    pub(in crate::net) fn new(clients: Arc<Clients>, limits: Arc<HostLimits>) -> Tokens {
        Tokens {
            asker: Asker { clients, limits },
            kept: Mutex::default(),
            flights: Arc::default(),
        }
    }

    /// `endpoint` with what its server is to be told of who we are: at once where its credentials
    /// are no source of tokens, or there is one.
    ///
    /// Errors: those of [`provider::fresh`], all hinted [`Hint::NoToken`]; `timeout` where the
    /// provider's answer does not come before this request's deadline.
    async fn ready<'a>(self: &Arc<Self>, endpoint: &'a Endpoint) -> Result<Ready<'a>> {
        let Some(Auth::Token(source)) = &endpoint.auth else {
            return Ok(Ready {
                endpoint: Cow::Borrowed(endpoint),
                used: None,
            });
        };
        let ready = self.login(endpoint, source).await;
        ready.map_err(|error| error.hinted(Hint::NoToken))
    }

    async fn login<'a>(
        self: &Arc<Self>,
        endpoint: &'a Endpoint,
        source: &TokenSource,
    ) -> Result<Ready<'a>> {
        let NetUrl::Http(url) = &endpoint.url else {
            return Err(Error::new(Kind::Internal, "a token for a URL of SSH"));
        };
        let mut source = source.clone();
        if let TokenSource::CodeCommit(codecommit) = &mut source {
            codecommit.region = Some(codecommit::region(codecommit, url)?);
        }
        let key = TokenKey {
            way: Way {
                ca: endpoint.tls.ca.clone(),
                route: endpoint.route.clone(),
                addresses: endpoint.addresses.clone(),
            },
            source,
        };
        let current = self.current(&key).await?;
        let mut secrets = Secrets::default();
        current.token.add_secrets(&mut secrets);
        let auth = match (&current.token, &key.source) {
            (Token::Login(auth), _) => auth.clone(),
            (Token::Keys(keys), TokenSource::CodeCommit(CodeCommit { region, .. })) => {
                let time = civil::now() + self.clock(&key);
                codecommit::login(keys, region.as_deref().unwrap_or_default(), url, time)
            }
            (Token::Keys(_), _) => {
                return Err(Error::new(Kind::Internal, "keys that sign for nobody"));
            }
        };
        auth.add_secrets(&mut secrets, "");
        auth.header()?;
        let mut endpoint = endpoint.clone();
        endpoint.momentary = Momentary::new(auth, secrets);
        Ok(Ready {
            endpoint: Cow::Owned(endpoint),
            used: Some((key, current)),
        })
    }

    /// A token that serves. One that is to be renewed is returned as it is, and renewed meanwhile.
    async fn current(self: &Arc<Self>, key: &TokenKey) -> Result<Arc<Current>> {
        let now = Instant::now();
        let (kept, is_due) = {
            let mut all = self.lock();
            let entry = all.entry(key);
            let kept = entry.current.clone().filter(|kept| now < kept.ends);
            let is_due = kept.as_ref().is_some_and(|kept| now >= kept.renew)
                && entry.renew_from.is_none_or(|from| now >= from);
            if is_due {
                entry.renew_from = Some(now + AGAIN);
            }
            (kept, is_due)
        };
        if is_due {
            let (this, key) = (self.clone(), key.clone());
            // Nobody waits for it. Where it fails, the request that finds no token says why.
            tokio::spawn(async move {
                let job = Arc::new(Job::unattended());
                let _ = tokio::time::timeout(RENEWAL, this.fly(&key, &job)).await;
            });
        }
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let job = Arc::new(Job::unattended());
        let deadline = patience::deadline();
        job.patience.until(deadline);
        let flown = match deadline {
            None => self.fly(key, &job).await,
            Some(deadline) => {
                // So that this request can still be told why it failed.
                let left = deadline.saturating_duration_since(now);
                let last = deadline - (left / 10).min(Duration::from_secs(1));
                tokio::time::timeout_at(last, self.fly(key, &job))
                    .await
                    .unwrap_or_else(|_| Err(late(&key.source)))
            }
        };
        patience::waited(job.patience.waited());
        let current =
            flown.map_err(|error| error.context(format!("no token for {}", key.source.shown())))?;
        Ok(current)
    }

    /// A new token, asked for together with all who want one now.
    async fn fly(self: &Arc<Self>, key: &TokenKey, job: &Arc<Job>) -> Result<Arc<Current>> {
        let this = self.clone();
        let go = |flight: Lead<TokenKey, Arc<Current>>| {
            let key = key.clone();
            async move {
                // It may be joined to its end: a token that is on its way is as good as a new one.
                let _flight = flight;
                let now = Instant::now();
                let (kept, clock) = {
                    let mut all = this.lock();
                    let entry = all.entry(&key);
                    (entry.current.clone(), entry.clock)
                };
                // It came after this was wanted, and before this began.
                if let Some(kept) = kept.filter(|kept| now < kept.renew) {
                    return Ok(kept);
                }
                let fresh = provider::fresh(&this.asker, &key.way, &key.source, clock).await?;
                let made = Instant::now();
                let lifetime = fresh.lifetime.clamp(SHORTEST, LONGEST);
                let current = Arc::new(Current {
                    token: fresh.token,
                    made,
                    renew: made + lifetime - (lifetime / AHEAD).min(MAX_AHEAD),
                    ends: made + lifetime - (lifetime / SPARE).min(MAX_SPARE),
                    accepted: AtomicBool::new(false),
                });
                let mut all = this.lock();
                let entry = all.entry(&key);
                entry.current = Some(current.clone());
                entry.clock = fresh.clock;
                entry.renew_from = None;
                Ok(current)
            }
        };
        self.flights.run(key.clone(), job, go).await
    }

    fn clock(&self, key: &TokenKey) -> i64 {
        self.lock().entry(key).clock
    }

    /// Runs `ask` with the login of the moment; and once more where the server refused a token that
    /// may be replaced, or what was signed by the wrong time. Returns also what nobody may repeat
    /// of that login.
    ///
    /// The errors of `ask`, in which that is hidden, and those of [`Tokens::ready`].
    pub(in crate::net) async fn ask<'a, T, F>(
        self: &Arc<Self>,
        endpoint: &'a Endpoint,
        ask: impl Fn(Cow<'a, Endpoint>) -> F,
    ) -> Result<(T, Option<Arc<Secrets>>)>
    where
        F: Future<Output = Result<T>>,
    {
        let mut ready = self.ready(endpoint).await?;
        let mut answer = ask(ready.endpoint.clone()).await;
        if answer
            .as_ref()
            .is_err_and(|error| self.is_worth_another(&ready, error))
        {
            ready = self.ready(endpoint).await?;
            answer = ask(ready.endpoint.clone()).await;
        }
        let secrets = ready.endpoint.momentary.secrets().cloned();
        let answer = answer.map_err(|error| match &secrets {
            Some(secrets) => secrets.hide_in(error),
            None => error,
        })?;
        if let Some((_, used)) = &ready.used {
            used.accepted.store(true, Ordering::Relaxed);
        }
        Ok((answer, secrets))
    }

    fn is_worth_another(&self, ready: &Ready<'_>, error: &Error) -> bool {
        let Some((key, used)) = &ready.used else {
            return false;
        };
        let status = error.detail.get(&Key::Status).and_then(Detail::as_u64);
        // Its server says to all that it does not take: 403.
        let is_aws = matches!(key.source, TokenSource::CodeCommit(_));
        // A page to log in comes with 200 or 203.
        let is_refused = matches!(status, Some(401 | 200 | 203)) || is_aws && status == Some(403);
        if error.kind != Kind::Auth || !is_refused {
            return false;
        }
        let mut all = self.lock();
        let entry = all.entry(key);
        if let Some(Hint::Clock(ahead)) = error.hint
            && is_aws
            && ahead.abs_diff(entry.clock) > TOLERATED
        {
            entry.clock = ahead;
            return true;
        }
        if let TokenSource::CodeCommit(CodeCommit {
            proof: AwsProof::Keys(_),
            ..
        }) = key.source
        {
            return false;
        }
        match &entry.current {
            Some(current) if Arc::ptr_eq(current, used) => {
                let is_old = |since: Instant| since.elapsed() >= REFUSED;
                let is_new = !used.accepted.load(Ordering::Relaxed) && !is_old(used.made);
                if is_new || entry.refused.is_some_and(|refused| !is_old(refused)) {
                    return false;
                }
                entry.current = None;
                entry.refused = Some(Instant::now());
                true
            }
            // Somebody else has had it replaced.
            _ => true,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn entry(&mut self, key: &TokenKey) -> &mut Entry {
        self.uses += 1;
        if self.map.len() >= MAX_TOKENS && !self.map.contains_key(key) {
            let oldest = self.map.iter().min_by_key(|(_, entry)| entry.used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.map.remove(&oldest);
            }
        }
        let entry = self.map.entry(key.clone()).or_default();
        entry.used = self.uses;
        entry
    }
}

fn late(source: &TokenSource) -> Error {
    let who = provider::asked(source).unwrap_or_else(|| "the provider".to_owned());
    let sentence = format!(
        "{who} did not answer in the time that the call had: check that it can be reached from \
         here, and the proxy, or give the call a longer timeout"
    );
    Error::new(Kind::Timeout, sentence).with(Key::Url, who)
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
