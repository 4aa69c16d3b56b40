//! What a request asks for, in types.

use crate::net::auth::Auth;
use crate::net::tls::Tls;
use crate::net::url;
use crate::reference::Reference;
use crate::selection::scope::Scope;

/// A remote and how to get in. Shown by its URL without credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct RemoteSpec {
    /// Bytes: the path of a repository of this machine need not be UTF-8.
    pub(crate) url: Vec<u8>,
    /// Takes precedence over credentials in the URL.
    pub(crate) auth: Option<Auth>,
    /// Whether credentials may go over plain `http`.
    pub(crate) allow_insecure: bool,
    pub(crate) tls: Tls,
    /// A URL. `None`: no proxy; the environment is never asked.
    pub(crate) proxy: Option<String>,
    /// Hosts that are reached without the proxy, separated by commas.
    pub(crate) no_proxy: Option<String>,
}

impl std::fmt::Debug for RemoteSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&url::redacted(&self.url))
    }
}

/// What a directory is to be made equal to, and how. Two syncs of a directory with the same spec
/// are the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SyncSpec {
    pub(crate) remote: RemoteSpec,
    pub(crate) reference: Reference,
    /// Commits of history; 0 is all of it.
    pub(crate) depth: u32,
    /// Whether changes of the owner's may be overwritten in a repository that is not ours.
    pub(crate) force: bool,
    /// How many of the commits that were synced stay readable, the newest among them.
    pub(crate) keep: u32,
    /// Whether files are checked out.
    pub(crate) working_tree: bool,
    /// Which files are fetched, as far as the remote lets choose, and checked out.
    pub(crate) scope: Scope,
}

impl SyncSpec {
    /// Whether nothing is checked out.
    pub(crate) fn is_bare(&self) -> bool {
        !self.working_tree
    }
}
