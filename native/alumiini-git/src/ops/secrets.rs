//! The secrets of a request to a remote, which no answer may repeat.

use crate::error::Error;
use crate::net::proxy::ProxySettings;
use crate::net::secrets::Secrets;
use crate::net::url::RemoteUrl;
use crate::spec::RemoteSpec;

/// Removes the credentials of a request from its error.
pub(super) fn hidden(secrets: Secrets) -> impl Fn(Error) -> Error {
    move |error| secrets.hide_in(error)
}

/// The secrets of a request. `own`: texts of the request beside its URL; a user's name in these may
/// be shown.
pub(super) fn secrets(remote: &RemoteSpec, own: &[&[u8]]) -> Secrets {
    let mut secrets = Secrets::default();
    let url = RemoteUrl::parse(&remote.url).ok();
    let mut words = url.as_ref().map_or(String::new(), RemoteUrl::redacted);
    for own in own {
        words.push('\n');
        words.push_str(&String::from_utf8_lossy(own));
    }
    // Both are secrets, whichever of them is used.
    let in_url = url.as_ref().and_then(RemoteUrl::auth);
    for auth in remote.auth.iter().chain(in_url) {
        auth.add_secrets(&mut secrets, &words);
    }
    if let Ok(Some(route)) = ProxySettings::new(remote.proxy.as_deref(), None) {
        route.add_secrets(&mut secrets, &words);
    }
    secrets
}
