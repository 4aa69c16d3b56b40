//! The wire, inwards: what a request's bytes mean. The contract is `protocol/README.md`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use rmpv::Value;

use crate::allowed::Allow;
use crate::branch::Branch;
use crate::error::{Error, Kind, Result};
use crate::fault::Fault;
use crate::net;
use crate::net::addresses::Addresses;
use crate::net::auth::{Auth, Login, Proof};
use crate::net::tls::Tls;
use crate::net::url;

pub(crate) const PROTOCOL: u64 = 1;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);
const DEFAULT_MAX_BYTES: u64 = 16 << 20;
const MOST_MAX_BYTES: u64 = 64 << 20;
/// A frame nests two maps (`auth` in the request); deeper than this is somebody's attack on the stack.
const MAX_DEPTH: usize = 16;
/// Each name that a server sends is held against all of them.
const MOST_PREFIXES: usize = 256;

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: Option<u64>,
    pub(crate) timeout: Duration,
    pub(crate) progress: bool,
    pub(crate) fault: Fault,
    pub(crate) op: Op,
}

#[derive(Debug)]
pub(crate) enum Op {
    Hello {
        protocol: u64,
        limits: Limits,
        allow: Allow,
    },
    Cancel {
        id: u64,
    },
    Ping,
    Sync(SyncRequest),
    Files {
        path: PathBuf,
        subpath: PathBuf,
    },
    Read {
        path: PathBuf,
        file: PathBuf,
        raw: bool,
        max_bytes: u64,
    },
    Head {
        path: PathBuf,
    },
    Checkout {
        path: PathBuf,
        rev: Vec<u8>,
        force: bool,
    },
    LsRemote {
        remote: RemoteRequest,
        name: RefName,
    },
    Refs {
        remote: RemoteRequest,
        prefixes: Vec<Vec<u8>>,
        max_bytes: u64,
    },
    /// The bytes of a URL.
    Normalize(Vec<u8>),
    Probe {
        remote: RemoteRequest,
    },
}

/// How many requests may be talking to remotes at a time. None: as before.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Limits {
    pub(crate) all: Option<usize>,
    pub(crate) per_host: Option<usize>,
}

/// A ref as a request names it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RefName {
    Branch(Vec<u8>),
    Tag(Vec<u8>),
    /// `HEAD`, or in full.
    Full(Vec<u8>),
}

/// A remote and how to get in. Shown by its URL without credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct RemoteRequest {
    pub(crate) url: Vec<u8>,
    pub(crate) auth: Option<Auth>,
    pub(crate) allow_insecure: bool,
    pub(crate) tls: Tls,
    pub(crate) proxy: Option<String>,
    pub(crate) no_proxy: Option<String>,
}

impl std::fmt::Debug for RemoteRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&url::shown(&self.url))
    }
}

#[derive(Debug)]
pub(crate) struct SyncRequest {
    pub(crate) remote: RemoteRequest,
    pub(crate) branch: Branch,
    pub(crate) path: PathBuf,
    /// Commits of history; 0 is all of it.
    pub(crate) depth: u32,
    pub(crate) force: bool,
    /// Whether files are checked out.
    pub(crate) working_tree: bool,
}

/// Decodes the body of a frame. On failure the id is there where one could be read, so that the error finds its request.
pub(crate) fn decode(body: &[u8]) -> Result<Request, (Option<u64>, Error)> {
    let mut rest = body;
    let value = rmpv::decode::read_value_with_max_depth(&mut rest, MAX_DEPTH).map_err(|_| {
        (
            None,
            Error::new(Kind::Invalid, "the frame is not msgpack (see protocol/README.md)"),
        )
    })?;
    let Value::Map(pairs) = value else {
        return Err((None, Error::new(Kind::Invalid, "the frame is not a msgpack map")));
    };
    let mut fields = Fields::new(pairs);
    let id = match fields.id("id") {
        Ok(id) => id,
        Err(error) => return Err((None, error)),
    };
    if !rest.is_empty() {
        let message = format!("{} bytes follow the map in the frame", rest.len());
        return Err((id, Error::new(Kind::Invalid, message)));
    }
    request(id, &mut fields).map_err(|error| (id, error))
}

