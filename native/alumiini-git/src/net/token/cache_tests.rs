use super::*;
use crate::net::token::source::Google;

fn key(n: usize) -> TokenKey {
    TokenKey {
        source: TokenSource::Google(Google::Metadata {
            service_account: Some(n.to_string()),
            endpoint: None,
        }),
        way: Way {
            ca: None,
            route: None,
            addresses: Arc::default(),
        },
    }
}

#[test]
fn the_tokens_that_were_used_last_are_kept() {
    let mut kept = Kept::default();
    kept.entry(&key(0)).clock = 7;
    for n in 1..MAX_TOKENS * 2 {
        kept.entry(&key(n));
        // One that is used all the time stays.
        assert_eq!(kept.entry(&key(0)).clock, 7);
    }
    assert_eq!(kept.map.len(), MAX_TOKENS);
    assert!(kept.map.contains_key(&key(MAX_TOKENS * 2 - 1)));
    assert!(!kept.map.contains_key(&key(1)));
}
