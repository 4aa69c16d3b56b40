//! The golden frames of `protocol/golden/`.

use rmpv::Value;

use super::wire_tests::{body, unhex};
use super::*;

/// What `protocol/golden/README.md` shows of a frame, as msgpack.
fn shown(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::Nil,
        Json::Bool(flag) => (*flag).into(),
        Json::Number(number) => number
            .as_u64()
            .map(Value::from)
            .or_else(|| number.as_i64().map(Value::from))
            .unwrap_or_else(|| number.as_f64().unwrap().into()),
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => Value::Array(items.iter().map(shown).collect()),
        Json::Object(fields) => match fields.get("bin").and_then(Json::as_str) {
            Some(hex) if fields.len() == 1 => Value::Binary(unhex(hex)),
            _ => Value::Map(
                fields
                    .iter()
                    .map(|(key, value)| (key.as_str().into(), shown(value)))
                    .collect(),
            ),
        },
    }
}

/// The keys of a map come in no order that counts.
fn sorted(value: Value) -> Value {
    match value {
        Value::Map(pairs) => {
            let mut pairs: Vec<_> = pairs
                .into_iter()
                .map(|(key, value)| (key, sorted(value)))
                .collect();
            pairs.sort_by_key(|(key, _)| key.to_string());
            Value::Map(pairs)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// Every frame under `protocol/golden/` holds what its page says, and every request is understood.
#[test]
fn the_golden_frames_decode() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocol/golden");
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry
            .path()
            .extension()
            .is_none_or(|extension| extension != "hex")
        {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let (comment, rest) = text.split_once('\n').unwrap();
        let (json, hex) = rest.split_once('\n').unwrap();
        let body = body(unhex(hex));
        let value = rmpv::decode::read_value(&mut &body[..]).unwrap();
        let expected = shown(&serde_json::from_str(json).unwrap());
        assert_eq!(sorted(value), sorted(expected), "{:?}", entry.path());
        if comment.starts_with("# request") {
            match super::decode(&body) {
                Ok(_) => {}
                Err((_, error)) => panic!("{comment}: {error}"),
            }
        }
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} golden frames");
}
