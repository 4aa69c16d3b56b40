//! Frames that are wrong in every way that chance finds: each gets one answer, and the worker is
//! there for the next one.

mod support;

use std::io::{Read, Write};

use support::{Value, Worker, encode};

/// xorshift: the same noise on every run, and a seed that can be given to look further.
struct Noise(u64);

impl Noise {
    fn new() -> Noise {
        let seed = std::env::var("ALUMIINI_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or(0x9E37_79B9_7F4A_7C15);
        println!("ALUMIINI_SEED={seed}");
        Noise(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most + 1);
        (0..length).map(|_| self.next() as u8).collect()
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 7 } else { 9 }) {
            0 => Value::Nil,
            1 => (self.below(2) == 0).into(),
            2 => (self.next() as i64).into(),
            3 => Value::F64(f64::from_bits(self.next())),
            4 => Value::Binary(self.bytes(20)),
            5 => String::from_utf8_lossy(&self.bytes(20)).into_owned().into(),
            6 => Value::Ext(self.next() as i8, self.bytes(8)),
            7 => Value::Array((0..self.below(4)).map(|_| self.value(depth - 1)).collect()),
            _ => Value::Map(
                (0..self.below(4))
                    .map(|_| (self.value(depth - 1), self.value(depth - 1)))
                    .collect(),
            ),
        }
    }
}

fn soak(short: usize, long: usize) -> usize {
    if std::env::var_os("ALUMIINI_SOAK").is_some() {
        long
    } else {
        short
    }
}

/// The one answer to `body`. A request that is sent after it is answered, too; with ids, the two
/// come in any order.
fn is_answered(worker: &mut Worker, body: &[u8]) -> Value {
    worker.send(body);
    worker.ask(&[
        ("op", "hello".into()),
        ("id", u64::MAX.into()),
        ("protocol", 1.into()),
    ]);
    let (first, second) = (worker.next().unwrap(), worker.next().unwrap());
    let (answer, hello) = match first["id"] == u64::MAX.into() && !first["ok"].is_nil() {
        true => (second, first),
        false => (first, second),
    };
    assert_eq!(hello["ok"]["protocol"], 1.into(), "after {body:?}");
    assert!(
        !answer["err"].is_nil() || !answer["ok"].is_nil(),
        "{body:?}: {answer}"
    );
    answer
}

#[test]
fn random_bodies_are_refused_one_by_one() {
    let (mut noise, mut worker) = (Noise::new(), Worker::start());
    for _ in 0..soak(3_000, 100_000) {
        let body = noise.bytes(200);
        let answer = is_answered(&mut worker, &body);
        assert_eq!(answer["kind"], "invalid".into(), "{body:?}: {answer}");
    }
}

/// Right keys, and values of any type: with its id, for the id can be read.
#[test]
fn fields_of_any_type_are_refused_with_their_id() {
    let (mut noise, mut worker) = (Noise::new(), Worker::start());
    let ops = [
        "hello",
        "sync",
        "files",
        "read",
        "head",
        "checkout",
        "ls_remote",
        "what",
    ];
    let fields = [
        "protocol",
        "url",
        "branch",
        "ref",
        "path",
        "subpath",
        "file",
        "raw",
        "max_bytes",
        "depth",
        "force",
        "auth",
        "rev",
        "timeout",
        "progress",
        "allow_insecure",
    ];
    for n in 1..=soak(3_000, 100_000) as u64 {
        let mut pairs: Vec<(&str, Value)> =
            vec![("op", ops[noise.below(ops.len())].into()), ("id", n.into())];
        for _ in 0..noise.below(8) {
            pairs.push((fields[noise.below(fields.len())], noise.value(2)));
        }
        let answer = is_answered(&mut worker, &encode(&pairs));
        assert_eq!(answer["id"], n.into(), "{pairs:?}: {answer}");
    }
}

/// A request that is right but for some bits, or that ends early.
#[test]
fn damaged_requests_are_answered() {
    let (mut noise, mut worker) = (Noise::new(), Worker::start());
    let whole = encode(&[
        ("op", "read".into()),
        ("path", "/nowhere/at/all".into()),
        ("file", "deploy/app.yaml".into()),
        ("raw", true.into()),
        ("timeout", 60_000.into()),
    ]);
    for end in 0..whole.len() {
        let answer = is_answered(&mut worker, &whole[..end]);
        assert_eq!(answer["kind"], "invalid".into());
    }
    for _ in 0..soak(3_000, 100_000) {
        let mut body = whole.clone();
        for _ in 0..=noise.below(3) {
            let at = noise.below(body.len());
            body[at] ^= 1 << noise.below(8);
        }
        is_answered(&mut worker, &body);
    }
}

/// Lengths that lie: what they claim is neither allocated nor waited for beyond the end of the
/// input.
#[test]
fn frames_over_the_limit_cost_no_memory() {
    let mut worker = Worker::start();
    let pid = worker.child.id();
    let mut input = worker.input.take().unwrap();
    let block = vec![0x91; 1 << 20];
    for _ in 0..4 {
        let blocks = 64u32;
        input.write_all(&(blocks << 20).to_be_bytes()).unwrap();
        (0..blocks).for_each(|_| input.write_all(&block).unwrap());
        assert_eq!(worker.next().unwrap()["kind"], "invalid".into());
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let peak: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(peak < 64 << 10, "{peak} kB resident");
    // Claims 4 GiB and ends.
    input.write_all(b"\xff\xff\xff\xffabc").unwrap();
    drop(input);
    assert_eq!(worker.next().unwrap()["kind"], "invalid".into());
    assert_eq!(worker.next(), None);
    assert_eq!(worker.child.wait().unwrap().code(), Some(0));
}

/// Bytes without any framing: nothing but frames comes back, and the end of the input is the end.
#[test]
fn a_stream_of_noise_ends_with_its_input() {
    let mut noise = Noise::new();
    for _ in 0..soak(20, 500) {
        let mut worker = Worker::start();
        let mut input = worker.input.take().unwrap();
        let mut bytes = noise.bytes(4_000);
        // Else every length would be far over the limit, and skipped.
        bytes.iter_mut().step_by(7).for_each(|byte| *byte = 0);
        let _ = input.write_all(&bytes);
        drop(input);
        while let Some(answer) = worker.next() {
            assert!(!answer["err"].is_nil(), "{answer}");
        }
        let mut rest = Vec::new();
        worker
            .output
            .as_mut()
            .unwrap()
            .read_to_end(&mut rest)
            .unwrap();
        assert!(rest.is_empty());
        assert_eq!(worker.child.wait().unwrap().code(), Some(0));
    }
}
