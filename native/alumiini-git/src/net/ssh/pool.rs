//! The SSH connections that are kept, and who may use which.
//!
//! - A connection serves requests of equal [`Target`]s, eight at a time (sshd's MaxSessions is 10 unless set otherwise); a server
//!   that refuses one lowers that. More requests make more connections.
//! - One connection per target is made at a time (sshd drops some of many that have not logged in yet: MaxStartups). Who needs one
//!   waits for it, and shares its failure. It is made for as long as anyone waits.
//! - **A pack has its connection for itself.** Russh hands out what arrives on all channels of a connection one after the other,
//!   and where a channel's reader is behind, it waits. That is what keeps a pack that is indexed slowly out of memory, and it would
//!   hold up everything else on that connection.
//! - A connection in use keeps one more channel open ahead, so that the next request on it costs two round trips and not three.
//!   OpenSSH opens sessions with a window of 0: what is asked can travel only when the command has begun, which is the second.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};
use russh::Channel;
use russh::client::Msg;

use crate::error::{Error, Key, Kind, Result};

use super::connection::{self, Connection, Target};
use super::slot::{Lease, Opened, Slot};

/// Sessions of one connection at a time, the channel that is open ahead included.
const MAX_SESSIONS: usize = 8;
/// Russh never forgets a channel that this side closed first: some hundred bytes each. After so many, a connection is used no more.
const MAX_BROKEN_OFF: usize = 1000;
/// How many connections may refuse even one session before the request fails with it.
const MAX_REFUSALS: usize = 4;

/// How long connections are kept, and how many, while nobody uses them.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// A connection on which nothing comes for so long is asked whether it is alive, and given up when it does not answer three times.
    pub(crate) keepalive: Duration,
    /// A connection ends so long after its last use.
    pub(crate) idle: Duration,
    /// Beyond so many idle ones of all targets, those that were used last are kept.
    pub(crate) max_idle: usize,
    /// How often idle ones are looked at.
    pub(crate) look: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            keepalive: Duration::from_secs(20),
            idle: Duration::from_secs(5 * 60),
            max_idle: 64,
            look: Duration::from_secs(20),
        }
    }
}

#[derive(Clone)]
pub(super) struct Pool {
    state: Arc<Mutex<State>>,
    pub(super) limits: Limits,
}

#[derive(Default)]
struct State {
    groups: HashMap<Arc<Target>, Group>,
    /// Connections made so far.
    made: u64,
    reaping: bool,
}

/// The connections of one target.
struct Group {
    members: Vec<Member>,
    /// The sessions that its server allows on a connection, as far as that is known.
    cap: usize,
    /// Gone when nobody waits for it.
    making: Option<WeakShared<Making>>,
}

impl Default for Group {
    fn default() -> Group {
        Group {
            members: vec![],
            cap: MAX_SESSIONS,
            making: None,
        }
    }
}

type Making = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

pub(super) struct Member {
    connection: Arc<Connection>,
    born: u64,
    /// Channels that are open, or about to be.
    pub(super) used: usize,
    /// Has a pack.
    pub(super) taken: bool,
    /// It may have gone where another connection to its target went.
    doubtful: bool,
    pub(super) spare: Spare,
    pub(super) broken_off: usize,
    pub(super) idle_since: Instant,
}

/// The channel that is open ahead.
pub(super) enum Spare {
    None,
    Opening,
    Open(Channel<Msg>),
}

impl Member {
    fn idle(&self) -> bool {
        match self.spare {
            Spare::None => self.used == 0,
            Spare::Opening => false,
            Spare::Open(_) => self.used == 1,
        }
    }

    /// Whether all that is under way on it is a channel being opened ahead.
    fn serves_nobody(&self) -> bool {
        self.idle() || matches!(self.spare, Spare::Opening) && self.used == 1
    }

    fn has_room(&self, pack: bool, cap: usize) -> bool {
        if self.taken || self.doubtful || self.broken_off >= MAX_BROKEN_OFF {
            false
        } else if pack {
            self.idle()
        } else {
            matches!(self.spare, Spare::Open(_)) || self.used < cap
        }
    }
}

/// Why there is no lease.
pub(super) enum NoLease {
    Failed(Error),
    /// A connection that was there turned out to have ended.
    Stale,
}

impl Pool {
    pub(super) fn new(limits: Limits) -> Pool {
        Pool {
            state: Arc::default(),
            limits,
        }
    }

