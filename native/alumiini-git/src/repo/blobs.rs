//! The contents of many files of a repository.

use std::sync::{Arc, Mutex, PoisonError};

use git2::{ObjectType, Odb, Oid, Repository};

use crate::error::{Error, Result};
use crate::repo::pack::reader::{PackReader, Packs};
use crate::repo::{partial, raw_object};
use crate::task::all_of::all_of;
use crate::task::job::Job;

/// Files that one thread reads in a row, since files that are deltas of each other are often
/// neighbours.
const RUN: usize = 32;
/// With fewer bytes to read, other threads would start too late.
const WORTH_HELP: u64 = 128 << 10;
const MAX_HELPERS: usize = 3;
/// Larger files are read by libgit2, which holds fewer copies of their bases.
const LARGE: u64 = 8 << 20;

pub(crate) struct Blobs<'a> {
    odb: Odb<'a>,
    repo: &'a Repository,
    packs: Arc<Packs>,
    reader: PackReader,
}

impl<'a> Blobs<'a> {
    pub(crate) fn of(repo: &'a Repository) -> Result<Blobs<'a>> {
        let packs = Arc::new(Packs::open(repo.commondir()));
        Ok(Blobs {
            odb: raw_object::odb(repo)?,
            repo,
            reader: PackReader::new(packs.clone()),
            packs,
        })
    }

    /// The size of the file `id`. `corrupt` if it is not a file.
    pub(crate) fn size(&mut self, id: Oid) -> Result<u64> {
        if let Some(size) = self.reader.size(id) {
            return Ok(size);
        }
        let header = self.odb.read_header(id);
        let header = header.map_err(raw_object::unreadable(id));
        match header.map_err(|error| self.explained(id, error))? {
            (size, ObjectType::Blob) => Ok(size as u64),
            _ => Err(raw_object::damaged(id, "it is not a file")),
        }
    }

    /// The file `id`, which has `size` bytes.
    pub(crate) fn content(&mut self, id: Oid, size: u64) -> Result<Vec<u8>> {
        match packed(&mut self.reader, id, size) {
            Some(content) => Ok(content),
            None => self.unpacked(id),
        }
    }

    fn unpacked(&self, id: Oid) -> Result<Vec<u8>> {
        let object = self.odb.read(id).map_err(raw_object::unreadable(id));
        let object = object.map_err(|error| self.explained(id, error))?;
        Ok(object.data().to_vec())
    }

    fn explained(&self, id: Oid, error: Error) -> Error {
        match partial::is_partial(self.repo.commondir()) {
            true => partial::explained(&self.odb, id, error),
            false => error,
        }
    }

    /// Reads all of `files`, whose sizes are given, on several threads.
    pub(crate) fn contents(
        &mut self,
        files: Vec<(Oid, u64)>,
        job: &Arc<Job>,
    ) -> Result<Vec<Vec<u8>>> {
        let bytes: u64 = files.iter().map(|(_, size)| size).sum();
        if bytes < WORTH_HELP {
            let each = |(id, size)| {
                job.check()?;
                self.content(id, size)
            };
            return files.into_iter().map(each).collect();
        }
        let runs = files.len().div_ceil(RUN);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let helpers = (cores - 1).min(MAX_HELPERS).min(runs - 1);
        let work = Arc::new(Work {
            packs: self.packs.clone(),
            files,
            found: (0..runs).map(|_| Mutex::default()).collect(),
        });
        let (shared, stop) = (work.clone(), job.clone());
        // The threads give their memory back when they end.
        let hold = job.hold();
        all_of(runs, helpers, move |run| {
            let _hold = &hold;
            shared.read(run, &stop)
        });
        job.check()?;
        let mut contents = Vec::with_capacity(work.files.len());
        for (run, found) in work.found.iter().enumerate() {
            let found = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
            let ids = work.run(run).iter().map(|(id, _)| *id);
            // libgit2 reads the files that were not read here, for whatever reason.
            let found = found.into_iter().chain(std::iter::repeat(None));
            for (id, found) in ids.zip(found) {
                contents.push(match found {
                    Some(content) => content,
                    None => self.unpacked(id)?,
                });
            }
        }
        Ok(contents)
    }
}

struct Work {
    packs: Arc<Packs>,
    files: Vec<(Oid, u64)>,
    /// Of each run.
    found: Vec<Mutex<Vec<Option<Vec<u8>>>>>,
}

impl Work {
    fn run(&self, run: usize) -> &[(Oid, u64)] {
        &self.files[run * RUN..self.files.len().min((run + 1) * RUN)]
    }

    fn read(&self, run: usize, job: &Job) -> bool {
        let mut reader = PackReader::new(self.packs.clone());
        let mut contents = Vec::with_capacity(RUN);
        for (id, size) in self.run(run) {
            if job.is_cancelled() {
                return false;
            }
            contents.push(packed(&mut reader, *id, *size));
        }
        *self.found[run]
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = contents;
        true
    }
}

fn packed(reader: &mut PackReader, id: Oid, size: u64) -> Option<Vec<u8>> {
    if size > LARGE {
        return None;
    }
    // Most bases are not much larger.
    let max = size.saturating_mul(2).max(1 << 20);
    let content = reader.content(id, max)?;
    (content.len() as u64 == size).then_some(content)
}
