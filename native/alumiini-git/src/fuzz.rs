//! The doors of the fuzz targets (`fuzz/`), one for each parser of what others choose. They are
//! there in builds of `cargo fuzz` only.

pub use crate::net::fuzz::*;
pub use crate::repo::fuzz::*;

/// Bytes as a client may send them, through framing and decoding.
pub fn requests(mut bytes: &[u8]) {
    while let Ok(Some(frame)) = crate::port::frame::read(&mut bytes) {
        if let crate::port::frame::Frame::Body(body) = frame {
            match crate::ops::decode(&body) {
                Ok(crate::ops::Message::Request(request)) => drop(request.op.describe()),
                Ok(crate::ops::Message::Cancel { .. }) => {}
                Err((id, error)) => drop(crate::port::reply::reply(id, &Err(error))),
            }
        }
    }
}
