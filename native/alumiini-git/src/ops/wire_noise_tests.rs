//! Frames of noise, and frames that are damaged.

use proptest::prelude::*;
use rmpv::Value;

use super::wire_tests::{decode, map, pack};
use super::*;
use crate::error::Kind;

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..12).prop_map(Value::Binary),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((inner.clone(), inner), 0..4).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(body in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = super::decode(&body);
    }

    /// Maps with the right keys and any values get past the first checks.
    #[test]
    fn any_values_decode_or_are_refused_with_their_id(
        op in prop::sample::select(vec![
            "hello", "cancel", "ping", "sync", "files", "read", "head", "checkout", "ls_remote",
            "x",
        ]),
        id in 1u64..,
        fields in prop::collection::btree_map(
            prop::sample::select(vec![
                "url", "path", "branch", "ref", "depth", "file", "raw", "max_bytes", "auth",
                "timeout", "subpath", "rev", "protocol", "force", "working_tree",
            ]),
            value(), 0..8),
    ) {
        let mut pairs: Vec<(Value, Value)> = fields
            .into_iter()
            .map(|(key, value)| (key.into(), value))
            .collect();
        pairs.push(("op".into(), op.into()));
        pairs.push(("id".into(), id.into()));
        match super::decode(&pack(&Value::Map(pairs))) {
            Ok(Message::Request(request)) => prop_assert_eq!(request.id, Some(id)),
            Ok(Message::Cancel { id: at }) => prop_assert_eq!(at, id),
            Err((at, error)) => {
                prop_assert_eq!(at, Some(id));
                let refused = matches!(
                    error.kind,
                    Kind::Invalid | Kind::Unsupported | Kind::UnsafePath
                );
                prop_assert!(refused, "{}", error);
            }
        }
    }

    /// What was asked with one byte wrong, cut short, or with a length that lies.
    #[test]
    fn damaged_requests_do_no_harm(at in 0usize..60, byte in any::<u8>(), cut in 0usize..60) {
        let mut body = pack(&map(&[
            ("op", "sync".into()),
            ("id", 7.into()),
            ("url", "https://h/r".into()),
            ("branch", "main".into()),
            ("path", "/p".into()),
        ]));
        let length = body.len();
        body[at % length] = byte;
        let _ = super::decode(&body);
        let _ = super::decode(&body[..cut % length]);
    }
}

#[test]
fn a_frame_that_nests_too_deep_is_refused() {
    // By hand: what encodes a value goes as deep as that does.
    let nested = |levels: usize| {
        let mut body = pack(&map(&[
            ("op", "files".into()),
            ("path", "/".into()),
            ("x", Value::Nil),
        ]));
        body.pop();
        body.extend(vec![0x91; levels]);
        body.push(0xc0);
        decode(&body).map(drop)
    };
    assert!(nested(5).is_ok());
    assert_eq!(nested(20).unwrap_err().1.kind, Kind::Invalid);
    assert_eq!(nested(100_000).unwrap_err().1.kind, Kind::Invalid);
}
