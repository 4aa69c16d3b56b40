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
    assert_eq!(
        ended(&frame(PING, 0, 8), 10_000, 50, Duration::from_millis(101)),
        None
    );
    assert!(ended(&frame(PING, 0, 8), 10_000, 50, Duration::from_millis(50)).is_some());
    // A ref in each frame, as servers send them that write each by itself.
    assert_eq!(
        ended(&frame(DATA, 0, 60), 100_000, 1 << 14, Duration::ZERO),
        None
    );
}

/// Each is a request's answer that never ends. Informational answers are HEADERS that end nothing.
#[test]
fn small_parts_of_an_answer_end_a_connection_and_those_of_a_list_do_not() {
    let endless = 100_000;
    for (payload, flags, lasts) in [
        (0, 0, false),
        (1, 0, false),
        (16, 0, false),
        (31, 0, false),
        (32, 0, true),
        (50, 0, true),
        (1 << 14, 0, true),
        // Of padding alone.
        (256, PADDED, false),
        (1 << 14, PADDED, true),
    ] {
        let found = ended(
            &frame(DATA, flags, payload),
            endless,
            1 << 14,
            Duration::ZERO,
        );
        assert_eq!(found.is_none(), lasts, "{payload} {flags} {found:?}");
    }
    assert!(ended(&frame(HEADERS, 4, 30), endless, 1 << 14, Duration::ZERO).is_some());
    // Slow, in small parts: signs of life, and progress in a few letters.
    for payload in [1, 5, 20] {
        let part = frame(DATA, 0, payload);
        assert_eq!(
            ended(&part, 10_000, 50, Duration::from_millis(101)),
            None,
            "{payload}"
        );
    }
    // A pack in parts of all sizes, as pipes give them.
    let parts: Vec<u8> = [1, 4, 4, 60, 8192, 3, 4096]
        .iter()
        .flat_map(|size| frame(DATA, 0, *size))
        .collect();
    assert_eq!(ended(&parts, 10_000, 1 << 14, Duration::ZERO), None);
}

#[test]
fn informational_answers_by_http_1_end_a_connection() {
    let hints = b"HTTP/1.1 103 Early Hints\r\n\r\n";
    let start = Instant::now();
    for (gap, lasts) in [(Duration::ZERO, false), (Duration::from_millis(101), true)] {
        let mut frames = Frames::default();
        let mut each = (0..5_000).map(|n| frames.take(hints, start + gap * n));
        assert_eq!(each.all(|goes_on| goes_on), lasts, "{gap:?}");
    }
    // All in one.
    assert!(!Frames::default().take(&hints.repeat(5_000), start));
}

#[test]
fn http_1_is_none_of_its_business() {
    let mut frames = Frames::default();
    assert!(frames.take(b"HTTP/1.1 200 OK\r\n", Instant::now()));
    let pings = frame(PING, 0, 8).repeat(10_000);
    assert!(frames.take(&pings, Instant::now()));
}
