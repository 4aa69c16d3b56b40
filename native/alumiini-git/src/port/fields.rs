//! The fields of a request, each asked for by name and type.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use git2::Oid;
use rmpv::Value;

use crate::error::{Error, Kind, Result};

/// The most that `max_bytes` may say.
const MAX_BYTES_LIMIT: u64 = 64 << 20;
/// What `max_requests_per_second_per_host` may say.
const MIN_RATE: f64 = 0.001;
const MAX_RATE: f64 = 1_000_000.0;
/// Of an array, such as `prefixes`: each name that a server sends is held against all of them.
const MAX_ELEMENTS: usize = 256;

/// The fields of a map that have not been asked for yet. Where a key is given twice, the last one
/// counts.
pub(crate) struct Fields(BTreeMap<Vec<u8>, Value>);

impl Fields {
    /// From the pairs of a map. Keys that are not text are left out.
    pub(crate) fn new(pairs: Vec<(Value, Value)>) -> Self {
        let named = pairs.into_iter().filter_map(|(key, value)| match key {
            Value::String(key) => Some((key.into_bytes(), value)),
            _ => None,
        });
        Fields(named.collect())
    }

    /// The field's value; `None` where it is missing or nil, as for all of these.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0
            .remove(name.as_bytes())
            .filter(|value| !value.is_nil())
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
        Err(Error::invalid(format!(
            "field `{name}` must be {wanted}, got {got}"
        )))
    }

    /// A positive integer. `invalid` for anything else.
    pub(crate) fn id(&mut self, name: &str) -> Result<Option<u64>> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(id) if id > 0 => Ok(Some(id)),
                _ => Self::ill_typed(name, "a positive integer", &value),
            },
        }
    }

    /// An integer of at least 0. `invalid` for anything else.
    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<u64>> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(integer) => Ok(Some(integer)),
                None => Self::ill_typed(name, "a non-negative integer", &value),
            },
        }
    }

    /// A boolean; false where the field is missing. `invalid` for anything else.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool> {
        self.flag_or(name, false)
    }

    /// A boolean; `otherwise` where the field is missing. `invalid` for anything else.
    pub(crate) fn flag_or(&mut self, name: &str, otherwise: bool) -> Result<bool> {
        match self.take(name) {
            None => Ok(otherwise),
            Some(Value::Boolean(flag)) => Ok(flag),
            Some(value) => Self::ill_typed(name, "a boolean", &value),
        }
    }

    /// A number of requests, at least 1. `invalid` for anything else.
    pub(crate) fn limit(&mut self, name: &str) -> Result<Option<usize>> {
        match self.integer(name)? {
            // As many as a semaphore can count are no limit.
            Some(limit @ 1..) => Ok(Some(
                usize::try_from(limit).unwrap_or(usize::MAX).min(1 << 20),
            )),
            Some(_) => Err(Error::invalid(format!(
                "`{name}` is a positive integer, got 0"
            ))),
            None => Ok(None),
        }
    }

    /// A number of requests in a second, from [`MIN_RATE`] to [`MAX_RATE`]. `invalid` for anything
    /// else.
    pub(crate) fn rate(&mut self, name: &str) -> Result<Option<f64>> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(rate) if (MIN_RATE..=MAX_RATE).contains(&rate) => Ok(Some(rate)),
            Some(_) => Err(Error::invalid(format!(
                "`{name}` is a number from {MIN_RATE} to {MAX_RATE}, got {value}"
            ))),
            None => Self::ill_typed(name, "a number", &value),
        }
    }

    /// Whether the field is a map. It stays among those that have not been asked for.
    pub(crate) fn is_map(&self, name: &str) -> bool {
        matches!(self.0.get(name.as_bytes()), Some(Value::Map(_)))
    }

    /// The field `max_bytes`: how many bytes an answer may have, at most [`MAX_BYTES_LIMIT`].
    /// `invalid` where it is more.
    pub(crate) fn max_bytes(&mut self, default: u64) -> Result<u64> {
        self.at_most("max_bytes", default, MAX_BYTES_LIMIT)
    }

    /// A number; `default` where the field is missing. `invalid` where it is greater than `limit`.
    pub(crate) fn at_most(&mut self, name: &str, default: u64, limit: u64) -> Result<u64> {
        match self.integer(name)?.unwrap_or(default) {
            max if max <= limit => Ok(max),
            max => Err(Error::invalid(format!(
                "`{name}` is at most {limit}, got {max}"
            ))),
        }
    }

    /// An array of ids of objects, each 20 bytes or 40 hexadecimal digits; empty where the field is
    /// missing. `invalid` for anything else.
    pub(crate) fn ids(&mut self, name: &str) -> Result<HashSet<Oid>> {
        let values = match self.take(name) {
            None => return Ok(HashSet::new()),
            Some(Value::Array(values)) => values,
            Some(value) => return Self::ill_typed(name, "an array of ids", &value),
        };
        let id = |value: &Value| {
            let bytes = match value {
                Value::Binary(bytes) => &bytes[..],
                Value::String(text) => text.as_bytes(),
                _ => return None,
            };
            match bytes.len() {
                20 => Oid::from_bytes(bytes).ok(),
                40 => Oid::from_str(std::str::from_utf8(bytes).ok()?).ok(),
                _ => None,
            }
        };
        let ids = values.iter().map(id).collect::<Option<_>>();
        ids.ok_or_else(|| Error::invalid(format!("field `{name}` holds what is no id")))
    }

    /// An array of strings; empty where the field is missing. `invalid` as for
    /// [`names_if`](Self::names_if).
    pub(crate) fn names(&mut self, name: &str) -> Result<Vec<Vec<u8>>> {
        self.names_if(name).map(Option::unwrap_or_default)
    }

    /// An array of strings, as bytes. `invalid` for anything else, and for more than
    /// [`MAX_ELEMENTS`].
    pub(crate) fn names_if(&mut self, name: &str) -> Result<Option<Vec<Vec<u8>>>> {
        self.names_up_to(name, MAX_ELEMENTS)
    }

    /// The same of as many as `most`.
    pub(crate) fn names_up_to(&mut self, name: &str, most: usize) -> Result<Option<Vec<Vec<u8>>>> {
        let values = match self.take(name) {
            None => return Ok(None),
            Some(Value::Array(values)) if values.len() <= most => values,
            Some(Value::Array(values)) => {
                let got = values.len();
                return Err(Error::invalid(format!(
                    "`{name}` has at most {most} elements, got {got}"
                )));
            }
            Some(value) => return Self::ill_typed(name, "an array of strings", &value),
        };
        let bytes = |value| Fields([(name.as_bytes().to_vec(), value)].into()).bytes(name);
        values
            .into_iter()
            .map(bytes)
            .collect::<Result<_>>()
            .map(Some)
    }

    /// The pairs of a map. `invalid` for anything else.
    pub(crate) fn map(&mut self, name: &str) -> Result<Option<Vec<(Value, Value)>>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Map(pairs)) => Ok(Some(pairs)),
            Some(value) => Self::ill_typed(name, "a map", &value),
        }
    }

    /// A string or a binary, as bytes. `invalid` for anything else.
    pub(crate) fn bytes_if(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.into_bytes())),
            Some(Value::Binary(bytes)) => Ok(Some(bytes)),
            Some(value) => Self::ill_typed(name, "a string", &value),
        }
    }

    /// The same. `invalid` also where the field is missing.
    pub(crate) fn bytes(&mut self, name: &str) -> Result<Vec<u8>> {
        self.bytes_if(name)?.ok_or_else(|| missing(name))
    }

    /// A string of UTF-8. `invalid` for anything else; the error does not repeat it.
    pub(crate) fn text_if(&mut self, name: &str) -> Result<Option<String>> {
        // Not `from_utf8`'s own error: it would carry the bytes, and these may be a password.
        self.bytes_if(name)?
            .map(|bytes| {
                String::from_utf8(bytes)
                    .map_err(|_| Error::invalid(format!("field `{name}` is not valid UTF-8")))
            })
            .transpose()
    }

    /// The same. `invalid` also where the field is missing.
    pub(crate) fn text(&mut self, name: &str) -> Result<String> {
        self.text_if(name)?.ok_or_else(|| missing(name))
    }

    /// A path; empty where the field is missing. `invalid` where it is not a string, `unsafe_path`
    /// where it holds a NUL.
    pub(crate) fn path_or_empty(&mut self, name: &str) -> Result<PathBuf> {
        let bytes = self.bytes_if(name)?.unwrap_or_default();
        if bytes.contains(&0) {
            return Err(Error::new(
                Kind::UnsafePath,
                format!("`{name}` holds a NUL byte"),
            ));
        }
        Ok(OsString::from_vec(bytes).into())
    }

    /// The same; `None` where the field is missing, or empty.
    pub(crate) fn path_if(&mut self, name: &str) -> Result<Option<PathBuf>> {
        let path = self.path_or_empty(name)?;
        Ok(Some(path).filter(|path| !path.as_os_str().is_empty()))
    }

    /// The same. `invalid` also where the field is missing or empty.
    pub(crate) fn path(&mut self, name: &str) -> Result<PathBuf> {
        if !self.0.contains_key(name.as_bytes()) {
            return Err(missing(name));
        }
        let path = self.path_or_empty(name)?;
        if path.as_os_str().is_empty() {
            Err(Error::invalid(format!("`{name}` is empty")))
        } else {
            Ok(path)
        }
    }
}

/// `invalid`: the field `name` has to be there.
pub(crate) fn missing(name: &str) -> Error {
    Error::invalid(format!("field `{name}` is missing"))
}
