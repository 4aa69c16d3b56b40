//! The wire, outwards: replies and events. The contract is `protocol/README.md`.

use std::collections::BTreeMap;

use base64::Engine;
use serde::Serialize;
use serde_bytes::ByteBuf;

use crate::error::{Detail, Error, Key, Kind, Name, Result};
use crate::port::cursor::Cursor;
use crate::port::frame;
use crate::task::patience::Spent;
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
    Snapshot(Page<Snapshot>),
    Changes(Page<Vec<Change>>),
    Commits(Page<Vec<Commit>>),
    Status(Page<Vec<Drift>>),
    Export(Box<Export>),
    Refs(Vec<Ref>),
    Steps(Vec<Step>),
    Url(Url),
    Hosts(Vec<Host>),
}

impl Answer {
    fn next(&self) -> Option<&Cursor> {
        match self {
            Answer::Snapshot(page) => page.next.as_ref(),
            Answer::Changes(page) => page.next.as_ref(),
            Answer::Commits(page) => page.next.as_ref(),
            Answer::Status(page) => page.next.as_ref(),
            _ => None,
        }
    }

    /// A file's content: as bytes where the request says `raw`, else in base64.
    pub(crate) fn content(content: Vec<u8>, raw: bool) -> Answer {
        if raw {
            Answer::Bytes(content)
        } else {
            Answer::Text(base64::engine::general_purpose::STANDARD.encode(content))
        }
    }
}

/// What this worker is.
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

/// A commit. Times are seconds since 1970, offsets are minutes east of UTC; `None` where the commit
/// holds what is no time.
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

/// As much of an answer as one reply holds.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Page<T> {
    pub(crate) of: T,
    /// For the request of the page that comes after it, if one does. It is told beside the answer.
    #[serde(skip)]
    pub(crate) next: Option<Cursor>,
}

/// Files of one commit.
#[derive(Debug, Serialize)]
pub(crate) struct Snapshot {
    pub(crate) commit: String,
    pub(crate) tree: String,
    pub(crate) files: Vec<SnapshotFile>,
}

/// A file of a commit. Its size is in bytes.
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotFile {
    pub(crate) path: Name,
    pub(crate) oid: String,
    pub(crate) mode: u32,
    /// None for a submodule.
    pub(crate) size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<ByteBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lfs: Option<LfsPointer>,
}

/// What a pointer of Git LFS says of the file that it stands for.
#[derive(Debug, Serialize)]
pub(crate) struct LfsPointer {
    /// SHA-256, in hex.
    pub(crate) oid: String,
    pub(crate) size: u64,
}

/// What differs between two commits at a path.
#[derive(Debug, Serialize)]
pub(crate) struct Change {
    pub(crate) status: &'static str,
    pub(crate) path: Name,
    pub(crate) old_path: Option<Name>,
    pub(crate) mode: Option<u32>,
    pub(crate) old_mode: Option<u32>,
    pub(crate) oid: Option<String>,
    pub(crate) old_oid: Option<String>,
    /// Of a renamed file, how much of it is the same, in percent.
    pub(crate) score: Option<u8>,
}

/// What of a working tree is not as its commit has it.
#[derive(Debug, Serialize)]
pub(crate) struct Drift {
    pub(crate) status: &'static str,
    pub(crate) path: Name,
}

/// What was exported.
#[derive(Debug, Serialize)]
pub(crate) struct Export {
    pub(crate) commit: String,
    /// `sha256:` and 64 digits.
    pub(crate) digest: String,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// A ref of a remote.
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

/// A host, and what of requests to it runs and waits.
#[derive(Debug, Serialize)]
pub(crate) struct Host {
    pub(crate) host: String,
    pub(crate) proxy: Option<String>,
    pub(crate) running: usize,
    pub(crate) waiting: usize,
    pub(crate) limit: usize,
    pub(crate) per_second: Option<f64>,
    pub(crate) tokens: Option<f64>,
    pub(crate) circuit: &'static str,
    /// In milliseconds.
    pub(crate) held_for: Option<u64>,
    pub(crate) failing: usize,
    pub(crate) repositories: Vec<Waiting>,
}

/// A repository of which requests wait.
#[derive(Debug, Serialize)]
pub(crate) struct Waiting {
    pub(crate) url: String,
    pub(crate) waiting: usize,
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
    reply_after(id, Spent::default(), result)
}

/// The same with what was spent on the request.
pub(crate) fn reply_after(
    id: Option<u64>,
    spent: Spent,
    result: &Result<(Answer, Option<Stats>)>,
) -> Vec<u8> {
    #[derive(Serialize)]
    struct Success<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        ok: &'a Answer,
        #[serde(skip_serializing_if = "Option::is_none")]
        next: Option<&'a Cursor>,
        #[serde(skip_serializing_if = "Option::is_none")]
        stats: Option<Stats>,
        #[serde(skip_serializing_if = "Option::is_none")]
        waited: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        requests: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retries: Option<u64>,
    }
    #[derive(Serialize)]
    struct Failure<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        err: &'a str,
        kind: &'static str,
        retryable: bool,
        detail: &'a BTreeMap<Key, Detail>,
        #[serde(skip_serializing_if = "Option::is_none")]
        waited: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        requests: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retries: Option<u64>,
    }
    // What is 0 is not told.
    let told = |number: u64| Some(number).filter(|number| *number > 0 && id.is_some());
    let waited = told(spent.waited.as_micros() as u64);
    let (requests, retries) = (told(spent.requests), told(spent.retries));
    let mut frame = frame::begin();
    let encoded = match result {
        // The contract's exchange without an id is `{"ok": …}` and nothing else.
        Ok((answer, stats)) => {
            let success = Success {
                id,
                ok: answer,
                next: answer.next(),
                stats: stats.filter(|_| id.is_some()),
                waited,
                requests,
                retries,
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
                waited,
                requests,
                retries,
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