    /// Whether no session is under way, nor a channel being opened.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let state = self.lock();
        let mut members = state.groups.values().flat_map(|group| &group.members);
        members.all(Member::idle)
    }

    /// How many connections have been made: those that come later are newer than whatever has failed so far.
    pub(super) fn made(&self) -> u64 {
        self.lock().made
    }

    /// A session with `target`, for a `pack` on a connection without others. `newer_than`: only on a connection made after so many.
    pub(super) async fn lease(
        &self,
        target: &Arc<Target>,
        shown: &str,
        pack: bool,
        newer_than: u64,
    ) -> Result<Lease, NoLease> {
        let made_before = self.made();
        let mut refusals = 0;
        loop {
            let (slot, spare, fresh) = loop {
                match self.claim(target, shown, pack, newer_than) {
                    Claim::Slot(slot, spare, born) => break (slot, spare, born > made_before),
                    Claim::Wait(making) => making.await.map_err(|e| NoLease::Failed(renamed(e, shown)))?,
                }
            };
            if let Some(channel) = spare {
                return Ok(Lease { channel, slot, fresh });
            }
            match slot.open().await {
                Opened::Channel(channel, slot) => return Ok(Lease { channel, slot, fresh }),
                Opened::Refused { alone: false } => {}
                Opened::Refused { alone: true } if refusals < MAX_REFUSALS => refusals += 1,
                Opened::Refused { .. } => {
                    let sentence = format!(
                        "{shown}: its server refuses sessions to this user: check that it may run git-upload-pack"
                    );
                    return Err(NoLease::Failed(Error::new(Kind::Auth, sentence).with(Key::Url, shown)));
                }
                Opened::Gone if fresh => {
                    let sentence =
                        format!("the connection to {shown} was cut before it could be used; try again later");
                    return Err(NoLease::Failed(
                        Error::new(Kind::Network, sentence).with(Key::Url, shown),
                    ));
                }
                Opened::Gone => return Err(NoLease::Stale),
            }
        }
    }

    fn claim(&self, target: &Arc<Target>, shown: &str, pack: bool, newer_than: u64) -> Claim {
        let mut state = self.lock();
        self.reap_later(&mut state);
        let group = state.groups.entry(target.clone()).or_default();
        group.members.retain(|member| !member.connection.is_closed());
        let cap = group.cap;
        let mut new_enough = group.members.iter_mut().filter(|member| member.born > newer_than);
        if let Some(member) = new_enough.find(|member| member.has_room(pack, cap)) {
            let spare = match std::mem::replace(&mut member.spare, Spare::None) {
                Spare::Open(channel) => Some(channel),
                other => {
                    member.spare = other;
                    member.used += 1;
                    None
                }
            };
            member.taken = pack;
            let slot = Slot::new(self.clone(), target.clone(), member.connection.clone(), pack);
            return Claim::Slot(slot, spare, member.born);
        }
        if let Some(making) = group.making.as_ref().and_then(WeakShared::upgrade) {
            return Claim::Wait(making);
        }
        let making = self.clone().make(target.clone(), shown.to_owned()).boxed().shared();
        group.making = making.downgrade();
        Claim::Wait(making)
    }

    async fn make(self, target: Arc<Target>, shown: String) -> Result<()> {
        let made = connection::connect(&target, &shown, self.limits.keepalive, false).await;
        let mut state = self.lock();
        state.made += 1;
        let born = state.made;
        let group = state.groups.entry(target.clone()).or_default();
        group.making = None;
        match made {
            Ok((connection, _)) => {
                group.members.push(Member {
                    connection: Arc::new(connection),
                    born,
                    used: 0,
                    taken: false,
                    doubtful: false,
                    spare: Spare::None,
                    broken_off: 0,
                    idle_since: Instant::now(),
                });
                Ok(())
            }
            Err(e) => {
                if group.members.is_empty() {
                    state.groups.remove(&target);
                }
                Err(e)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known of a connection, and of the sessions that its server allows, if it is still kept.
    pub(super) fn with<T>(
        &self,
        target: &Arc<Target>,
        connection: &Arc<Connection>,
        change: impl FnOnce(&mut Member, &mut usize) -> T,
    ) -> Option<T> {
        let mut state = self.lock();
        let group = state.groups.get_mut(target)?;
        let mut members = group.members.iter_mut();
        let place = members.position(|member| Arc::ptr_eq(&member.connection, connection))?;
        let member = &mut group.members[place];
        let changed = change(member, &mut group.cap);
        if member.doubtful && member.serves_nobody() {
            group.members.swap_remove(place).connection.cut();
        }
        Some(changed)
    }

    pub(super) fn doubt(&self, target: &Arc<Target>) {
        if let Some(group) = self.lock().groups.get_mut(target) {
            group.members.retain_mut(|member| {
                member.doubtful = true;
                let idle = member.serves_nobody();
                if idle {
                    member.connection.cut();
                }
                !idle
            });
        }
    }

    fn reap_later(&self, state: &mut State) {
        if !std::mem::replace(&mut state.reaping, true) {
            tokio::spawn(reap(Arc::downgrade(&self.state), self.limits));
        }
    }
}

enum Claim {
    /// The slot, the channel that was open ahead, and which connection it is.
    Slot(Slot, Option<Channel<Msg>>, u64),
    Wait(Shared<Making>),
}

/// Closes what has been idle for too long or is too much, until there is nothing.
async fn reap(pool: Weak<Mutex<State>>, limits: Limits) {
    loop {
        tokio::time::sleep(limits.look).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut state = pool.lock().unwrap_or_else(PoisonError::into_inner);
        state.close_idle(&limits, Instant::now());
        if state.groups.is_empty() {
            state.reaping = false;
            return;
        }
    }
}

impl State {
    fn close_idle(&mut self, limits: &Limits, now: Instant) {
        let members = self.groups.values().flat_map(|group| &group.members);
        let mut idle: Vec<Instant> = members
            .filter(|member| member.idle())
            .map(|member| member.idle_since)
            .collect();
        idle.sort_unstable_by(|a, b| b.cmp(a));
        let too_many = idle.get(limits.max_idle).copied();
        for group in self.groups.values_mut() {
            group.members.retain(|member| {
                let kept = now.duration_since(member.idle_since) < limits.idle
                    && too_many.is_none_or(|oldest| member.idle_since > oldest)
                    && !member.doubtful
                    && member.broken_off < MAX_BROKEN_OFF;
                !member.connection.is_closed() && (kept || !member.idle())
            });
        }
        self.groups.retain(|_, group| {
            let making = group.making.as_ref().and_then(WeakShared::upgrade);
            !group.members.is_empty() || making.is_some()
        });
    }
}

/// The failure of a connection that another request for the same target had made, told of `shown`.
fn renamed(mut failed: Error, shown: &str) -> Error {
    if let Some(other) = failed.detail.get(&Key::Url).and_then(|url| url.as_str()) {
        failed.message = failed.message.replace(other, shown);
    }
    failed.with(Key::Url, shown)
}