fn request(id: Option<u64>, fields: &mut Fields) -> Result<Request> {
    let name = fields.text("op")?;
    let op = match name.as_str() {
        "hello" => Op::Hello {
            protocol: fields.integer("protocol")?.ok_or_else(|| missing("protocol"))?,
            limits: Limits {
                all: fields.limit("max_requests")?,
                per_host: fields.limit("max_requests_per_host")?,
            },
            allow: Allow::new(fields.names_if("schemes")?, local_dirs(fields)?, addresses(fields)?)?,
        },
        // The id of a `cancel` names the request to end.
        "cancel" => Op::Cancel {
            id: id.ok_or_else(|| missing("id"))?,
        },
        "ping" => Op::Ping,
        "sync" => Op::Sync(SyncRequest {
            branch: branch(fields)?,
            path: fields.path("path")?,
            depth: match fields.integer("depth")? {
                None => 1,
                Some(depth) => u32::try_from(depth)
                    .ok()
                    .filter(|depth| *depth < i32::MAX as u32)
                    .ok_or_else(|| {
                        invalid(format!(
                            "`depth` is at most {}, got {depth}; 0 is full history",
                            i32::MAX - 1
                        ))
                    })?,
            },
            force: fields.flag("force")?,
            working_tree: fields.flag_or("working_tree", true)?,
            remote: remote(fields)?,
        }),
        "files" => Op::Files {
            path: fields.path("path")?,
            subpath: fields.path_or_empty("subpath")?,
        },
        "read" => Op::Read {
            path: fields.path("path")?,
            file: fields.path("file")?,
            raw: fields.flag("raw")?,
            max_bytes: max_bytes(fields, DEFAULT_MAX_BYTES)?,
        },
        "head" => Op::Head {
            path: fields.path("path")?,
        },
        "checkout" => Op::Checkout {
            path: fields.path("path")?,
            rev: fields.bytes("rev")?,
            force: fields.flag("force")?,
        },
        "ls_remote" => Op::LsRemote {
            name: ref_name(fields)?,
            remote: remote(fields)?,
        },
        "refs" => Op::Refs {
            prefixes: fields.names("prefixes")?,
            max_bytes: max_bytes(fields, net::refs::DEFAULT_MAX_BYTES)?,
            remote: remote(fields)?,
        },
        "normalize" => Op::Normalize(fields.bytes("url")?),
        "probe" => Op::Probe {
            remote: remote(fields)?,
        },
        other => {
            let shown: String = other.chars().take(40).flat_map(char::escape_default).collect();
            let known = "hello, cancel, ping, sync, files, read, head, checkout, ls_remote, refs, normalize, probe";
            return Err(invalid(format!("unknown op `{shown}`; this worker knows {known}")));
        }
    };
    let timeout = match fields.integer("timeout")? {
        None => DEFAULT_TIMEOUT,
        Some(0) => return Err(invalid("`timeout` is a positive number of milliseconds, got 0")),
        // Past a year it is "never" for all purposes, and far from overflowing a clock.
        Some(ms) => Duration::from_millis(ms.min(365 * 24 * 3600 * 1000)),
    };
    Ok(Request {
        id,
        timeout,
        progress: fields.flag("progress")?,
        fault: fault(fields)?,
        op,
    })
}

fn max_bytes(fields: &mut Fields, otherwise: u64) -> Result<u64> {
    match fields.integer("max_bytes")?.unwrap_or(otherwise) {
        most if most <= MOST_MAX_BYTES => Ok(most),
        most => Err(invalid(format!("`max_bytes` is at most {MOST_MAX_BYTES}, got {most}"))),
    }
}

fn branch(fields: &mut Fields) -> Result<Branch> {
    let Some(reference) = fields.map("ref")? else {
        return fields.bytes("branch").map(Branch::new);
    };
    let mut reference = Fields::new(reference);
    for reserved in ["tag", "commit", "name"] {
        if reference.take(reserved).is_some() {
            let message = format!("a ref given as `{reserved}` is not supported by this version; give a branch");
            return Err(Error::new(Kind::Unsupported, message));
        }
    }
    reference.bytes("branch").map(Branch::new)
}

fn local_dirs(fields: &mut Fields) -> Result<Option<Vec<PathBuf>>> {
    let dirs = fields.names_if("allow_local")?;
    let path = |dir: Vec<u8>| PathBuf::from(OsString::from_vec(dir));
    let dirs = dirs.map(|dirs| dirs.into_iter().map(path).collect::<Vec<_>>());
    match dirs.iter().flatten().find(|dir| !dir.is_absolute()) {
        Some(dir) => Err(invalid(format!(
            "`allow_local` takes absolute paths, which `{}` is not",
            dir.display()
        ))),
        None => Ok(dirs),
    }
}

