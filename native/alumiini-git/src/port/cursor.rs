//! Where the next page of an answer begins.

use git2::Oid;
use serde::Serialize;

use crate::error::{Name, Result};
use crate::port::fields::Fields;

/// What the pages so far contained. The client sends it back unchanged to get the next one.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Cursor {
    /// The last path of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<Name>,
    /// How many entries they had.
    pub(crate) count: u64,
    /// And bytes of content.
    pub(crate) bytes: u64,
    /// The commits that they are of: a name may lead to another one by now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) commits: Vec<Name>,
}

impl Cursor {
    /// The field `after` of a request; that of the first page where there is none.
    pub(crate) fn decode(fields: &mut Fields) -> Result<Cursor> {
        let Some(pairs) = fields.map("after")? else {
            return Ok(Cursor::default());
        };
        let mut pairs = Fields::new(pairs);
        Ok(Cursor {
            path: pairs.bytes_if("path")?.map(Name),
            count: pairs.integer("count")?.unwrap_or(0),
            bytes: pairs.integer("bytes")?.unwrap_or(0),
            commits: pairs.names("commits")?.into_iter().map(Name).collect(),
        })
    }

    /// The commit that the request calls `rev`, its `place`th, where a page before has said it.
    pub(crate) fn rev<'a>(&'a self, place: usize, rev: Option<&'a [u8]>) -> Option<&'a [u8]> {
        self.commits.get(place).map(|commit| &commit.0[..]).or(rev)
    }

    /// Notes of which commits the pages are.
    pub(crate) fn pin(&mut self, commits: &[Oid]) {
        self.commits = commits
            .iter()
            .map(|commit| Name(commit.to_string().into_bytes()))
            .collect();
    }

    /// The path after which this page begins.
    pub(crate) fn after(&self) -> Option<&[u8]> {
        self.path.as_ref().map(|path| &path.0[..])
    }
}
