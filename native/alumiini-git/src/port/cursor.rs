//! Where an answer goes on that is told in several replies.

use serde::Serialize;

use crate::error::{Name, Result};
use crate::port::fields::Fields;

/// What the pages before have told. The client sends it back as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Cursor {
    /// The last path of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<Name>,
    /// How many entries they had.
    pub(crate) count: u64,
    /// And bytes of content.
    pub(crate) bytes: u64,
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
        })
    }

    /// The path after which this page begins.
    pub(crate) fn after(&self) -> Option<&[u8]> {
        self.path.as_ref().map(|path| &path.0[..])
    }
}
