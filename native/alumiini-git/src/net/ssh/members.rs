//! The connections that are kept, by target, and what is known of each.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::future::WeakShared;
use russh::Channel;
use russh::client::Msg;

use super::connection::Connection;
use super::peer::Target;
use crate::error::Result;

/// Sessions of one connection at a time. The channel that is opened ahead counts as one.
const MAX_SESSIONS: usize = 8;
/// Russh keeps some hundred bytes for each channel that this side closed first, until the
/// connection ends. After so many of these, a connection serves no new request.
const MAX_ABORTED: usize = 1000;

/// How long connections are kept, and how many, while nobody uses them.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// A connection on which nothing comes for so long is asked whether it is alive, and given up
    /// when it does not answer three times.
    pub(crate) keepalive: Duration,
    /// A connection ends so long after its last use.
    pub(crate) idle: Duration,
    /// At most this many idle connections of all targets are kept: those that were used last.
    pub(crate) max_idle: usize,
    /// How often idle connections are checked.
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

#[derive(Clone, Default)]
pub(super) struct Members(Arc<Mutex<State>>);

#[derive(Default)]
pub(super) struct State {
    pub(super) groups: HashMap<Arc<Target>, Group>,
    /// Connections made so far.
    pub(super) made: u64,
    reaping: bool,
}

/// The connections of one target.
pub(super) struct Group {
    pub(super) members: Vec<Member>,
    /// The sessions that its server allows on a connection, as far as that is known.
    pub(super) cap: usize,
    /// The attempt to connect, while a request waits for it.
    pub(super) making: Option<WeakShared<Making>>,
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

pub(super) type Making = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

pub(super) struct Member {
    pub(super) connection: Arc<Connection>,
    pub(super) born: u64,
    /// Channels that are open, or about to be.
    pub(super) used: usize,
    /// It serves a pack, and so no other request.
    pub(super) exclusive: bool,
    /// Another connection to its target was found dead, so this one may be dead, too.
    pub(super) suspect: bool,
    pub(super) standby: Standby,
    pub(super) aborted: usize,
    pub(super) idle_since: Instant,
}

/// The channel that is open ahead.
pub(super) enum Standby {
    None,
    Opening,
    Open(Channel<Msg>),
}

impl Member {
    fn idle(&self) -> bool {
        match self.standby {
            Standby::None => self.used == 0,
            Standby::Opening => false,
            Standby::Open(_) => self.used == 1,
        }
    }

    /// Whether no request uses it: at most, a channel is being opened ahead.
    fn serves_nobody(&self) -> bool {
        self.idle() || matches!(self.standby, Standby::Opening) && self.used == 1
    }

    pub(super) fn has_room(&self, pack: bool, cap: usize) -> bool {
        if self.exclusive || self.suspect || self.aborted >= MAX_ABORTED {
            false
        } else if pack {
            self.idle()
        } else {
            matches!(self.standby, Standby::Open(_)) || self.used < cap
        }
    }
}

impl Members {
    /// Whether no session is under way, nor a channel being opened.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let state = self.lock();
        let mut members = state.groups.values().flat_map(|group| &group.members);
        members.all(Member::idle)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `change` with the state of a connection and with its target's limit of sessions.
    /// `None` if the connection is no longer kept.
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
        if member.suspect && member.serves_nobody() {
            group.members.swap_remove(place).connection.cut();
        }
        Some(changed)
    }

    /// Marks all connections to `target` as suspect. Those that serve no request close now, the
    /// others after their last one.
    pub(super) fn doubt(&self, target: &Arc<Target>) {
        if let Some(group) = self.lock().groups.get_mut(target) {
            group.members.retain_mut(|member| {
                member.suspect = true;
                let idle = member.serves_nobody();
                if idle {
                    member.connection.cut();
                }
                !idle
            });
        }
    }

    pub(super) fn reap_later(&self, state: &mut State, limits: Limits) {
        if !std::mem::replace(&mut state.reaping, true) {
            tokio::spawn(reap(Arc::downgrade(&self.0), limits));
        }
    }
}

/// Closes connections that have been idle for too long, or that are too many. Returns when no
/// connection is left.
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
                    && !member.suspect
                    && member.aborted < MAX_ABORTED;
                !member.connection.is_closed() && (kept || !member.idle())
            });
        }
        self.groups.retain(|_, group| {
            let making = group.making.as_ref().and_then(WeakShared::upgrade);
            !group.members.is_empty() || making.is_some()
        });
    }
}
