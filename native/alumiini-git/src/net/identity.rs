//! What makes two remotes the same one.

use std::fmt;

/// A key for caches: equal for two texts that name the same remote, whatever userinfo they hold.
/// Put the effective [`Auth`](crate::net::auth::Auth) beside it where that matters. The key may
/// contain a query, so its `Debug` shows no more than the URL's does.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    key: Vec<u8>,
    shown: String,
}

impl Identity {
    /// `shown` is the URL without secrets, the same for equal keys.
    pub(super) fn new(key: impl Into<Vec<u8>>, shown: String) -> Identity {
        Identity {
            key: key.into(),
            shown,
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.shown)
    }
}
