//! `ping`: whether requests are being read. A ping with an id is answered by the thread that reads
//! requests.

use crate::error::Result;
use crate::ops::operation::{Context, Done, Operation};
use crate::port::fields::Fields;
use crate::port::reply::Answer;

#[derive(Debug)]
pub(crate) struct Ping;

impl Ping {
    pub(crate) const ANSWER: Answer = Answer::Flag(true);
}

impl Operation for Ping {
    fn decode(_fields: &mut Fields) -> Result<Self> {
        Ok(Ping)
    }

    fn describe(&self) -> String {
        "ping".into()
    }

    async fn queued(self, _context: Context<'_>) -> Result<Done> {
        Ok((Ping::ANSWER, None))
    }
}
