use super::*;
use crate::error::{Key, Kind};
use crate::net::proxy::ProxySettings;
use crate::net::url::{Location, RemoteUrl};
use futures_util::FutureExt;

fn gate(limit: usize, circuit: Circuit) -> Arc<Limiter> {
    Limiter::new(Arc::new(AtomicUsize::new(limit)), circuit)
}

fn down() -> Error {
    Error::new(Kind::Network, "cannot reach https://h/a: no")
        .with(Key::Url, "https://h/a")
        .hinted(Hint::Unreachable)
}

#[test]
fn lets_through_as_many_as_it_says_in_order() {
    let gate = gate(2, Circuit::Closed);
    let first = gate.enter().now_or_never().unwrap().unwrap();
    let _second = gate.enter().now_or_never().unwrap().unwrap();
    let mut third = Box::pin(gate.enter());
    let mut fourth = Box::pin(gate.enter());
    assert!((&mut third).now_or_never().is_none() && (&mut fourth).now_or_never().is_none());
    drop(first);
    assert!((&mut fourth).now_or_never().is_none());
    let third = third.now_or_never().unwrap().unwrap();
    drop(third);
    assert!(fourth.now_or_never().unwrap().is_ok());
    assert_eq!(gate.lock().running, 1);
}

#[test]
fn who_gives_up_waiting_leaves_the_turn_to_the_next() {
    let gate = gate(1, Circuit::Closed);
    let first = gate.enter().now_or_never().unwrap().unwrap();
    let mut gone = Box::pin(gate.enter());
    let mut next = Box::pin(gate.enter());
    assert!((&mut gone).now_or_never().is_none() && (&mut next).now_or_never().is_none());
    drop(gone);
    drop(first);
    assert!(next.now_or_never().unwrap().is_ok());
    assert_eq!(gate.lock().running, 0);
}

#[test]
fn a_host_that_was_not_reached_is_asked_by_one_and_answers_all() {
    let gate = gate(32, Circuit::HalfOpen);
    let slots: Vec<Share> = (0..8)
        .map(|_| gate.enter().now_or_never().unwrap().unwrap())
        .collect();
    let mut more = Box::pin(gate.enter());
    assert!((&mut more).now_or_never().is_none());
    gate.fail(&down());
    assert_eq!(more.now_or_never().unwrap().err(), Some(down()));
    drop(slots);

    let probe = gate.enter().now_or_never().unwrap().unwrap();
    let mut more = Box::pin(gate.enter());
    assert!((&mut more).now_or_never().is_none());
    gate.stands(Circuit::Closed);
    assert!(more.now_or_never().unwrap().is_ok());
    drop(probe);
}

#[test]
fn the_failure_of_another_names_who_is_told() {
    let url = crate::net::url::RemoteUrl::parse(b"https://h/b").unwrap();
    let crate::net::url::Location::Network(base) = url.location else {
        panic!()
    };
    let told = renamed(down(), &base);
    assert_eq!(told.message, "cannot reach https://h/b: no");
    assert_eq!(told.detail[&Key::Url], "https://h/b".into());
}

#[tokio::test]
async fn hosts_that_nobody_asks_are_forgotten() {
    let limits = HostLimits::default();
    for n in 0..MAX_HOSTS * 2 {
        let url = format!("https://h{n}/r");
        let Location::Network(url) = RemoteUrl::parse(url.as_bytes()).unwrap().location else {
            panic!("{url}");
        };
        let route = ProxySettings::new(None, None).unwrap();
        let endpoint = Endpoint::new(
            url.clone(),
            None,
            false,
            Default::default(),
            route,
            Arc::default(),
        )
        .unwrap();
        drop(limits.enter(&endpoint, &url).await.unwrap());
        assert!(limits.hosts.lock().unwrap().len() <= MAX_HOSTS);
    }
}