fn addresses(fields: &mut Fields) -> Result<Addresses> {
    let Some(rules) = fields.map("addresses")? else {
        return Ok(Addresses::default());
    };
    let mut rules = Fields::new(rules);
    let default = rules.text_if("default")?;
    Addresses::new(default.as_deref(), &rules.names("allow")?, &rules.names("deny")?)
}

/// A str is `HEAD`, a branch, or a name in full; a map says which of them.
fn ref_name(fields: &mut Fields) -> Result<RefName> {
    if let Some(Value::Map(_)) = fields.peek("ref") {
        let mut reference = Fields::new(fields.map("ref")?.unwrap_or_default());
        for (kind, make) in [
            ("branch", RefName::Branch as fn(Vec<u8>) -> RefName),
            ("tag", RefName::Tag),
            ("name", RefName::Full),
        ] {
            if let Some(name) = reference.bytes_if(kind)? {
                return Ok(make(name));
            }
        }
        return Err(invalid("field `ref` is a map of `branch`, `tag` or `name`"));
    }
    let name = fields.bytes_if("ref")?.unwrap_or_else(|| b"HEAD".to_vec());
    Ok(if name == b"HEAD" || name.starts_with(b"refs/") {
        RefName::Full(name)
    } else {
        RefName::Branch(name)
    })
}

fn remote(fields: &mut Fields) -> Result<RemoteRequest> {
    Ok(RemoteRequest {
        url: fields.bytes("url")?,
        auth: fields
            .map("auth")?
            .map(|auth| credentials(&mut Fields::new(auth)))
            .transpose()?,
        allow_insecure: fields.flag("allow_insecure")?,
        tls: tls(fields)?,
        proxy: fields.text_if("proxy")?,
        no_proxy: fields.text_if("no_proxy")?,
    })
}

fn credentials(auth: &mut Fields) -> Result<Auth> {
    let proof = match auth.text("type")?.as_str() {
        "basic" => {
            return Ok(Auth::Basic {
                username: auth.text("username")?,
                password: auth.text("password")?,
            });
        }
        "bearer" => {
            return Ok(Auth::Bearer {
                token: auth.text("token")?,
            });
        }
        "ssh_key" => Proof::Key {
            private_key: auth.text("private_key")?,
            passphrase: auth.text_if("passphrase")?,
        },
        "ssh_agent" => Proof::Agent {
            socket: Some(auth.path_or_empty("socket")?).filter(|socket| !socket.as_os_str().is_empty()),
        },
        _ => {
            let message = "`auth` is of type basic, bearer, ssh_key or ssh_agent";
            return Err(Error::new(Kind::Unsupported, message));
        }
    };
    Ok(Auth::Ssh(Login {
        username: auth.text_if("username")?,
        proof,
        known_hosts: auth.text_if("known_hosts")?,
    }))
}

fn tls(fields: &mut Fields) -> Result<Tls> {
    let mut tls = Fields::new(fields.map("tls")?.unwrap_or_default());
    let client = match (tls.text_if("cert")?, tls.text_if("key")?) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some((cert, key)),
        _ => return Err(invalid("`tls` has `cert` and `key` both or neither")),
    };
    Ok(Tls {
        ca: tls.text_if("ca")?,
        client,
    })
}

#[cfg(not(feature = "fault-injection"))]
fn fault(_fields: &mut Fields) -> Result<Fault> {
    Ok(Fault::default())
}

#[cfg(feature = "fault-injection")]
fn fault(fields: &mut Fields) -> Result<Fault> {
    use crate::fault::Act;
    let Some(plan) = fields.map("fault")? else {
        return Ok(Fault::default());
    };
    let mut plan = Fields::new(plan);
    let act = match plan.text("do")?.as_str() {
        "kill" => Act::Kill,
        "stop" => Act::Stop,
        "hang" => Act::Hang,
        "wedge" => Act::Wedge,
        _ => return Err(invalid("`fault.do` is kill, stop, hang or wedge")),
    };
    Ok(Fault::new(plan.text("at")?, act, plan.integer("after")?.unwrap_or(1)))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, message)
}

fn missing(name: &str) -> Error {
    invalid(format!("field `{name}` is missing"))
}

/// The fields of a map that have not been asked for yet. Where a key is given twice, the last one counts.
struct Fields(BTreeMap<Vec<u8>, Value>);

