//! The answers of HTTP servers: the body where it is Git's, and the message of any other.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, StatusCode};

use crate::error::{Error, Key, Kind, Result};
use crate::net::connection_failure;
use crate::net::content_encoding::Unfolding;
use crate::net::failure::{self, Credentials, Said};
use crate::net::git::pkt_line::{Chunks, sanitised};
use crate::net::http_clients::Pending;
use crate::net::url::HttpUrl;
use crate::net::{Endpoint, refusal};

/// How many bytes of an error's body are read, and how long they are waited for.
const MAX_SAID: usize = 4096;
const SAID_TIMEOUT: Duration = Duration::from_secs(2);

/// The allowance of an answer: how many pieces may come that its bytes do not pay for. A piece
/// costs us as much as some hundred bytes.
const MAX_PIECES: usize = 16_384;
/// So many bytes pay for one piece.
const BYTES: usize = 32;

/// Counts the pieces in which an answer comes. By HTTP/1 a chunk of one byte costs its sender next
/// to nothing.
#[derive(Default)]
struct Pieces {
    count: usize,
    bytes: usize,
}

impl Pieces {
    /// Counts a piece. Returns whether it is within the allowance.
    fn take(&mut self, piece: &[u8]) -> bool {
        self.count += 1;
        self.bytes += piece.len();
        self.count <= MAX_PIECES + self.bytes / BYTES
    }
}

/// An answer of status 200.
pub(super) struct Answer {
    response: Response,
    /// The repository that was asked for.
    url: HttpUrl,
    /// Whether there are credentials, whether or not they were sent to this server.
    given: bool,
    unfolding: Option<Box<Unfolding>>,
    pieces: Pieces,
    pending: Pending,
}

impl Answer {
    /// An answer of status 200. Any other is returned as an error.
    pub(super) async fn check(
        endpoint: &Endpoint,
        response: Response,
        pending: Pending,
        url: HttpUrl,
        credentials: Credentials,
    ) -> Result<Answer> {
        let status = response.status();
        let unfolding = Unfolding::of(response.headers()).map(|unfolding| unfolding.map(Box::new));
        let given = endpoint.auth.is_some();
        // 203 marks an answer that a proxy has changed, and the login page of Azure DevOps.
        if !matches!(
            status,
            StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION
        ) {
            let headers = response.headers().clone();
            let unfolding = unfolding.unwrap_or_default();
            let mut answer = Answer {
                response,
                url,
                given,
                unfolding,
                pieces: Pieces::default(),
                pending,
            };
            let said = answer.said(endpoint).await;
            return Err(failure::status(
                status,
                &headers,
                &answer.url,
                credentials,
                &said,
            ));
        }
        match unfolding {
            Ok(unfolding) => Ok(Answer {
                response,
                url,
                given,
                unfolding,
                pieces: Pieces::default(),
                pending,
            }),
            Err(encoding) => {
                let encoding = sanitised(encoding.as_bytes());
                let sentence =
                    format!("{url} answered in the encoding `{encoding}`, which was not asked for");
                Err(Error::new(Kind::Protocol, sentence).with(Key::Url, url.redacted()))
            }
        }
    }

    /// The answer's message for people: the beginning of its body on one line, without our
    /// credentials. Empty for an HTML page.
    async fn said(&mut self, endpoint: &Endpoint) -> Said {
        let html = matches!(
            self.content_type().as_str(),
            "text/html" | "application/xhtml+xml"
        );
        let mut body = vec![];
        let read = async {
            while body.len() < MAX_SAID
                && let Ok(Some(chunk)) = self.chunk().await
            {
                body.extend_from_slice(&chunk);
            }
        };
        // What has arrived by then has to do.
        if tokio::time::timeout(SAID_TIMEOUT, read).await.is_ok() {
            self.pending.ended();
        }
        body.truncate(MAX_SAID);
        let text = String::from_utf8_lossy(&body);
        let text = text.trim_start();
        let too_often = refusal::kind(text) == Some(Kind::RateLimited);
        if html || text.starts_with('<') {
            let text = String::new();
            return Said { text, too_often };
        }
        // This comes before the text is cut, which could leave half of a secret.
        let text = sanitised(endpoint.secrets().hide(text).as_bytes());
        Said { text, too_often }
    }

