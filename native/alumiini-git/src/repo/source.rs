//! A repository of this machine that is fetched from. Nothing in it is written.
//!
//! Somebody else may be at work there: what cannot be read is looked for again where the repository
//! has changed meanwhile.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use git2::{ErrorCode, ObjectType, OdbLookupFlags, Oid, Repository};
use tokio::sync::mpsc;

use crate::error::{Error, Hint, Key, Kind, Name, Result};
use crate::policy::Allow;
use crate::reference::Tip;
use crate::repo::pack::INCOMING;
use crate::repo::pack::install::{Boundary, no_commit};
use crate::repo::ref_files::{RefFiles, RefValue};
use crate::repo::rev_list::{self, Depth, History};
use crate::repo::{git_dir_check, git_failure, open, pack_objects, raw_object};
use crate::task::job::Job;

pub(crate) struct Source {
    repo: Repository,
    refs: RefFiles,
    /// As it is called in errors.
    shown: String,
}

/// A ref as it is listed.
pub(crate) struct Listed {
    pub(crate) name: Vec<u8>,
    pub(crate) oid: Oid,
    /// For an annotated tag, what it points to in the end.
    pub(crate) peeled: Option<Oid>,
    pub(crate) symbolic: Option<Vec<u8>>,
}

/// What is to be sent, and to whom.
pub(crate) struct Order {
    /// The ref that was at it; none where no ref need be.
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) tip: Tip,
    pub(crate) depth: Depth,
    /// The repository that receives it.
    pub(crate) git_dir: PathBuf,
    pub(crate) max_bytes: u64,
}

impl Source {
    /// Opens the repository at `path`, if it may be read.
    pub(crate) fn open(path: &Path, shown: &str, allow: &Allow) -> Result<Source> {
        let path = &allow.local(path, shown)?;
        for git_dir in [path.clone(), open::git_dir(path)] {
            git_dir_check::check(&git_dir).map_err(|error| error.with(Key::Url, shown))?;
        }
        let repo = Repository::open(path).map_err(|error| {
            let found = match error.code() {
                ErrorCode::NotFound => {
                    let message = format!("there is no Git repository at {shown}");
                    Error::new(Kind::RepoNotFound, message)
                }
                _ if error.message().contains("extension")
                    || error.message().contains("object format") =>
                {
                    let message = format!(
                        "the repository at {shown} needs what libgit2 lacks: {}",
                        error.message()
                    );
                    Error::new(Kind::Unsupported, message)
                }
                _ => {
                    let mut error = git_failure("open the remote repository")(error);
                    error.message = error.message.replace(&path.display().to_string(), shown);
                    error
                }
            };
            found.with(Key::Url, shown)
        })?;
        allow.parts(&[repo.path(), repo.commondir()], shown)?;
        let refs = RefFiles::new(repo.path(), repo.commondir());
        Ok(Source {
            repo,
            refs,
            shown: shown.to_owned(),
        })
    }

    /// What `name` is at.
    pub(crate) fn find(&self, name: &[u8]) -> Result<Option<Tip>> {
        let find = || {
            let Some(id) = self.refs.resolve(name)? else {
                return Ok(None);
            };
            let symref_target = match self.refs.read(name)? {
                Some(RefValue::Symbolic(target)) => Some(target),
                _ => None,
            };
            Ok(Some(Tip {
                id,
                commit: raw_object::peel(&self.odb()?, id)?.0,
                symref_target,
            }))
        };
        find().map_err(|error| self.damaged(error))
    }

    /// The refs whose names begin with one of `prefixes`, but for symbolic ones that stand for
    /// nothing, which Git does not list either.
    pub(crate) fn list<P: AsRef<[u8]>>(&self, prefixes: &[P]) -> Result<Vec<Listed>> {
        let odb = self.odb()?;
        let mut found = Vec::new();
        for (name, value) in self
            .refs
            .list(prefixes)
            .map_err(|error| self.damaged(error))?
        {
            let (oid, symbolic) = match value {
                RefValue::Id(oid) => (Some(oid), None),
                RefValue::Symbolic(target) => {
                    (self.refs.resolve(&target).unwrap_or_default(), Some(target))
                }
            };
            if let Some(oid) = oid {
                // One whose object is lost is there all the same, as in Git.
                let peeled = raw_object::peel(&odb, oid).ok().map(|(peeled, _)| peeled);
                found.push(Listed {
                    name,
                    oid,
                    peeled: peeled.filter(|peeled| *peeled != oid),
                    symbolic,
                });
            }
        }
        Ok(found)
    }

