//! The wire, outwards: replies and events. The contract is `protocol/README.md`.

use std::collections::BTreeMap;

use base64::Engine;
use serde::Serialize;

use crate::error::{Detail, Error, Key, Kind, Name, Result};
use crate::port::frame;
use crate::task::progress::{Event, Stats};

/// What an operation answers.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    Hello(Hello),
    Flag(bool),
    Id(String),
    Synced(Box<Synced>),
    Names(Vec<Name>),
    /// base64, as the contract's plain `read` has it.
    Text(String),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Commit(Box<Commit>),
    Refs(Vec<Ref>),
    Steps(Vec<Step>),
    Url(Url),
}

impl Answer {
    pub(crate) fn content(content: Vec<u8>, raw: bool) -> Answer {
        if raw {
            Answer::Bytes(content)
        } else {
            Answer::Text(base64::engine::general_purpose::STANDARD.encode(content))
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Hello {
    pub(crate) protocol: u64,
    pub(crate) version: &'static str,
    pub(crate) libgit2: String,
    pub(crate) pid: u32,
    pub(crate) target: &'static str,
}

/// What a sync did.
#[derive(Debug, Serialize)]
pub(crate) struct Synced {
    pub(crate) sha: String,
    /// The branch that HEAD is on.
    pub(crate) branch: Option<Name>,
    /// The object of an annotated tag.
    pub(crate) tag: Option<String>,
    pub(crate) previous: Option<String>,
    pub(crate) changed: bool,
    pub(crate) cloned: bool,
    pub(crate) repaired: bool,
    pub(crate) bytes: u64,
    pub(crate) objects: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Commit {
    pub(crate) sha: String,
    pub(crate) tree: String,
    pub(crate) parents: Vec<String>,
    pub(crate) author: Name,
    pub(crate) email: Name,
    pub(crate) timestamp: Option<i64>,
    pub(crate) offset: Option<i32>,
    pub(crate) committer: Name,
    pub(crate) committer_email: Name,
    pub(crate) committed_at: Option<i64>,
    pub(crate) committed_offset: Option<i32>,
    pub(crate) message: Name,
    pub(crate) branch: Option<Name>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Ref {
    pub(crate) name: Name,
    pub(crate) sha: String,
    pub(crate) peeled: Option<String>,
    pub(crate) symref_target: Option<Name>,
}

/// A URL as it is used.
#[derive(Debug, Serialize)]
pub(crate) struct Url {
    pub(crate) scheme: &'static str,
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) path: Name,
    pub(crate) url: Name,
    pub(crate) hidden: bool,
}

/// A step on the way to a remote.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) step: &'static str,
    pub(crate) us: u64,
    pub(crate) note: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Failed>,
}

/// An error within an answer, as in a reply.
#[derive(Debug, Serialize)]
pub(crate) struct Failed {
    pub(crate) err: String,
    pub(crate) kind: &'static str,
    pub(crate) retryable: bool,
    pub(crate) detail: BTreeMap<Key, Detail>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        let error = error.on_one_line();
        Failed {
            err: error.message,
            kind: error.kind.as_str(),
            retryable: error.kind.retryable(),
            detail: error.detail,
        }
    }
}

/// The frame of a reply. Always succeeds: an answer that cannot be sent becomes the error that says
/// so.
pub(crate) fn reply(id: Option<u64>, result: &Result<(Answer, Option<Stats>)>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Success<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        ok: &'a Answer,
        #[serde(skip_serializing_if = "Option::is_none")]
        stats: Option<Stats>,
    }
    #[derive(Serialize)]
    struct Failure<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        err: &'a str,
        kind: &'static str,
        retryable: bool,
        detail: &'a BTreeMap<Key, Detail>,
    }
    let mut frame = frame::begin();
    let encoded = match result {
        // The contract's exchange without an id is `{"ok": …}` and nothing else.
        Ok((answer, stats)) => {
            let success = Success {
                id,
                ok: answer,
                stats: stats.filter(|_| id.is_some()),
            };
            rmp_serde::encode::write_named(&mut frame, &success)
        }
        Err(error) => {
            let error = error.clone().on_one_line();
            let failure = Failure {
                id,
                err: &error.message,
                kind: error.kind.as_str(),
                retryable: error.kind.retryable(),
                detail: &error.detail,
            };
            rmp_serde::encode::write_named(&mut frame, &failure)
        }
    };
    let bytes = frame.len();
    match encoded {
        Ok(()) if bytes <= frame::MAX_REPLY => frame::end(frame),
        Ok(()) => {
            let message = format!(
                "the answer has {bytes} bytes, more than a frame may have ({})",
                frame::MAX_REPLY
            );
            reply(id, &Err(Error::new(Kind::TooLarge, message)))
        }
        Err(error) => reply(
            id,
            &Err(Error::new(
                Kind::Internal,
                format!("the answer could not be encoded: {error}"),
            )),
        ),
    }
}

/// The frame of an event of the request `id`.
pub(crate) fn event(id: u64, event: &Event) -> Vec<u8> {
    #[derive(Serialize)]
    struct Named<'a> {
        id: u64,
        #[serde(flatten)]
        event: &'a Event,
    }
    let mut frame = frame::begin();
    // Writing numbers and text into memory does not fail.
    let _ = rmp_serde::encode::write_named(&mut frame, &Named { id, event });
    frame::end(frame)
}