    /// The media type without parameters, in lower case, empty where there is none.
    pub(super) fn content_type(&self) -> String {
        let value = self
            .response
            .headers()
            .get(CONTENT_TYPE)
            .map_or(&b""[..], |value| value.as_bytes());
        let value = value.split(|b| *b == b';').next().unwrap_or_default();
        String::from_utf8_lossy(value).trim().to_ascii_lowercase()
    }

    /// Whether it is a page for people.
    pub(super) fn is_page(&self) -> bool {
        matches!(
            self.content_type().as_str(),
            "text/html" | "application/xhtml+xml"
        )
    }

    /// `auth`, for a login page: some forges answer so to credentials that they do not accept.
    /// `protocol`, for another answer of a type that is not Git's.
    pub(super) fn not_git(&self) -> Error {
        if self.is_page() && (self.given || self.is_login()) {
            let sentence = if self.given {
                format!(
                    "{} answered with a page to log in, not with Git: check that the credentials \
                     are right and not expired, and the URL",
                    self.url
                )
            } else {
                format!("{} answered with a page to log in: pass auth", self.url)
            };
            return Error::new(Kind::Auth, sentence)
                .with(Key::Url, self.url.redacted())
                .with(Key::Status, self.response.status().as_u16());
        }
        let sentence = match self.content_type().as_str() {
            "text/html" | "application/xhtml+xml" => {
                format!(
                    "{} answered with an HTML page, not Git: check the URL, and whether it asks \
                     to log in",
                    self.url
                )
            }
            "" => format!(
                "{} answered without a content type, not with Git: check the URL",
                self.url
            ),
            other => {
                let other = sanitised(other.as_bytes());
                format!("{} answered with {other}, not Git: check the URL", self.url)
            }
        };
        Error::new(Kind::Protocol, sentence).with(Key::Url, self.url.redacted())
    }

    /// Whether the page is a forge's login page.
    fn is_login(&self) -> bool {
        let path = self.response.url().path().to_ascii_lowercase();
        ["sign_in", "signin", "login", "/session", "/oauth"]
            .iter()
            .any(|word| path.contains(word))
    }

    /// The error for a body whose encoding is broken or incomplete.
    fn damaged(&self) -> Error {
        let sentence = format!(
            "the compressed answer of {} is damaged or was cut; try again later",
            self.url
        );
        Error::new(Kind::Network, sentence).with(Key::Url, self.url.redacted())
    }

    /// The repository that answered, as it may be shown.
    pub(super) fn redacted(&self) -> String {
        self.url.redacted()
    }
}

impl Chunks for Answer {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            let part = self.unfolding.as_mut().map(|unfolding| unfolding.next());
            if let Some(part) = part.transpose().map_err(|_| self.damaged())?.flatten() {
                return Ok(Some(part));
            }
            let chunk = self.response.chunk().await;
            if !matches!(chunk, Ok(Some(_))) {
                self.pending.ended();
            }
            let chunk = chunk.map_err(|e| connection_failure::transport(&e, &self.url, None))?;
            if chunk.as_ref().is_some_and(|chunk| !self.pieces.take(chunk)) {
                let sentence = format!(
                    "{} sends its answer in pieces of a few bytes, without end",
                    self.url
                );
                return Err(
                    Error::new(Kind::Protocol, sentence).with(Key::Url, self.url.redacted())
                );
            }
            match (&mut self.unfolding, chunk) {
                (None, chunk) => return Ok(chunk),
                (Some(unfolding), Some(chunk)) => unfolding.push(chunk),
                (Some(unfolding), None) => {
                    let end = unfolding.end();
                    return end.map(|()| None).map_err(|_| self.damaged());
                }
            }
        }
    }

    /// Reads the rest without decompressing it. Everything that was asked for has arrived, so a
    /// caller that stops waiting does not give up the request.
    async fn end(&mut self) {
        self.pending.ended();
        while let Ok(Some(piece)) = self.response.chunk().await
            && self.pieces.take(&piece)
        {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_are_taken_up_to_a_number_and_large_ones_without_end() {
        let mut pieces = Pieces::default();
        assert!((0..MAX_PIECES).all(|_| pieces.take(b"a")));
        // Each 32 bytes pay for one more piece.
        assert!((0..MAX_PIECES / BYTES).all(|_| pieces.take(b"")));
        assert!(!pieces.take(b""));
        assert!(!(0..100).any(|_| pieces.take(b"a")));
        let mut lines = Pieces::default();
        assert!((0..10 * MAX_PIECES).all(|_| lines.take(&[0; BYTES])));
    }
}
