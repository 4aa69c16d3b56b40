use super::*;

use std::path::Path;
use std::thread::JoinHandle;

use rmpv::Value;
use tokio::runtime::Runtime;

use crate::port::connection::memory::Client;

/// A server within this process, and its client.
struct Served {
    client: Client,
    thread: Option<JoinHandle<()>>,
    _runtime: Runtime,
}

fn serve() -> Served {
    let runtime = Runtime::new().unwrap();
    let (connection, client) = Connection::memory();
    let handle = runtime.handle().clone();
    let thread = std::thread::spawn(move || run(connection, &handle));
    Served {
        client,
        thread: Some(thread),
        _runtime: runtime,
    }
}

impl Served {
    fn ask(&self, pairs: &[(&str, Value)]) {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).into(), value.clone()));
        let mut frame = frame::begin();
        rmpv::encode::write_value(&mut frame, &Value::Map(pairs.collect())).unwrap();
        self.client.send(frame::end(frame));
    }

    /// The next reply or event.
    fn told(&mut self) -> Value {
        match frame::read(&mut self.client).unwrap() {
            Some(Frame::Body(body)) => rmpv::decode::read_value(&mut &body[..]).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// The next reply.
    #[cfg(feature = "fault-injection")]
    fn answer(&mut self) -> Value {
        loop {
            let told = self.told();
            if told["event"].is_nil() {
                return told;
            }
        }
    }

    /// Ends the input and waits for the server's end.
    fn end(&mut self) {
        self.client.close();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn text(path: &Path) -> Value {
    path.to_str().unwrap().into()
}

#[test]
fn requests_without_an_id_are_answered_in_order_and_before_the_end() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.yaml"), "x").unwrap();
    let mut served = serve();
    for at in 0..20 {
        let op = if at % 2 == 0 { "files" } else { "read" };
        served.ask(&[
            ("op", op.into()),
            ("path", text(dir.path())),
            ("file", "a.yaml".into()),
        ]);
    }
    served.end();
    for at in 0..20 {
        let expected = if at % 2 == 0 {
            Value::Array(vec!["a.yaml".into()])
        } else {
            "eA==".into()
        };
        let told = served.told();
        assert_eq!(told["ok"], expected, "{told}");
    }
}

#[test]
fn noise_is_answered_and_what_follows_it_is_served() {
    let mut served = serve();
    let mut noise = frame::begin();
    noise.extend_from_slice(b"\xc1");
    served.client.send(frame::end(noise));
    let mut huge = ((MAX_REQUEST + 1) as u32).to_be_bytes().to_vec();
    huge.resize(4 + MAX_REQUEST + 1, 0);
    served.client.send(huge);
    served.ask(&[("id", 3.into()), ("op", "ping".into())]);
    assert_eq!(served.told()["kind"], "invalid".into());
    assert_eq!(served.told()["kind"], "invalid".into());
    let pong = served.told();
    assert_eq!((&pong["id"], &pong["ok"]), (&3.into(), &true.into()));
    served.end();
}

#[cfg(feature = "fault-injection")]
mod under_way {
    use super::*;

    /// Asks for what hangs until it is cancelled or late.
    fn hang(served: &Served, id: u64, timeout: u64) {
        let fault = Value::Map(vec![
            ("at".into(), "start".into()),
            ("do".into(), "hang".into()),
        ]);
        served.ask(&[
            ("id", id.into()),
            ("op", "files".into()),
            ("path", "/".into()),
            ("timeout", timeout.into()),
            ("fault", fault),
        ]);
    }

    #[test]
    fn an_id_is_in_use_until_it_is_answered_and_others_are_served_meanwhile() {
        let mut served = serve();
        hang(&served, 7, 60_000);
        assert_eq!(served.told()["event"], "fault".into());
        served.ask(&[
            ("id", 7.into()),
            ("op", "files".into()),
            ("path", "/".into()),
        ]);
        let refused = served.told();
        assert_eq!(
            (&refused["id"], &refused["kind"]),
            (&7.into(), &"invalid".into())
        );
        served.ask(&[
            ("id", 8.into()),
            ("op", "files".into()),
            ("path", "/".into()),
        ]);
        assert_eq!(served.told()["id"], 8.into());
        served.ask(&[("id", 7.into()), ("op", "cancel".into())]);
        let cancelled = served.told();
        assert_eq!(
            (&cancelled["id"], &cancelled["kind"]),
            (&7.into(), &"cancelled".into())
        );
        served.ask(&[
            ("id", 7.into()),
            ("op", "files".into()),
            ("path", "/".into()),
        ]);
        assert!(served.told()["ok"].is_array());
        served.end();
    }

    #[test]
    fn what_is_late_is_answered_so() {
        let mut served = serve();
        hang(&served, 1, 50);
        let late = served.answer();
        assert_eq!((&late["id"], &late["kind"]), (&1.into(), &"timeout".into()));
        served.end();
    }

    #[test]
    fn more_requests_than_there_are_places_for_are_refused() {
        let mut served = serve();
        let fault = Value::Map(vec![
            ("at".into(), "start".into()),
            ("do".into(), "hang".into()),
        ]);
        // Each would need a thread to hang in: of those that wait for one, as many are in flight.
        for id in 1..=MAX_IN_FLIGHT as u64 {
            let hang = [
                ("id", id.into()),
                ("op", "files".into()),
                ("path", "/".into()),
                ("fault", fault.clone()),
            ];
            served.ask(&hang);
        }
        served.ask(&[
            ("id", 5000.into()),
            ("op", "files".into()),
            ("path", "/".into()),
        ]);
        let refused = served.answer();
        assert_eq!(
            (&refused["id"], &refused["kind"]),
            (&5000.into(), &"overloaded".into())
        );
        for id in 1..=MAX_IN_FLIGHT as u64 {
            served.ask(&[("id", id.into()), ("op", "cancel".into())]);
        }
        served.end();
    }
}
