//! The refs in a server's list that a caller wants.

use std::collections::HashMap;

use git2::Oid;

use crate::error::{Error, Key, Kind, Result};
use crate::net::git::pkt_line::{Chunks, PktLineReader};
use crate::task::share::{FREE, Share};

/// The most bytes of refs and capabilities that a server may send.
pub(in crate::net) const MAX_ADVERTISEMENT: u64 = 64 << 20;

/// The most refs that a server may list, wanted or not.
const MAX_REFS: usize = 1_000_000;
/// The default limit of a list: some 40,000 refs. A client may need 40 bytes of memory for each
/// byte.
pub(crate) const DEFAULT_MAX_BYTES: u64 = 4 << 20;

/// A ref as the server lists it. Names are bytes, and nothing has checked that they are well-formed
/// ref names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteRef {
    /// `HEAD` or `refs/…`, if the server is correct.
    pub(crate) name: Vec<u8>,
    /// The id in the ref: of an annotated tag, that of the tag object.
    pub(crate) oid: Oid,
    /// For an annotated tag, what it points to in the end.
    pub(crate) peeled: Option<Oid>,
    /// For a symbolic ref, the ref that it stands for.
    pub(crate) symref_target: Option<Vec<u8>>,
}

/// The memory that a list takes for each byte of names and ids: the refs themselves, when names are
/// short, and the frame of the reply.
const COST: u64 = 4;

/// Which refs of a list are wanted, and how many bytes of them.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) names: Names<'a>,
    /// Bytes of their names and ids; with more the list is `too_large`.
    pub(crate) max_bytes: u64,
    /// The pool that a list longer than [`FREE`] takes its memory from. `None` where no list is
    /// that long.
    share: Option<&'a Share<'a>>,
}

/// Which refs are wanted, by their full names.
#[derive(Clone, Copy)]
pub(crate) enum Names<'a> {
    /// The refs with these names.
    Exactly(&'a [u8]),
    /// The refs that begin with one of these; all refs if there is none.
    Prefixes(&'a [Vec<u8>]),
}

impl<'a> Wanted<'a> {
    /// The one ref of this full name.
    pub(crate) fn named(name: &'a [u8]) -> Self {
        Wanted {
            names: Names::Exactly(name),
            // Room for one ref with the longest name and the longest symref target that a line can
            // hold.
            max_bytes: 2 * FREE,
            share: None,
        }
    }

    /// The refs whose names begin with one of `prefixes`; all refs if there is none. Their names
    /// and ids may have `max_bytes` bytes; memory for them is taken from `share`.
    pub(crate) fn within(prefixes: &'a [Vec<u8>], max_bytes: u64, share: &'a Share<'a>) -> Self {
        Wanted {
            names: Names::Prefixes(prefixes),
            max_bytes,
            share: Some(share),
        }
    }

    #[cfg(test)]
    pub(in crate::net) fn unbounded(prefixes: &'a [Vec<u8>]) -> Self {
        Wanted {
            names: Names::Prefixes(prefixes),
            max_bytes: u64::MAX,
            share: None,
        }
    }

    /// The same without a limit of the caller's, to count refs.
    pub(crate) fn every(prefixes: &'a [Vec<u8>], share: &'a Share<'a>) -> Self {
        Wanted::within(prefixes, MAX_ADVERTISEMENT, share)
    }

    /// Waits until `bytes` of memory are free for this list. Meanwhile nothing is read, so the
    /// remote waits, too.
    pub(crate) async fn allow(&self, bytes: u64) -> Result<()> {
        match self.share {
            Some(share) if bytes > FREE => share.take(self.max_bytes.saturating_mul(COST)).await,
            _ => Ok(()),
        }
    }

    pub(in crate::net) fn includes(&self, name: &[u8]) -> bool {
        match self.names {
            Names::Exactly(wanted) => name == wanted,
            Names::Prefixes(prefixes) => {
                prefixes.is_empty() || prefixes.iter().any(|prefix| name.starts_with(prefix))
            }
        }
    }

    /// The prefixes that a server is asked for (gitprotocol-v2(5), `ref-prefix`). It may list more.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = &'a [u8]> {
        let (name, prefixes) = match self.names {
            Names::Exactly(name) => (Some(name), &[][..]),
            Names::Prefixes(prefixes) => (None, prefixes),
        };
        name.into_iter().chain(prefixes.iter().map(Vec::as_slice))
    }
}

impl RemoteRef {
    /// The bytes of the ref that count against a limit: its names, and its ids in hexadecimal.
    pub(crate) fn bytes(&self) -> u64 {
        let ids = if self.peeled.is_some() { 80 } else { 40 };
        (self.name.len() + self.symref_target.as_ref().map_or(0, Vec::len) + ids) as u64
    }

    /// The peeled id, or the id itself: a commit, unless a tag points to something else.
    pub(crate) fn peeled_or_id(&self) -> Oid {
        self.peeled.unwrap_or(self.oid)
    }
}

