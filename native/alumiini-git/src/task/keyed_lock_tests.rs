use super::*;

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn one_at_a_time_for_each_key_and_nobody_waits_longer_than_its_patience() {
    let locks = KeyedLock::default();
    let first = locks.take("a", LONG).await;
    assert!(first.is_some());
    assert!(locks.take("b", LONG).await.is_some());
    // Time goes on by itself when nothing else does.
    assert!(locks.take("a", Duration::from_secs(1)).await.is_none());
    drop(first);
    assert!(locks.take("a", Duration::ZERO).await.is_some());
}

#[tokio::test]
async fn what_nobody_holds_takes_no_room() {
    let locks = KeyedLock::default();
    for n in 0..10_000 {
        locks.take(n, LONG).await;
    }
    let held = locks.0.lock().unwrap().len();
    assert!(held < 1000, "{held}");
}
