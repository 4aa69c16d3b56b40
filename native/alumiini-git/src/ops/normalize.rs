//! `normalize`: a URL as it is used. Nothing is resolved, and nobody is asked.

use crate::answer::{Answer, Name, Url};
use crate::error::Result;
use crate::net::url::RemoteUrl;

pub(crate) fn run(url: &[u8]) -> Result<Answer> {
    let parts = RemoteUrl::parse(url)?.parts();
    Ok(Answer::Url(Url {
        scheme: parts.scheme,
        host: parts.host,
        port: parts.port,
        path: Name(parts.path),
        url: Name(parts.shown),
        hidden: parts.hidden,
    }))
}
