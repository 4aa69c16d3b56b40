use super::*;
use crate::error::Kind;
use crate::net::host_limits::state::MAX_HOLDS;
use futures_util::FutureExt;
use std::pin::Pin;
use std::sync::atomic::Ordering;

type Entering = Pin<Box<dyn Future<Output = Result<Share>>>>;

fn host(limit: usize) -> Arc<Host> {
    at_rate(limit, 0.0)
}

fn at_rate(limit: usize, rate: f64) -> Arc<Host> {
    let settings = Settings::default();
    settings.per_host.store(limit, Ordering::Relaxed);
    settings.set_per_second(rate);
    let host = Host::new(Arc::new(settings));
    host.close();
    host
}

fn line(repository: u64) -> Line {
    Line {
        repository,
        account: 0,
    }
}

fn of(account: u64) -> Line {
    Line {
        repository: 1,
        account,
    }
}

fn enter(host: &Arc<Host>, line: Line) -> Entering {
    let host = host.clone();
    Box::pin(async move { host.enter(line, || format!("r{}", line.repository)).await })
}

/// One that is let in at once.
fn begun(host: &Arc<Host>, line: Line) -> Share {
    let share = enter(host, line).now_or_never().unwrap().unwrap();
    share.begin();
    share
}

/// One that is not.
fn waiting(host: &Arc<Host>, line: Line) -> Entering {
    let mut entering = enter(host, line);
    assert!((&mut entering).now_or_never().is_none());
    entering
}

fn failed(kind: Kind) -> Result<()> {
    Err(Error::new(kind, "https://h/a does not work").with(Key::Url, "https://h/a"))
}

fn down() -> Error {
    failed(Kind::Network).unwrap_err().hinted(Hint::Unreachable)
}

fn asked_to_wait(kind: Kind, seconds: u64) -> Result<()> {
    failed(kind).map_err(|error| error.with(Key::RetryAfter, seconds))
}

