use super::*;
use crate::error::{Hint, Kind};
use crate::net::auth::Auth;
use crate::net::proxy::ProxySettings;
use crate::net::url::{Location, RemoteUrl};
use futures_util::FutureExt;

fn endpoint(url: &str, auth: Option<Auth>) -> Endpoint {
    let Location::Network(url) = RemoteUrl::parse(url.as_bytes()).unwrap().location else {
        panic!("{url}");
    };
    let route = ProxySettings::new(None, None).unwrap();
    Endpoint::new(url, auth, false, Default::default(), route, Arc::default()).unwrap()
}

async fn enter(limits: &HostLimits, endpoint: &Endpoint) -> Result<Permit> {
    limits.enter(endpoint, &endpoint.url).await
}

#[test]
fn the_failure_of_another_names_who_is_told() {
    let down = Error::new(Kind::Network, "cannot reach https://h/a: no")
        .with(Key::Url, "https://h/a")
        .hinted(Hint::Unreachable);
    let told = renamed(down, &endpoint("https://h/b", None).url);
    assert_eq!(told.message, "cannot reach https://h/b: no");
    assert_eq!(told.detail[&Key::Url], "https://h/b".into());
}

#[tokio::test]
async fn hosts_that_nobody_asks_are_forgotten() {
    let limits = HostLimits::default();
    for n in 0..MAX_HOSTS * 2 {
        drop(
            enter(&limits, &endpoint(&format!("https://h{n}/r"), None))
                .await
                .unwrap(),
        );
        assert!(limits.hosts.lock().unwrap().len() <= MAX_HOSTS);
    }
}

#[tokio::test]
async fn so_many_hosts_are_shown_and_no_more() {
    let limits = HostLimits::default();
    let mut permits = vec![];
    limits.limit(Limits {
        all: Some(MAX_SHOWN * 2),
        ..Limits::default()
    });
    for n in 0..MAX_SHOWN + 10 {
        let asked = endpoint(&format!("https://h{n}/r"), None);
        permits.push(enter(&limits, &asked).await.unwrap());
    }
    let busy = endpoint("https://z/r", None);
    permits.push(enter(&limits, &busy).await.unwrap());
    permits.push(enter(&limits, &busy).await.unwrap());
    let seen = limits.look();
    assert_eq!(seen.len(), MAX_SHOWN);
    assert_eq!(
        (seen[0].host.as_str(), seen[0].seen.running),
        ("https://z", 2)
    );
}

#[tokio::test]
async fn what_is_shown_holds_no_secret() {
    let limits = HostLimits::default();
    limits.limit(Limits {
        per_host: Some(1),
        ..Limits::default()
    });
    let auth = Auth::Basic {
        username: "ann".into(),
        password: "s3cr3t-token".into(),
    };
    let asked = endpoint(
        "https://h/s3cr3t-token/r.git?token=s3cr3t-token",
        Some(auth),
    );
    let _first = enter(&limits, &asked).await.unwrap();
    let mut second = Box::pin(enter(&limits, &asked));
    assert!((&mut second).now_or_never().is_none());
    let seen = limits.look();
    let [host] = &seen[..] else { panic!() };
    assert_eq!((host.host.as_str(), host.seen.waiting), ("https://h", 1));
    let long = endpoint(&format!("https://h/{}", "r".repeat(10_000)), None);
    let mut third = Box::pin(enter(&limits, &long));
    assert!((&mut third).now_or_never().is_none());
    let (url, waiting) = &limits.look()[0].seen.repositories[1];
    assert_eq!((url.chars().count(), *waiting), (MAX_SHOWN_URL + 1, 1));
    let (url, waiting) = &host.seen.repositories[0];
    assert!(
        !url.contains("s3cr3t") && url.starts_with("https://h/"),
        "{url}"
    );
    assert_eq!(*waiting, 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_is_made_again() {
    let limits = Arc::new(HostLimits::default());
    limits.limit(Limits {
        per_host: Some(4),
        ..Limits::default()
    });
    let good = endpoint("https://h/good", None);
    let ok = || async { Ok(()) };
    limits.ask(&good, &good.url, ok).await.unwrap();
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let slow: Vec<_> = (0..4)
        .map(|n| {
            let (limits, asked) = (limits.clone(), asked.clone());
            tokio::spawn(async move {
                let slow = endpoint(&format!("https://h/slow{n}"), None);
                let ask = || {
                    let count = asked.fetch_add(1, Ordering::SeqCst);
                    async move {
                        if count < 4 {
                            std::future::pending::<()>().await;
                        }
                        Ok(count)
                    }
                };
                limits
                    .ask(&slow, &slow.url, ask)
                    .await
                    .map(|(count, _)| count)
            })
        })
        .collect();
    tokio::task::yield_now().await;
    // One of the four has to go.
    let start = Instant::now();
    limits.ask(&good, &good.url, ok).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(10));
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    // It waits for the place of those that fail, which the others have.
    assert_eq!(limits.look()[0].seen.waiting, 1);
    for hanging in &slow[..3] {
        hanging.abort();
    }
    let again = slow.into_iter().next_back().unwrap();
    assert_eq!(again.await.unwrap().unwrap(), 4);
}

/// How long requests waited, and what that adds up to where they share their work.
#[tokio::test(start_paused = true)]
async fn time_in_the_queue_is_told() {
    let limits = HostLimits::default();
    limits.limit(Limits {
        per_second: Some(0.1),
        ..Limits::default()
    });
    let asked = endpoint("https://h/r", None);
    let patience = Arc::new(patience::Patience::default());
    let twice = async {
        drop(enter(&limits, &asked).await.unwrap());
        assert_eq!(patience.waited(), Duration::ZERO);
        drop(enter(&limits, &asked).await.unwrap());
    };
    patience::scope(patience.clone(), twice).await;
    assert!((Duration::from_secs(10)..Duration::from_secs(11)).contains(&patience.waited()));
}
