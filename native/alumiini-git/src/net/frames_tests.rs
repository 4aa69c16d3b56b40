use super::*;

fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
    let length = (payload as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
    frame.resize(HEAD + payload, 7);
    frame
}

const SETTINGS: u8 = 4;
const PING: u8 = 6;

/// After which of so many repetitions of `bytes`, one each `gap`, the connection ended.
fn ended(bytes: &[u8], times: usize, size: usize, gap: Duration) -> Option<usize> {
    let start = Instant::now();
    let mut frames = Frames::default();
    assert!(frames.take(&frame(SETTINGS, 0, 0), start));
    (0..times).find(|n| {
        !bytes
            .chunks(size)
            .all(|part| frames.take(part, start + gap * *n as u32))
    })
}

#[test]
fn frames_that_are_no_answer_end_a_connection_however_they_are_cut() {
    let most = MOST as usize;
    for bytes in [
        frame(PING, 0, 8),
        frame(SETTINGS, 0, 6),
        frame(DATA, 0, 0),
        frame(HEADERS, 4, 3),
        frame(77, 0, 20_000),
    ] {
        for size in [1, 2, 9, 10, 1 << 14] {
            let found = ended(&bytes, 2 * most, size, Duration::ZERO);
            assert_eq!(found, Some(most - 1), "{bytes:?}");
        }
    }
    let tickets = ended(&[], 1, 1, Duration::ZERO);
    assert_eq!(tickets, None);
    let (mut frames, now) = (Frames::default(), Instant::now());
    assert_eq!((0..2 * most).find(|_| !frames.take(&[], now)), Some(most));
}

#[test]
fn answers_and_time_make_up_for_them() {
    let answer = [
        frame(8, 0, 4),
        frame(PING, 0, 8),
        frame(HEADERS, 4, 30),
        frame(DATA, 0, 100),
        frame(DATA, END_STREAM, 0),
    ]
    .concat();
    assert_eq!(ended(&answer, 10_000, 50, Duration::ZERO), None);
    assert_eq!(ended(&frame(PING, 0, 8), 10_000, 50, Duration::from_millis(101)), None);
    assert!(ended(&frame(PING, 0, 8), 10_000, 50, Duration::from_millis(50)).is_some());
    // A ref in each frame, as servers send them that write each by itself.
    assert_eq!(ended(&frame(DATA, 0, 60), 100_000, 1 << 14, Duration::ZERO), None);
}

#[test]
fn http_1_is_none_of_its_business() {
    let mut frames = Frames::default();
    assert!(frames.take(b"HTTP/1.1 200 OK\r\n", Instant::now()));
    let pings = frame(PING, 0, 8).repeat(10_000);
    assert!(frames.take(&pings, Instant::now()));
}