/// A request of `line` comes to nothing.
fn fail(host: &Arc<Host>, line: Line) {
    let share = begun(host, line);
    share.watch(&failed(Kind::Network));
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    // The timers of others that are due at the same time.
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn lets_through_as_many_as_it_says_in_order() {
    let host = host(2);
    let first = begun(&host, line(1));
    let _second = begun(&host, line(1));
    let mut third = waiting(&host, line(1));
    let mut fourth = waiting(&host, line(1));
    drop(first);
    assert!((&mut fourth).now_or_never().is_none());
    drop((&mut third).now_or_never().unwrap().unwrap());
    assert!(fourth.now_or_never().unwrap().is_ok());
    assert_eq!(host.lock().running.len(), 1);
}

#[test]
fn who_gives_up_waiting_leaves_the_turn_to_the_next() {
    let host = host(1);
    let first = begun(&host, line(1));
    let gone = waiting(&host, line(1));
    let mut next = waiting(&host, line(1));
    drop(gone);
    assert_eq!(host.lock().turns.len(), 1);
    drop(first);
    assert!((&mut next).now_or_never().unwrap().is_ok());
    // Not even one that got its turn, and did not come to know.
    let first = begun(&host, line(1));
    let gone = waiting(&host, line(1));
    let next = waiting(&host, line(1));
    drop(first);
    drop(gone);
    assert!(next.now_or_never().unwrap().is_ok());
    assert!(host.lock().running.is_empty());
}

#[test]
fn a_host_that_was_not_reached_is_asked_by_one_and_answers_all() {
    let host = host(32);
    host.lock().circuit = Circuit::HalfOpen;
    let shares: Vec<Share> = (0..8).map(|_| begun(&host, line(1))).collect();
    let more = waiting(&host, line(2));
    shares[0].watch::<()>(&Err(down()));
    assert_eq!(more.now_or_never().unwrap().err(), Some(down()));
    drop(shares);
    // That is no fault of the repository's.
    assert_eq!(host.lock().failing.len(), 0);

    let probe = begun(&host, line(1));
    let mut more = waiting(&host, line(2));
    probe.watch(&Ok(()));
    assert!((&mut more).now_or_never().unwrap().is_ok());
}

#[test]
fn repositories_take_turns() {
    let host = host(1);
    let first = begun(&host, line(1));
    let mut many: Vec<Entering> = (0..1_000).map(|_| waiting(&host, line(1))).collect();
    let mut other = waiting(&host, line(2));
    drop(first);
    drop((&mut many[0]).now_or_never().unwrap().unwrap());
    // It comes after one of them, not after all.
    assert!((&mut other).now_or_never().unwrap().is_ok());
    assert!((&mut many[2]).now_or_never().is_none());
}

#[test]
fn those_that_fail_have_a_quarter_of_the_places_until_one_succeeds() {
    let host = host(8);
    for repository in 1..=20 {
        fail(&host, line(repository));
    }
    let broken: Vec<Share> = (1..=2).map(|n| begun(&host, line(n))).collect();
    let mut more: Vec<Entering> = (3..=20).map(|n| waiting(&host, line(n))).collect();
    // Others have the rest, and those that wait are not in their way.
    let good: Vec<Share> = (101..=106).map(|n| begun(&host, line(n))).collect();
    let mut late = waiting(&host, line(107));
    drop(good);
    assert!((&mut late).now_or_never().unwrap().is_ok());
    assert!((&mut more[0]).now_or_never().is_none());

    // One that is in order again is one of the others.
    broken[0].watch(&Ok(()));
    broken[0].judge(&Ok(()));
    assert!(!host.lock().failing.contains(1));
    drop(broken);
    let third = (&mut more[0]).now_or_never().unwrap().unwrap();
    third.begin();
    assert!((&mut more[1]).now_or_never().unwrap().is_ok());
    assert_eq!(host.lock().burdens, 2 - 1 + 1);
}

#[test]
fn with_few_places_those_that_fail_have_one() {
    let host = host(2);
    fail(&host, line(1));
    fail(&host, line(2));
    let _broken = begun(&host, line(1));
    let _more = waiting(&host, line(2));
    let _good = begun(&host, line(3));
}

#[tokio::test(start_paused = true)]
async fn what_makes_a_repository_fail() {
    let host = host(8);
    let is_failing = |n| host.lock().failing.contains(n);
    // The server failed, or the connection was cut.
    let share = begun(&host, line(1));
    share.watch(&failed(Kind::Network));
    drop(share);
    assert!(is_failing(1));
    // In the middle of an answer.
    let share = begun(&host, line(2));
    share.watch(&Ok(()));
    share.judge(&failed(Kind::Network));
    drop(share);
    assert!(is_failing(2));
    // A refusal is an answer.
    for kind in [Kind::Auth, Kind::RepoNotFound, Kind::RateLimited] {
        let share = begun(&host, line(1));
        share.watch(&failed(kind));
        drop(share);
        assert!(!is_failing(1), "{kind:?}");
    }
    // Given up, at its deadline for one, before an answer or in the middle of it.
    let (no_answer, half) = (begun(&host, line(3)), begun(&host, line(4)));
    let whole = begun(&host, line(5));
    half.watch(&Ok(()));
    whole.watch(&Ok(()));
    whole.judge(&Ok(()));
    drop(begun(&host, line(6)));
    pass(1).await;
    drop((no_answer, half, whole));
    assert!(is_failing(3) && is_failing(4) && !is_failing(5));
    // At once, it says nothing.
    assert!(!is_failing(6));
}

#[tokio::test(start_paused = true)]
async fn slow_requests_give_way_to_others_down_to_a_quarter() {
    let host = host(8);
    let slow: Vec<Share> = (1..=8).map(|n| begun(&host, line(n))).collect();
    let mut good: Vec<_> = (101..=120)
        .map(|n| tokio::spawn(enter_send(&host, line(n))))
        .collect();
    pass(9).await;
    assert!(slow.iter().all(|share| !is_withdrawn(share)));
    pass(1).await;
    // The oldest go on, and the others leave.
    let withdrawn: Vec<bool> = slow.iter().map(is_withdrawn).collect();
    assert_eq!(
        withdrawn,
        [false, false, true, true, true, true, true, true]
    );
    let kept: Vec<Share> = slow.into_iter().take(2).collect();
    for good in good.drain(..6) {
        good.await.unwrap().unwrap();
    }
    for good in good {
        good.await.unwrap().unwrap();
    }
    // They ask again as those that fail, and wait.
    let mut again = waiting(&host, line(3));
    // One that was only slow is a good one.
    kept[0].watch(&Ok(()));
    kept[0].judge(&Ok(()));
    assert!((&mut again).now_or_never().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_does_not_keep_the_only_place() {
    let host = host(1);
    let slow = begun(&host, line(1));
    let mut good = waiting(&host, line(2));
    pass(10).await;
    assert!(is_withdrawn(&slow));
    drop(slow);
    let good = (&mut good).now_or_never().unwrap().unwrap();
    good.begin();
    // It is nobody to give way to, however slow the other one is.
    let mut again = waiting(&host, line(1));
    pass(60).await;
    assert!(!is_withdrawn(&good));
    drop(good);
    assert!((&mut again).now_or_never().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_finds_out_whether_a_host_can_be_reached_is_not_stopped() {
    for circuit in [Circuit::Open, Circuit::HalfOpen] {
        let host = host(4);
        host.lock().circuit = circuit;
        let probe = begun(&host, line(1));
        let waiting: Vec<Entering> = (2..=9).map(|n| waiting(&host, line(n))).collect();
        pass(29).await;
        assert!(!is_withdrawn(&probe));
        probe.watch::<()>(&Err(down()));
        for told in waiting {
            assert_eq!(told.now_or_never().unwrap().err(), Some(down()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_look_is_never_one_in_the_past() {
    let host = host(1);
    host.hold(7, 5, &failed(Kind::RateLimited).unwrap_err());
    host.close();
    let _running = begun(&host, line(1));
    let _waits = waiting(&host, line(2));
    for _ in 0..80 {
        let now = Instant::now();
        let next = host.lock().next(&host.settings, now);
        assert!(next.is_none_or(|next| next > now), "{:?}", next);
        pass(1).await;
    }
    assert!(host.lock().timer.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_cannot_be_reached_makes_no_repository_fail() {
    let host = host(8);
    let slow = begun(&host, line(1));
    pass(10).await;
    host.admit();
    assert!(host.lock().failing.contains(1));
    slow.watch::<()>(&Err(down()));
    drop(slow);
    assert!(!host.lock().failing.contains(1));
    assert_eq!(host.lock().burdens, 0);
}

fn enter_send(host: &Arc<Host>, line: Line) -> impl Future<Output = Result<()>> + Send + use<> {
    let host = host.clone();
    async move {
        let share = host.enter(line, String::new).await?;
        share.begin();
        share.watch(&Ok(()));
        share.judge(&Ok(()));
        Ok(())
    }
}

fn is_withdrawn(share: &Share) -> bool {
    share.host.lock().running[&share.number].is_withdrawn
}

#[tokio::test(start_paused = true)]
async fn slow_ones_stay_where_nobody_waits_or_the_host_is_slow_itself() {
    let host = host(8);
    let slow: Vec<Share> = (1..=8).map(|n| begun(&host, line(n))).collect();
    pass(20).await;
    // Those that fail wait, too, but are nobody to give way to.
    let _more = waiting(&host, line(1));
    pass(20).await;
    assert!(slow.iter().all(|share| !is_withdrawn(share)));
    drop(slow);

    let host = self::host(8);
    for _ in 0..50 {
        let share = begun(&host, line(1));
        pass(8).await;
        share.watch(&Ok(()));
        share.judge(&Ok(()));
    }
    let slow: Vec<Share> = (1..=8).map(|n| begun(&host, line(n))).collect();
    let _others: Vec<Entering> = (11..=20).map(|n| waiting(&host, line(n))).collect();
    pass(29).await;
    assert!(slow.iter().all(|share| !is_withdrawn(share)));
    pass(31).await;
    assert_eq!(slow.iter().filter(|share| is_withdrawn(share)).count(), 6);
}

#[tokio::test(start_paused = true)]
async fn so_many_a_second() {
    let host = at_rate(1_000, 4.0);
    let start = Instant::now();
    let mut asked: Vec<_> = (0..20)
        .map(|n| {
            let entering = enter_send(&host, line(n));
            tokio::spawn(async move {
                entering.await.unwrap();
                Instant::now()
            })
        })
        .collect();
    let mut times = vec![];
    for asked in asked.drain(..) {
        times.push((asked.await.unwrap() - start).as_millis());
    }
    let expected: Vec<u128> = (0..20u128).map(|n| 250 * n.saturating_sub(3)).collect();
    // Tokio's clock counts milliseconds.
    for (time, expected) in times.iter().zip(&expected) {
        assert!((*expected..expected + 5).contains(time), "{times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_token_has_no_place_and_may_leave() {
    let host = at_rate(8, 0.5);
    drop(begun(&host, line(1)));
    let gone = waiting(&host, line(1));
    let next = tokio::spawn(enter_send(&host, line(2)));
    pass(1).await;
    assert_eq!(host.lock().running.len(), 0);
    assert_eq!(host.lock().turns.len(), 2);
    drop(gone);
    let start = Instant::now();
    next.await.unwrap().unwrap();
    assert!(start.elapsed() <= Duration::from_millis(1_005));
    // A turn that was not used does not count.
    pass(2).await;
    drop(enter(&host, line(1)).now_or_never().unwrap().unwrap());
    drop(begun(&host, line(1)));
    assert!(host.lock().timer.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_says_for_how_long_is_left_alone_by_whom_it_said_it_to() {
    for kind in [Kind::RateLimited, Kind::Network] {
        let host = host(8);
        let told = begun(&host, of(1));
        told.watch(&asked_to_wait(kind, 30));
        drop(told);
        assert_eq!(host.lock().failing.len(), 0);
        let start = Instant::now();
        let held = tokio::spawn(enter_send(&host, of(1)));
        // Another account is another matter.
        drop(begun(&host, of(2)));
        held.await.unwrap().unwrap();
        let waited = start.elapsed();
        assert!(
            (Duration::from_secs(30)..Duration::from_millis(30_005)).contains(&waited),
            "{waited:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_such_answers_the_longer_one_counts() {
    let host = host(8);
    let (first, second) = (begun(&host, of(1)), begun(&host, of(1)));
    first.watch(&asked_to_wait(Kind::RateLimited, 30));
    second.watch(&asked_to_wait(Kind::RateLimited, 1));
    drop((first, second));
    let mut held = waiting(&host, of(1));
    pass(29).await;
    assert!((&mut held).now_or_never().is_none());
    pass(1).await;
    assert!(held.now_or_never().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn after_that_it_is_not_asked_by_all_at_once() {
    let host = host(8);
    begun(&host, of(1)).watch(&asked_to_wait(Kind::RateLimited, 30));
    pass(30).await;
    let first: Vec<Share> = (0..2).map(|_| begun(&host, of(1))).collect();
    let mut third = waiting(&host, of(1));
    first[0].watch(&Ok(()));
    assert!((&mut third).now_or_never().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_would_wait_for_nothing_is_told_at_once() {
    let host = host(1);
    let within = |seconds| {
        let patience = Arc::new(patience::Patience::default());
        patience.until(Some(Instant::now() + Duration::from_secs(seconds)));
        Box::pin(patience::scope(patience, enter(&host, of(1))))
    };
    let told = begun(&host, of(1));
    // Those that wait already, and those that come later.
    let mut short = within(10);
    let mut long = within(60);
    assert!((&mut short).now_or_never().is_none());
    assert!((&mut long).now_or_never().is_none());
    told.watch(&asked_to_wait(Kind::Network, 30));
    drop(told);
    let refused = |entering: Option<Result<Share>>| entering.unwrap().err().unwrap();
    let error = refused(short.now_or_never());
    assert_eq!(
        (error.kind, error.detail.get(&Key::RetryAfter)),
        (Kind::RateLimited, Some(&30u64.into()))
    );
    pass(5).await;
    let error = refused(within(20).now_or_never());
    assert_eq!(error.detail[&Key::RetryAfter], 25u64.into());
    assert!((&mut long).now_or_never().is_none());
    pass(25).await;
    assert!(long.now_or_never().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn no_host_is_left_alone_without_end() {
    let host = host(8);
    begun(&host, of(1)).watch(&asked_to_wait(Kind::RateLimited, u64::MAX));
    pass(299).await;
    let error = enter(&host, of(1)).now_or_never().unwrap().err().unwrap();
    assert!(error.detail[&Key::RetryAfter].as_u64() > Some(1 << 31));
    pass(1).await;
    drop(begun(&host, of(1)));
    // Nor does anybody wait for that without end.
    begun(&host, of(1)).watch(&asked_to_wait(Kind::RateLimited, 61));
    let told = enter(&host, of(1)).now_or_never().unwrap();
    assert_eq!(told.err().unwrap().detail[&Key::RetryAfter], 61u64.into());
    pass(1).await;
    let _waits = waiting(&host, of(1));
    for account in 0..MAX_HOLDS as u64 + 10 {
        host.hold(
            account,
            60 + account,
            &failed(Kind::RateLimited).unwrap_err(),
        );
    }
    assert_eq!(host.lock().holds.len(), MAX_HOLDS);
    assert!(!host.lock().holds.contains_key(&0));
}

#[tokio::test(start_paused = true)]
async fn what_there_is_to_see() {
    let host = at_rate(2, 10.0);
    assert!(host.look(8).is_none());
    fail(&host, line(1));
    // Nothing is under way, but something is wrong.
    let seen = host.look(2).unwrap();
    assert_eq!((seen.running, seen.waiting, seen.failing), (0, 0, 1));
    let _running: Vec<Share> = (2..=3).map(|n| begun(&host, line(n))).collect();
    let _waiting: Vec<Entering> = [4, 4, 5, 6].map(|n| waiting(&host, line(n))).into();
    host.hold(7, 30, &failed(Kind::RateLimited).unwrap_err());
    let seen = host.look(2).unwrap();
    assert_eq!((seen.running, seen.waiting, seen.limit), (2, 4, 1));
    assert_eq!(seen.repositories, [("r4".into(), 2), ("r5".into(), 1)]);
    assert_eq!((seen.failing, seen.per_second), (1, Some(10.0)));
    assert_eq!(seen.tokens, Some(7.0));
    assert_eq!(seen.held_for, Some(Duration::from_secs(30)));
    assert!(seen.circuit == Circuit::HalfOpen);
}
