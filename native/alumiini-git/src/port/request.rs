//! Requests: what the bytes of a frame ask for. What each operation takes is in its own file
//! (`ops`).

use std::time::Duration;

use rmpv::Value;

use crate::error::{Error, Result};
use crate::port::fields::{Fields, missing};
use crate::task::fault::Fault;

/// The version of the contract in `protocol/README.md`; `hello` tells it.
pub(crate) const PROTOCOL: u64 = 1;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);
/// A year. A longer timeout counts as this one, which no clock overflows by.
const MAX_TIMEOUT_MS: u64 = 365 * 24 * 3600 * 1000;
/// The most levels of nesting in a frame. Requests have two (`auth` in the request); many more
/// could exhaust the stack.
const MAX_DEPTH: usize = 16;

/// What a frame says.
#[derive(Debug)]
pub(crate) enum Message<O> {
    /// The request with this id is not wanted any more. It has no reply.
    Cancel {
        id: u64,
    },
    Request(Request<O>),
}

/// An operation `O`, and what every request may say.
#[derive(Debug)]
pub(crate) struct Request<O> {
    pub(crate) id: Option<u64>,
    /// From when the request was read.
    pub(crate) timeout: Duration,
    /// Whether the client wants to be told how far it is.
    pub(crate) progress: bool,
    pub(crate) fault: Fault,
    pub(crate) op: O,
}

/// Decodes the body of a frame; `op` decodes an operation by its name. On failure the id is there
/// where one could be read, so that the error finds its request.
pub(crate) fn decode<O>(
    body: &[u8],
    op: impl FnOnce(&str, &mut Fields) -> Result<O>,
) -> Result<Message<O>, (Option<u64>, Error)> {
    let mut rest = body;
    let value = rmpv::decode::read_value_with_max_depth(&mut rest, MAX_DEPTH).map_err(|_| {
        (
            None,
            Error::invalid("the frame is not msgpack (see protocol/README.md)"),
        )
    })?;
    let Value::Map(pairs) = value else {
        return Err((None, Error::invalid("the frame is not a msgpack map")));
    };
    let mut fields = Fields::new(pairs);
    let id = fields.id("id").map_err(|error| (None, error))?;
    if !rest.is_empty() {
        let message = format!("{} bytes follow the map in the frame", rest.len());
        return Err((id, Error::invalid(message)));
    }
    message(id, &mut fields, op).map_err(|error| (id, error))
}

fn message<O>(
    id: Option<u64>,
    fields: &mut Fields,
    op: impl FnOnce(&str, &mut Fields) -> Result<O>,
) -> Result<Message<O>> {
    let name = fields.text("op")?;
    if name == "cancel" {
        // The id of a `cancel` names the request to end.
        let id = id.ok_or_else(|| missing("id"))?;
        return Ok(Message::Cancel { id });
    }
    let op = op(&name, fields)?;
    let timeout = match fields.integer("timeout")? {
        None => DEFAULT_TIMEOUT,
        Some(0) => {
            return Err(Error::invalid(
                "`timeout` is a positive number of milliseconds, got 0",
            ));
        }
        Some(ms) => Duration::from_millis(ms.min(MAX_TIMEOUT_MS)),
    };
    Ok(Message::Request(Request {
        id,
        timeout,
        progress: fields.flag("progress")?,
        fault: fault(fields)?,
        op,
    }))
}

#[cfg(not(feature = "fault-injection"))]
fn fault(_fields: &mut Fields) -> Result<Fault> {
    Ok(Fault::default())
}

#[cfg(feature = "fault-injection")]
fn fault(fields: &mut Fields) -> Result<Fault> {
    use crate::task::fault::Act;
    let Some(plan) = fields.map("fault")? else {
        return Ok(Fault::default());
    };
    let mut plan = Fields::new(plan);
    let act = match plan.text("do")?.as_str() {
        "kill" => Act::Kill,
        "stop" => Act::Stop,
        "hang" => Act::Hang,
        "wedge" => Act::Wedge,
        _ => return Err(Error::invalid("`fault.do` is kill, stop, hang or wedge")),
    };
    Ok(Fault::new(
        plan.text("at")?,
        act,
        plan.integer("after")?.unwrap_or(1),
    ))
}