impl Fields {
    fn new(pairs: Vec<(Value, Value)>) -> Self {
        let named = pairs.into_iter().filter_map(|(key, value)| match key {
            Value::String(key) => Some((key.into_bytes(), value)),
            _ => None,
        });
        Fields(named.collect())
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name.as_bytes()).filter(|value| !value.is_nil())
    }

    fn ill_typed<T>(name: &str, wanted: &str, got: &Value) -> Result<T> {
        let got = match got {
            Value::Nil => "nil",
            Value::Boolean(_) => "a boolean",
            Value::Integer(_) => "an integer out of range",
            Value::F32(_) | Value::F64(_) => "a float",
            Value::String(_) | Value::Binary(_) => "text that is not UTF-8, or a string",
            Value::Array(_) => "an array",
            Value::Map(_) => "a map",
            Value::Ext(..) => "an extension",
        };
        Err(invalid(format!("field `{name}` must be {wanted}, got {got}")))
    }

    fn id(&mut self, name: &str) -> Result<Option<u64>> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(id) if id > 0 => Ok(Some(id)),
                _ => Self::ill_typed(name, "a positive integer", &value),
            },
        }
    }

    fn integer(&mut self, name: &str) -> Result<Option<u64>> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(integer) => Ok(Some(integer)),
                None => Self::ill_typed(name, "a non-negative integer", &value),
            },
        }
    }

    fn flag(&mut self, name: &str) -> Result<bool> {
        self.flag_or(name, false)
    }

    fn flag_or(&mut self, name: &str, otherwise: bool) -> Result<bool> {
        match self.take(name) {
            None => Ok(otherwise),
            Some(Value::Boolean(flag)) => Ok(flag),
            Some(value) => Self::ill_typed(name, "a boolean", &value),
        }
    }

    fn limit(&mut self, name: &str) -> Result<Option<usize>> {
        match self.integer(name)? {
            // As many as a semaphore can count are no limit.
            Some(limit @ 1..) => Ok(Some(usize::try_from(limit).unwrap_or(usize::MAX).min(1 << 20))),
            Some(_) => Err(invalid(format!("`{name}` is a positive integer, got 0"))),
            None => Ok(None),
        }
    }

    fn peek(&self, name: &str) -> Option<&Value> {
        self.0.get(name.as_bytes())
    }

    fn names(&mut self, name: &str) -> Result<Vec<Vec<u8>>> {
        self.names_if(name).map(Option::unwrap_or_default)
    }

    fn names_if(&mut self, name: &str) -> Result<Option<Vec<Vec<u8>>>> {
        let values = match self.take(name) {
            None => return Ok(None),
            Some(Value::Array(values)) if values.len() <= MOST_PREFIXES => values,
            Some(Value::Array(values)) => {
                let got = values.len();
                return Err(invalid(format!(
                    "`{name}` has at most {MOST_PREFIXES} elements, got {got}"
                )));
            }
            Some(value) => return Self::ill_typed(name, "an array of strings", &value),
        };
        let bytes = |value| Fields([(name.as_bytes().to_vec(), value)].into()).bytes(name);
        values.into_iter().map(bytes).collect::<Result<_>>().map(Some)
    }

    fn map(&mut self, name: &str) -> Result<Option<Vec<(Value, Value)>>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Map(pairs)) => Ok(Some(pairs)),
            Some(value) => Self::ill_typed(name, "a map", &value),
        }
    }

    fn bytes_if(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.into_bytes())),
            Some(Value::Binary(bytes)) => Ok(Some(bytes)),
            Some(value) => Self::ill_typed(name, "a string", &value),
        }
    }

    fn bytes(&mut self, name: &str) -> Result<Vec<u8>> {
        self.bytes_if(name)?.ok_or_else(|| missing(name))
    }

    fn text_if(&mut self, name: &str) -> Result<Option<String>> {
        // Not `from_utf8`'s own error: it would carry the bytes, and these may be a password.
        self.bytes_if(name)?
            .map(|bytes| String::from_utf8(bytes).map_err(|_| invalid(format!("field `{name}` is not valid UTF-8"))))
            .transpose()
    }

    fn text(&mut self, name: &str) -> Result<String> {
        self.text_if(name)?.ok_or_else(|| missing(name))
    }

    fn path_or_empty(&mut self, name: &str) -> Result<PathBuf> {
        let bytes = self.bytes_if(name)?.unwrap_or_default();
        if bytes.contains(&0) {
            return Err(Error::new(Kind::UnsafePath, format!("`{name}` holds a NUL byte")));
        }
        Ok(OsString::from_vec(bytes).into())
    }

    fn path(&mut self, name: &str) -> Result<PathBuf> {
        if !self.0.contains_key(name.as_bytes()) {
            return Err(missing(name));
        }
        let path = self.path_or_empty(name)?;
        if path.as_os_str().is_empty() {
            Err(invalid(format!("`{name}` is empty")))
        } else {
            Ok(path)
        }
    }
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