/// The refs of a v0 advertisement as its lines come.
pub(in crate::net) struct Advertised<'a> {
    refs: Kept<'a>,
    symrefs: HashMap<Vec<u8>, Vec<u8>>,
    count: usize,
    /// Whether the repository lists shallow commits.
    pub(in crate::net) shallow: bool,
}

impl<'a> Advertised<'a> {
    pub(in crate::net) fn new(wanted: Wanted<'a>) -> Self {
        Advertised {
            refs: Kept::new(wanted),
            symrefs: HashMap::new(),
            count: 0,
            shallow: false,
        }
    }

    /// `HEAD:refs/heads/main`, the value of a `symref` capability.
    pub(in crate::net) fn symref(&mut self, pair: &[u8]) {
        if let Some(colon) = pair.iter().position(|b| *b == b':') {
            self.symrefs
                .insert(pair[..colon].to_vec(), pair[colon + 1..].to_vec());
        }
    }

    /// A line is `<id> <name>`, a peeled `<id> <name>^{}`, or no ref: `capabilities^{}` of an empty
    /// repository, or `shallow <id>`.
    pub(in crate::net) async fn line<C: Chunks>(
        &mut self,
        reader: &PktLineReader<C>,
        line: &[u8],
    ) -> Result<()> {
        self.count += 1;
        bounded(reader, self.count)?;
        if let Some(oid) = line.strip_prefix(b"shallow ") {
            self.shallow = true;
            return parse_oid(oid).map(|_| ()).ok_or_else(|| malformed(reader));
        }
        let (oid, name) = match line.get(40) {
            Some(b' ') => (parse_oid(&line[..40]), &line[41..]),
            _ => (None, &b""[..]),
        };
        let Some(oid) = oid else {
            return Err(malformed(reader));
        };
        if name == b"capabilities^{}" {
            return Ok(());
        }
        if let Some(tag) = name.strip_suffix(b"^{}") {
            if let Some(last) = self.refs.kept.last_mut().filter(|last| last.name == tag) {
                last.peeled = Some(oid);
            }
            return Ok(());
        }
        // `.have` lines name objects of another repository from which this one borrows.
        if name == b".have" || !self.refs.wanted.includes(name) {
            return Ok(());
        }
        let found = RemoteRef {
            name: name.to_vec(),
            oid,
            peeled: None,
            symref_target: None,
        };
        self.refs.push(reader, found).await
    }

    pub(in crate::net) fn finish(mut self) -> Vec<RemoteRef> {
        for found in &mut self.refs.kept {
            if self.symrefs.is_empty() {
                break;
            }
            found.symref_target = self.symrefs.remove(&found.name);
        }
        self.refs.kept
    }
}

/// Collects the wanted refs of a list, within its limits.
pub(in crate::net) struct Kept<'a> {
    wanted: Wanted<'a>,
    pub(in crate::net) kept: Vec<RemoteRef>,
    bytes: u64,
}

impl<'a> Kept<'a> {
    pub(in crate::net) fn new(wanted: Wanted<'a>) -> Self {
        Kept {
            wanted,
            kept: vec![],
            bytes: 0,
        }
    }

    pub(in crate::net) async fn push<C: Chunks>(
        &mut self,
        reader: &PktLineReader<C>,
        found: RemoteRef,
    ) -> Result<()> {
        self.bytes += found.bytes();
        let limit = self.wanted.max_bytes;
        if self.bytes > limit {
            let mut error = reader
                .protocol(&too_many_bytes(limit))
                .with(Key::Limit, limit);
            error.kind = Kind::TooLarge;
            return Err(error);
        }
        self.wanted.allow(self.bytes).await?;
        self.kept.push(found);
        Ok(())
    }
}

/// The sentence of the error for a remote whose refs have more than `limit` bytes.
pub(crate) fn too_many_bytes(limit: u64) -> String {
    format!(
        "lists more than {limit} bytes of refs: ask for fewer by prefix, or allow more by max_bytes"
    )
}

/// A full id: 40 hexadecimal digits, not the shorter ones that `Oid` would fill up.
pub(in crate::net) fn parse_oid(hex: &[u8]) -> Option<Oid> {
    let hex = std::str::from_utf8(hex)
        .ok()
        .filter(|hex| hex.len() == 40)?;
    Oid::from_str(hex).ok()
}

pub(in crate::net) fn bounded<C: Chunks>(reader: &PktLineReader<C>, count: usize) -> Result<()> {
    if count <= MAX_REFS {
        return Ok(());
    }
    let mut error = reader
        .protocol(&format!("has more than {MAX_REFS} refs"))
        .with(Key::Limit, MAX_REFS as u64);
    error.kind = Kind::TooLarge;
    Err(error)
}

pub(in crate::net) fn malformed<C: Chunks>(reader: &PktLineReader<C>) -> Error {
    reader.protocol("sent a malformed list of refs")
}