    /// Sends what the receiver lacks of the commit, as one pack. Blocks while `sink` is full.
    pub(crate) fn send(
        &self,
        order: &Order,
        sink: &mpsc::Sender<Bytes>,
        job: &Job,
    ) -> Result<Boundary> {
        let before = self.packs();
        self.try_send(order, sink, job).map_err(|error| {
            let moved = || {
                let now = |name: &Vec<u8>| self.refs.resolve(name).unwrap_or_default();
                order
                    .name
                    .as_ref()
                    .is_some_and(|name| now(name) != Some(order.tip.id))
                    || self.packs() != before
            };
            match error.kind {
                Kind::Corrupt | Kind::Io if moved() => {
                    let message = format!("{} changed while it was read; try again", self.shown);
                    Error::new(Kind::Network, message).hinted(Hint::Moved)
                }
                _ => self.damaged(error),
            }
        })
    }

    fn try_send(&self, order: &Order, sink: &mpsc::Sender<Bytes>, job: &Job) -> Result<Boundary> {
        let objects = self.repo.commondir().join("objects");
        let borrowed =
            pack_objects::borrow(&order.git_dir.join(INCOMING).join("source"), &objects)?;
        let from = History {
            odb: borrowed.odb().map_err(git_failure("open the objects"))?,
            shallow: open::shallow(self.repo.commondir())?.into_iter().collect(),
        };
        let receiver = open::managed(&order.git_dir)?;
        let to = History {
            odb: receiver.odb().map_err(git_failure("open the objects"))?,
            shallow: open::shallow(&order.git_dir)?.into_iter().collect(),
        };
        let tips = tips(&order.git_dir, &to)?;
        match from.odb.read_header(order.tip.commit) {
            Ok((_, kind)) if kind != ObjectType::Commit => return Err(no_commit(order.tip.commit)),
            Err(error) if order.name.is_none() && error.code() == ErrorCode::NotFound => {
                return Err(self.lacks(order.tip.commit));
            }
            _ => {}
        }
        let missing = rev_list::missing(&from, &to, &tips, &[order.tip.commit], order.depth, job)?;
        let is_known = |id, _| to.odb.exists_ext(id, OdbLookupFlags::NO_REFRESH);
        let mut pack = pack_objects::gather(&borrowed, &missing.commits, is_known, job)?;
        if order.tip.id != order.tip.commit && !is_known(order.tip.id, ObjectType::Tag) {
            pack_objects::add(&mut pack, order.tip.id)?;
        }
        pack_objects::send(&mut pack, order.max_bytes, sink, job)?;
        Ok(missing.boundary)
    }

    fn lacks(&self, commit: Oid) -> Error {
        let message = format!("{} has no commit {commit}", self.shown);
        Error::new(Kind::RefNotFound, message)
            .with(Key::Url, self.shown.as_str())
            .with(Key::Ref, Name::new(commit.to_string().as_bytes()))
    }

    fn odb(&self) -> Result<git2::Odb<'_>> {
        self.repo
            .odb()
            .map_err(git_failure("open the remote's objects"))
    }

    /// Names of packs: they change when the repository is packed or something is pushed to it.
    fn packs(&self) -> BTreeSet<OsString> {
        let entries = fs::read_dir(self.repo.commondir().join("objects/pack"));
        entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name())
            .collect()
    }

    /// Says whose damage it is.
    fn damaged(&self, mut error: Error) -> Error {
        if error.kind == Kind::Corrupt {
            error.message = format!(
                "{} is damaged: {}; run git fsck there",
                self.shown, error.message
            );
        }
        if error.kind != Kind::Cancelled {
            error.with(Key::Url, self.shown.as_str())
        } else {
            error
        }
    }
}

/// The commits that the refs of a repository hold.
fn tips(git_dir: &Path, history: &History<'_>) -> Result<Vec<Oid>> {
    let refs = RefFiles::new(git_dir, git_dir);
    let mut tips = HashSet::new();
    for (name, value) in refs.list::<&[u8]>(&[])? {
        let id = match value {
            RefValue::Id(id) => Some(id),
            RefValue::Symbolic(_) => refs.resolve(&name).unwrap_or_default(),
        };
        // What a broken ref holds is simply not there.
        tips.extend(
            id.and_then(|id| raw_object::peel(&history.odb, id).ok())
                .map(|(id, _)| id),
        );
    }
    Ok(tips.into_iter().collect())
}
