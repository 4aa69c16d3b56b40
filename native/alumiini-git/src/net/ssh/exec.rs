//! One `git-upload-pack` at work on the other side of a session.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::task::JoinSet;

use crate::error::{Error, Key, Kind, Result};
use crate::net::git::pkt_line::{Chunks, sanitised};
use crate::net::refusal;

use super::session::{Lease, Session};

/// How many bytes are kept of what a server says to people; the last ones are.
const MAX_SAID: usize = 4096;
/// How long a server may take to close a session that has nothing more to say.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// `SSH_EXTENDED_DATA_STDERR` (RFC 4254, 5.2).
const STDERR: u32 = 1;

/// One `git-upload-pack` at work: its standard output. Dropping it closes its channel, and nothing
/// else of the connection.
pub(crate) struct Exec {
    read: Option<ChannelReadHalf>,
    write: Arc<ChannelWriteHalf<Msg>>,
    /// None when the session is over.
    session: Option<Session>,
    /// Output that arrived before the caller asked for it.
    first: Option<Bytes>,
    shown: String,
    heard: Heard,
    /// Whether a request was written: else the server still waits for one.
    asked: bool,
    /// Writes a request that is longer than the server's window.
    _writing: JoinSet<()>,
}

/// What the server sent in a session beside its output.
#[derive(Default)]
struct Heard {
    said: Vec<u8>,
    status: Option<u32>,
    signalled: bool,
    refused: bool,
    /// Whether anything came at all.
    anything: bool,
}

/// Why a session has not begun.
pub(super) enum NoAnswer {
    /// The session ended before anything arrived.
    Silent(Error),
    Failed(Error),
}

impl Exec {
    /// Starts `git-upload-pack` for `path`, writes `body` and waits for the first of its output.
    ///
    /// The only wait before that is for the server's window. With OpenSSH a session has a window of
    /// 0 until its command runs, which costs a round trip. Other servers (those in Go) take
    /// everything at once.
    pub(super) async fn begin(
        lease: Lease,
        path: &str,
        shown: &str,
        v2: bool,
        body: Bytes,
    ) -> Result<Exec, NoAnswer> {
        let (read, write) = lease.channel.split();
        let mut exec = Exec {
            read: Some(read),
            write: Arc::new(write),
            session: Some(lease.session),
            first: None,
            shown: shown.to_owned(),
            heard: Heard::default(),
            asked: !body.is_empty(),
            _writing: JoinSet::new(),
        };
        if exec.send(path, v2, body).await.is_ok() {
            exec.first = exec.receive().await?;
        } else {
            exec.session = None;
        }
        match exec.first {
            Some(_) => Ok(exec),
            None if exec.heard.anything => Err(NoAnswer::Failed(exec.heard.failure(shown))),
            None => Err(NoAnswer::Silent(exec.heard.failure(shown))),
        }
    }

    async fn send(&mut self, path: &str, v2: bool, body: Bytes) -> Result<(), russh::Error> {
        if v2 {
            // A server that does not accept the variable (sshd_config(5), AcceptEnv) answers in v0,
            // which its answer shows.
            self.write
                .set_env(false, "GIT_PROTOCOL", "version=2")
                .await?;
        }
        self.write.exec(true, command(path)).await?;
        if body.len() <= self.write.writable_packet_size().await {
            self.write.data_bytes(body).await?;
        } else {
            // In a task of its own, since the server may send much before it reads.
            let write = self.write.clone();
            self._writing.spawn(async move {
                let _ = write.data_bytes(body).await;
            });
        }
        if let Some(session) = &self.session {
            session.open_ahead();
        }
        Ok(())
    }

    /// The next of the output; None at the session's end.
    async fn receive(&mut self) -> Result<Option<Bytes>, NoAnswer> {
        let Some(read) = &mut self.read else {
            return Ok(None);
        };
        let mut ending = false;
        loop {
            let message = if ending {
                // The exit status may come after the end of the output.
                tokio::time::timeout(CLOSE_TIMEOUT, read.wait())
                    .await
                    .unwrap_or(None)
            } else {
                read.wait().await
            };
            if let Some(data) = self.heard.take(&message) {
                return Ok(Some(data));
            }
            match message {
                Some(ChannelMsg::Eof) => ending = true,
                Some(ChannelMsg::Close) | None => {
                    self.read = None;
                    self.session = None;
                    return Ok(None);
                }
                Some(_) if self.heard.refused => {
                    return Err(NoAnswer::Failed(self.heard.failure(&self.shown)));
                }
                Some(_) => {}
            }
        }
    }
}

impl Chunks for Exec {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        match self.receive().await {
            Ok(Some(data)) => Ok(Some(data)),
            Ok(None) if self.heard.status == Some(0) => Ok(None),
            Ok(None) => Err(self.heard.failure(&self.shown)),
            Err(NoAnswer::Silent(e) | NoAnswer::Failed(e)) => Err(e),
        }
    }

    /// Ends the session without waiting for its end. It counts as one of the connection's sessions
    /// until the server closes it, when its process has ended.
    async fn end(&mut self) {
        let (Some(mut read), Some(mut session)) = (self.read.take(), self.session.take()) else {
            return;
        };
        let (write, asked) = (self.write.clone(), self.asked);
        tokio::spawn(async move {
            if !asked {
                // In v0, the end of input in place of a request is an error (gitprotocol-pack).
                let _ = write.data_bytes(Bytes::from_static(b"0000")).await;
            }
            let _ = write.eof().await;
            let closed =
                async { while !matches!(read.wait().await, Some(ChannelMsg::Close) | None) {} };
            if tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err() {
                session.abort();
                let _ = write.close().await;
                session.check().await;
            }
            session.open_ahead();
        });
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        let Some(mut session) = self.session.take() else {
            return;
        };
        session.abort();
        // This comes first: the connection may be waiting for this session's reader.
        self.read = None;
        let write = self.write.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = write.close().await;
                session.check().await;
            });
        }
    }
}

