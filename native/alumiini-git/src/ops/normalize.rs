//! `normalize`: a URL as the worker reads it. No name is resolved, and no server is asked.

use crate::error::{Name, Result};
use crate::net::url::{self, RemoteUrl};
use crate::ops::operation::{Context, Done, Operation};
use crate::port::fields::Fields;
use crate::port::reply::{Answer, Url};

#[derive(Debug)]
pub(crate) struct Normalize {
    url: Vec<u8>,
}

impl Operation for Normalize {
    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(Normalize {
            url: fields.bytes("url")?,
        })
    }

    fn describe(&self) -> String {
        format!("normalize of {}", url::redacted(&self.url))
    }

    async fn queued(self, _context: Context<'_>) -> Result<Done> {
        let parts = RemoteUrl::parse(&self.url)?.parts();
        let answer = Answer::Url(Url {
            scheme: parts.scheme,
            host: parts.host,
            port: parts.port,
            path: Name(parts.path),
            url: Name(parts.shown),
            hidden: parts.hidden,
        });
        Ok((answer, None))
    }
}
