//! What a request to a remote holds that no answer may repeat.

use crate::error::Error;
use crate::net::proxy::ProxySettings;
use crate::net::secrets::Secrets;
use crate::net::url::RemoteUrl;
use crate::spec::RemoteSpec;

/// Takes the credentials of a request out of its error.
pub(super) fn hidden(secrets: Secrets) -> impl Fn(Error) -> Error {
    move |error| secrets.hide_in(error)
}

/// What a request holds that no answer may repeat. `own`: what it says itself, beside its URL.
pub(super) fn secrets(remote: &RemoteSpec, own: &[&[u8]]) -> Secrets {
    let mut secrets = Secrets::default();
    let url = RemoteUrl::parse(&remote.url).ok();
    let mut words = url.as_ref().map_or(String::new(), RemoteUrl::redacted);
    for own in own {
        words.push('\n');
        words.push_str(&String::from_utf8_lossy(own));
    }
    // Both, whichever of them counts.
    let in_url = url.as_ref().and_then(RemoteUrl::auth);
    for auth in remote.auth.iter().chain(in_url) {
        auth.add_secrets(&mut secrets, &words);
    }
    if let Ok(Some(route)) = ProxySettings::new(remote.proxy.as_deref(), None) {
        route.add_secrets(&mut secrets, &words);
    }
    secrets
}