impl Heard {
    /// Returns the output that `message` holds; notes any other message.
    fn take(&mut self, message: &Option<ChannelMsg>) -> Option<Bytes> {
        match message {
            Some(ChannelMsg::Data { data }) => {
                self.anything = true;
                return (!data.is_empty()).then(|| data.clone());
            }
            Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => {
                self.said.extend_from_slice(data);
                let over = self.said.len().saturating_sub(MAX_SAID);
                self.said.drain(..over);
            }
            Some(ChannelMsg::ExitStatus { exit_status }) => self.status = Some(*exit_status),
            Some(ChannelMsg::ExitSignal { .. }) => self.signalled = true,
            Some(ChannelMsg::Failure) => self.refused = true,
            Some(ChannelMsg::Success) => {}
            _ => return None,
        }
        self.anything = true;
        None
    }

    /// The error for a session that ended before its answer was complete.
    fn failure(&self, shown: &str) -> Error {
        let said = sanitised(&self.said);
        let kind = if self.refused || self.status == Some(127) {
            Kind::Unsupported
        } else {
            refusal::kind(&said).unwrap_or(Kind::Network)
        };
        let quoted = if said.is_empty() {
            String::new()
        } else {
            format!("; the server says: {said}")
        };
        let sentence = match (kind, self.status) {
            (Kind::Unsupported, _) => {
                format!(
                    "{shown} does not run git-upload-pack for this user: check that Git is \
                     installed there and allowed{quoted}"
                )
            }
            (Kind::RepoNotFound, _) => {
                format!("there is no repository at {shown}, or this user may not see it{quoted}")
            }
            (Kind::Auth, _) => {
                format!("{shown} refuses this user access to the repository{quoted}")
            }
            (Kind::RateLimited, _) => {
                format!("{shown} is asked too often: try again later{quoted}")
            }
            (_, Some(status)) if status != 0 => {
                format!("{shown} failed with exit status {status}{quoted}")
            }
            _ if self.signalled => {
                format!("{shown} failed: its git-upload-pack was killed{quoted}")
            }
            _ => {
                format!("the connection to {shown} was cut before its answer was complete{quoted}")
            }
        };
        Error::new(kind, sentence).with(Key::Url, shown)
    }
}

/// The command for the server's shell, or for a program in its place. The path is quoted as Git
/// quotes it (quote.c, sq_quote_buf), since some servers parse the command themselves.
pub(super) fn command(path: &str) -> String {
    let quoted = path.replace('\'', r"'\''").replace('!', r"'\!'");
    format!("git-upload-pack '{quoted}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_as_git_does() {
        for (path, quoted) in [
            ("/srv/a b.git", "'/srv/a b.git'"),
            ("it's", r"'it'\''s'"),
            ("a!b", r"'a'\!'b'"),
            ("$(rm)`x`;\"\\", "'$(rm)`x`;\"\\'"),
        ] {
            assert_eq!(command(path), format!("git-upload-pack {quoted}"));
        }
    }

    #[test]
    fn what_servers_say() {
        let failure = |said: &str, status: Option<u32>| {
            let heard = Heard {
                said: said.as_bytes().to_vec(),
                status,
                ..Heard::default()
            };
            heard.failure("ssh://h/r")
        };
        const HINT: &str =
            "Please make sure you have the correct access rights\nand the repository exists.";
        for (said, status, kind) in [
            (
                "fatal: '/r' does not appear to be a git repository",
                128,
                Kind::RepoNotFound,
            ),
            ("ERROR: Repository not found.", 1, Kind::RepoNotFound),
            (
                "ERROR: The project you were looking for could not be found or you don't have \
                 permission to view it.",
                1,
                Kind::RepoNotFound,
            ),
            (
                "Forgejo: Cannot find repository: a/b",
                1,
                Kind::RepoNotFound,
            ),
            ("Gitea: Unauthorized", 1, Kind::Auth),
            (
                "ERROR: Permission to a/b.git denied to deploy key",
                1,
                Kind::Auth,
            ),
            (
                "fatal: detected dubious ownership in repository at '/r'",
                128,
                Kind::Auth,
            ),
            ("sh: 1: git-upload-pack: not found", 127, Kind::Unsupported),
            (
                "bash: git-upload-pack: command not found",
                1,
                Kind::Unsupported,
            ),
            (HINT, 128, Kind::Network),
            ("out of memory", 1, Kind::Network),
        ] {
            let error = failure(said, Some(status));
            assert_eq!(error.kind, kind, "{error}");
            assert!(
                error.message.contains("ssh://h/r") && error.message.contains("the server says"),
                "{error}"
            );
        }
        assert!(failure("", None).message.contains("was cut"));
        assert!(failure("", Some(3)).message.contains("exit status 3"));
    }
}
