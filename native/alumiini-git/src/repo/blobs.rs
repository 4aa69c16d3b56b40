//! The contents of many files of a repository, one after the other.

use git2::{ObjectType, Odb, Oid, Repository};

use crate::error::Result;
use crate::repo::pack::reader::PackReader;
use crate::repo::raw_object;

pub(crate) struct Blobs<'a> {
    odb: Odb<'a>,
    packs: PackReader,
}

impl<'a> Blobs<'a> {
    pub(crate) fn of(repo: &'a Repository) -> Result<Blobs<'a>> {
        Ok(Blobs {
            odb: raw_object::odb(repo)?,
            packs: PackReader::open(repo.commondir()),
        })
    }

    /// How many bytes the file `id` has. `corrupt` where it is none.
    pub(crate) fn size(&mut self, id: Oid) -> Result<u64> {
        if let Some(size) = self.packs.size(id) {
            return Ok(size);
        }
        let header = self.odb.read_header(id);
        match header.map_err(raw_object::unreadable(id))? {
            (size, ObjectType::Blob) => Ok(size as u64),
            _ => Err(raw_object::damaged(id, "it is not a file")),
        }
    }

    /// The file `id`, which has `size` bytes.
    pub(crate) fn content(&mut self, id: Oid, size: u64) -> Result<Vec<u8>> {
        // Most of what it is made of is not much larger.
        let max = size.saturating_mul(2).max(1 << 20);
        if let Some(content) = self.packs.content(id, max)
            && content.len() as u64 == size
        {
            return Ok(content);
        }
        let object = self.odb.read(id).map_err(raw_object::unreadable(id))?;
        Ok(object.data().to_vec())
    }
}
