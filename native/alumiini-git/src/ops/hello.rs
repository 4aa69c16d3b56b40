//! `hello`: the handshake, with the rules and limits of the server that started this process.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::net::host_limits::Limits;
use crate::ops::operation::{Context, Done, Operation};
use crate::policy::Allow;
use crate::policy::addresses::Addresses;
use crate::port::fields::{Fields, missing};
use crate::port::reply::{self, Answer};
use crate::port::request::PROTOCOL;
use crate::repo;

#[derive(Debug)]
pub(crate) struct Hello {
    protocol: u64,
    pub(crate) limits: Limits,
    pub(crate) allow: Allow,
}

impl Operation for Hello {
    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(Hello {
            protocol: fields
                .integer("protocol")?
                .ok_or_else(|| missing("protocol"))?,
            limits: Limits {
                all: fields.limit("max_requests")?,
                per_host: fields.limit("max_requests_per_host")?,
                per_second: fields.rate("max_requests_per_second_per_host")?,
            },
            allow: Allow::new(
                fields.names_if("schemes")?,
                local_dirs(fields)?,
                addresses(fields)?,
                root(fields)?,
            )?,
        })
    }

    fn describe(&self) -> String {
        "hello".into()
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        if self.protocol != PROTOCOL {
            let message = format!(
                "the client speaks protocol {}, this worker ({}) speaks {PROTOCOL}; use the \
                 binary and the library of one release",
                self.protocol,
                env!("CARGO_PKG_VERSION")
            );
            return Err(Error::new(Kind::Protocol, message));
        }
        context.worker.net.host_limits.limit(self.limits);
        context.worker.allowed.set(self.allow);
        let answer = Answer::Hello(reply::Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION"),
            libgit2: repo::libgit2_version(),
            pid: std::process::id(),
            target: env!("TARGET"),
        });
        Ok((answer, None))
    }
}

fn addresses(fields: &mut Fields) -> Result<Addresses> {
    let Some(rules) = fields.map("addresses")? else {
        return Ok(Addresses::default());
    };
    let mut rules = Fields::new(rules);
    let default = rules.text_if("default")?;
    Addresses::new(
        default.as_deref(),
        &rules.names("allow")?,
        &rules.names("deny")?,
    )
}

fn local_dirs(fields: &mut Fields) -> Result<Option<Vec<PathBuf>>> {
    let dirs = fields.names_if("allow_local")?;
    dirs.map(|dirs| {
        dirs.into_iter()
            .map(|dir| absolute("allow_local", dir))
            .collect()
    })
    .transpose()
}

/// Paths are held against it step by step, so it is one without `..`.
fn root(fields: &mut Fields) -> Result<Option<PathBuf>> {
    let root = fields.bytes_if("root")?.map(|root| absolute("root", root));
    match root.transpose()? {
        Some(root) if root.components().any(|step| step == Component::ParentDir) => {
            let message = format!("`root` takes no `..`, which is in `{}`", root.display());
            Err(Error::invalid(message))
        }
        root => Ok(root),
    }
}

fn absolute(field: &str, dir: Vec<u8>) -> Result<PathBuf> {
    let dir = PathBuf::from(OsString::from_vec(dir));
    match dir.is_absolute() {
        true => Ok(dir),
        false => {
            let message = format!(
                "`{field}` takes absolute paths, which `{}` is not",
                dir.display()
            );
            Err(Error::invalid(message))
        }
    }
}
