//! Credentials of which a provider makes the tokens: provider and Git server are one scripted
//! server.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::repo::Repo;
use super::server::{Reply, Seen, Server, git_answer};
use super::*;
use crate::error::{Key, Kind};
use crate::net::token::source::{
    AwsKeys, AwsProof, Azure, AzureProof, CodeCommit, Google, TokenSource,
};
use crate::task::patience::{self, Patience};

const SECRET: &str = "the-client-secret-of-the-app";

fn azure(server: &Server) -> Auth {
    Auth::Token(Arc::new(TokenSource::Azure(Azure {
        tenant_id: "tenant".into(),
        client_id: "client".into(),
        proof: AzureProof::ClientSecret(SECRET.into()),
        endpoint: Some(server.url("")),
    })))
}

/// Tokens `token-1`, `token-2`, … that live for so many seconds.
fn tokens(count: &AtomicUsize, lifetime: u64) -> Reply {
    let n = 1 + count.fetch_add(1, Ordering::SeqCst);
    let body =
        format!(r#"{{"token_type":"Bearer","access_token":"token-{n}","expires_in":{lifetime}}}"#);
    Reply::new(200, "application/json", body)
}

fn is_for_token(seen: &Seen) -> bool {
    seen.target.ends_with("/token")
}

fn sent(seen: &Seen) -> &str {
    seen.header("authorization").unwrap_or("nothing")
}

fn asked_for_tokens(server: &Server) -> usize {
    server
        .seen()
        .iter()
        .filter(|seen| is_for_token(seen))
        .count()
}

/// One thread, whose clock a test can move.
fn run_here<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[test]
fn many_at_once_ask_for_one_token_and_what_is_sent_is_right() {
    let (repo, count) = (Repo::with_history(), AtomicUsize::new(0));
    let dir = repo.path();
    let server = Server::start(move |seen| match is_for_token(seen) {
        true => tokens(&count, 3600),
        false if sent(seen) == "Bearer token-1" => git_answer(&dir, seen, true),
        false => Reply::status(401),
    });
    let auth = azure(&server);
    run(async {
        let net = Arc::new(Net::new());
        let all = (0..200).map(|n| {
            let (net, auth) = (net.clone(), auth.clone());
            let endpoint = to(&server.url(&format!("/{n}")), Some(auth));
            tokio::spawn(async move { refs(&net, &endpoint, &["HEAD"]).await.unwrap().len() })
        });
        for one in all.collect::<Vec<_>>() {
            assert_eq!(one.await.unwrap(), 1);
        }
    });
    assert_eq!(asked_for_tokens(&server), 1);
    let seen = server.seen();
    let asked = seen.iter().find(|seen| is_for_token(seen)).unwrap();
    assert_eq!(asked.method, "POST");
    assert_eq!(asked.target, "/tenant/oauth2/v2.0/token");
    assert_eq!(sent(asked), "nothing");
    assert_eq!(
        asked.header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    let body = format!(
        "grant_type=client_credentials&client_id=client&\
         scope=499b84ac-1321-427f-aa17-267ca6975798%2F.default&client_secret={SECRET}"
    );
    assert_eq!(String::from_utf8_lossy(&asked.body), body);
}

#[test]
fn a_token_is_renewed_ahead_of_its_end_and_nobody_waits_for_that() {
    let (repo, count) = (Repo::with_history(), Arc::new(AtomicUsize::new(0)));
    let (dir, made) = (repo.path(), count.clone());
    let server = Server::start(move |seen| match is_for_token(seen) {
        true => tokens(&made, 3600),
        false => git_answer(&dir, seen, true),
    });
    let endpoint = to(&server.url("/r"), Some(azure(&server)));
    run_here(async {
        let net = Net::new();
        let ask = async || refs(&net, &endpoint, &["HEAD"]).await.unwrap();
        let last = || {
            let seen = server.seen();
            let asked = seen.iter().rfind(|seen| !is_for_token(seen)).unwrap();
            sent(asked).to_owned()
        };
        ask().await;
        // Long before its end it is as it was.
        pass(Duration::from_secs(2900)).await;
        ask().await;
        assert_eq!(
            (last().as_str(), count.load(Ordering::SeqCst)),
            ("Bearer token-1", 1)
        );
        // With ten minutes left, it serves once more, and the next one is asked for.
        pass(Duration::from_secs(110)).await;
        ask().await;
        assert_eq!(last(), "Bearer token-1");
        while asked_for_tokens(&server) < 2 {
            tokio::task::yield_now().await;
        }
        while last() != "Bearer token-2" {
            ask().await;
        }
        assert_eq!(asked_for_tokens(&server), 2);
        // After its end, one is waited for.
        pass(Duration::from_secs(3600)).await;
        ask().await;
        assert_eq!(
            (last().as_str(), asked_for_tokens(&server)),
            ("Bearer token-3", 3)
        );
    });
}

#[test]
fn a_renewal_that_fails_is_in_nobodys_way_while_the_token_serves() {
    let (repo, count) = (Repo::with_history(), AtomicUsize::new(0));
    let dir = repo.path();
    let server = Server::start(move |seen| match is_for_token(seen) {
        true if count.load(Ordering::SeqCst) == 0 => tokens(&count, 3600),
        true => Reply::status(500),
        false => git_answer(&dir, seen, true),
    });
    let endpoint = to(&server.url("/r"), Some(azure(&server)));
    run_here(async {
        let net = Net::new();
        let ask = async || refs(&net, &endpoint, &["HEAD"]).await;
        assert!(ask().await.is_ok());
        pass(Duration::from_secs(3010)).await;
        for _ in 0..10 {
            assert!(ask().await.is_ok());
        }
        while asked_for_tokens(&server) < 2 {
            tokio::task::yield_now().await;
        }
        // It is not tried again with each request.
        assert!(ask().await.is_ok());
        assert_eq!(asked_for_tokens(&server), 2);
        pass(Duration::from_secs(600)).await;
        let error = ask().await.unwrap_err();
        assert_eq!(error.kind, Kind::Network);
        assert!(
            error.message.contains("no token for Azure client client"),
            "{error}"
        );
        assert!(error.message.contains(&server.url("/tenant")), "{error}");
        // Nothing that is remembered of the Git server is to blame.
        assert_eq!(asked_for_tokens(&server), 3);
    });
}

#[test]
fn a_token_that_the_server_refuses_is_replaced_once() {
    let (repo, count) = (Repo::with_history(), AtomicUsize::new(0));
    let (dir, revoked) = (repo.path(), Arc::new(AtomicBool::new(false)));
    let is_revoked = revoked.clone();
    let server = Server::start(move |seen| match is_for_token(seen) {
        true => tokens(&count, 3600),
        false if sent(seen) == "Bearer token-1" && is_revoked.load(Ordering::SeqCst) => {
            Reply::status(401)
        }
        false if sent(seen) == "Bearer token-2" && seen.target.starts_with("/never") => {
            Reply::status(401)
        }
        false => git_answer(&dir, seen, true),
    });
    let endpoint = to(&server.url("/r"), Some(azure(&server)));
    let never = to(&server.url("/never"), Some(azure(&server)));
    run(async {
        let net = Net::new();
        refs(&net, &endpoint, &["HEAD"]).await.unwrap();
        fetched(&net, &endpoint, &want(repo.rev("main")))
            .await
            .unwrap();
        revoked.store(true, Ordering::SeqCst);
        let before = server.seen().len();
        fetched(&net, &endpoint, &want(repo.rev("main")))
            .await
            .unwrap();
        // The refused request, the token, the request again.
        assert_eq!(server.seen().len(), before + 3);
        assert_eq!(asked_for_tokens(&server), 2);
        // Who is refused with a new one is not given another.
        let error = refs(&net, &never, &["HEAD"]).await.unwrap_err();
        assert_eq!(error.kind, Kind::Auth);
        assert_eq!(error.detail[&Key::Status], 401u16.into());
        assert_eq!(asked_for_tokens(&server), 2);
        refs(&net, &endpoint, &["HEAD"]).await.unwrap();
        assert_eq!(asked_for_tokens(&server), 2);
    });
}

#[test]
fn endpoints_that_fail_are_told_and_repeat_no_secret() {
    let echo = |seen: &Seen| String::from_utf8_lossy(&seen.body).into_owned();
    type Answer = fn(String) -> Reply;
    let answers: [(Answer, Kind, &str); 9] = [
        (
            |said| Reply::new(400, "application/json", said),
            Kind::Auth,
            "gave no token (HTTP 400); it says: grant_type",
        ),
        (
            |said| Reply::new(401, "application/json", said),
            Kind::Auth,
            "client_secret=[hidden]",
        ),
        (|_| Reply::status(404), Kind::Auth, "gave no token"),
        (|_| Reply::status(500), Kind::Network, "failed (HTTP 500)"),
        (
            |_| Reply::status(429).header("Retry-After", "70"),
            Kind::RateLimited,
            "asked too often",
        ),
        (
            |_| Reply::new(200, "text/html", "<html>hello"),
            Kind::Protocol,
            "without an `access_token`",
        ),
        (
            |_| Reply::new(200, "application/json", vec![b' '; (1 << 20) + 1]),
            Kind::Protocol,
            "more than",
        ),
        (|_| Reply::nothing(), Kind::Network, "did not answer"),
        (
            |_| {
                let body = r#"{"access_token":"a\nb","expires_in":60}"#;
                Reply::new(200, "application/json", body)
            },
            Kind::Invalid,
            "line break",
        ),
    ];
    for (answer, kind, says) in answers {
        let server = Server::start(move |seen| match is_for_token(seen) {
            true => answer(echo(seen)),
            false => Reply::status(500),
        });
        let endpoint = to(&server.url("/r"), Some(azure(&server)));
        let error = run(refs(&Net::new(), &endpoint, &["HEAD"])).unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(says), "{error}");
        assert!(!error.message.contains(SECRET), "{error}");
        // Asked once, and the Git server not at all.
        assert_eq!(server.seen().len(), 1, "{error}");
    }
}

#[test]
fn what_the_git_server_repeats_of_a_token_is_hidden() {
    let (repo, count) = (Repo::with_history(), AtomicUsize::new(0));
    let dir = repo.path();
    let server = Server::start(move |seen| {
        let line = |text: String| format!("{:04x}{text}", text.len() + 4);
        match seen.target.split('/').nth(1) {
            _ if is_for_token(seen) => tokens(&count, 3600),
            Some("err") if seen.is_post() => Reply::new(
                200,
                "application/x-git-upload-pack-result",
                line(format!("ERR what is {}?", sent(seen))),
            ),
            Some("first") => Reply::new(
                200,
                "application/x-git-upload-pack-advertisement",
                line(format!("ERR what is {}?", sent(seen))),
            ),
            Some("status") => Reply::new(403, "text/plain", format!("no {}", sent(seen))),
            Some("away") => Reply::status(302).header("Location", &format!("/{}", sent(seen))),
            _ => git_answer(&dir, seen, true),
        }
    });
    let net = Net::new();
    for path in ["/err", "/first", "/status", "/away"] {
        let endpoint = to(&server.url(path), Some(azure(&server)));
        let error = run(refs(&net, &endpoint, &["HEAD"])).unwrap_err();
        assert!(!error.message.contains("token-1"), "{error}");
        assert!(error.message.contains("[hidden]"), "{error}");
    }
}

#[test]
fn a_slow_endpoint_takes_a_request_no_longer_than_it_has() {
    let (gate, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let server = Server::start(move |_| {
        let _ = held.lock().unwrap().recv();
        Reply::nothing()
    });
    let endpoint = to(&server.url("/r"), Some(azure(&server)));
    run(async {
        let net = Net::new();
        let patience = Arc::new(Patience::default());
        let deadline = tokio::time::Instant::now() + Duration::from_millis(500);
        patience.until(Some(deadline));
        let asked = patience::scope(patience, refs(&net, &endpoint, &["HEAD"])).await;
        let error = asked.unwrap_err();
        assert!(tokio::time::Instant::now() < deadline);
        assert_eq!(error.kind, Kind::Timeout);
        assert!(error.message.contains(&server.url("")), "{error}");
        assert_eq!(server.seen().len(), 1);
    });
    drop(gate);
}

fn keys(session_token: Option<&str>) -> Auth {
    Auth::Token(Arc::new(TokenSource::CodeCommit(CodeCommit {
        region: Some("eu-west-1".into()),
        proof: AwsProof::Keys(AwsKeys {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG".into(),
            session_token: session_token.map(str::to_owned),
        }),
    })))
}

/// The server's clock is two hours behind: what is signed by ours, it does not take.
#[test]
fn what_is_signed_by_a_wrong_time_is_signed_again_by_the_servers() {
    let repo = Repo::with_history();
    let dir = repo.path();
    let behind = std::time::SystemTime::now() - Duration::from_secs(7200);
    let date = httpdate::fmt_http_date(behind);
    let shown = date.clone();
    let signed_at = |seen: &Seen| {
        use base64::Engine;
        use base64::engine::general_purpose::STANDARD;
        let login = STANDARD.decode(sent(seen).strip_prefix("Basic ").unwrap());
        let login = String::from_utf8(login.unwrap()).unwrap();
        let (user, password) = login.split_once(':').unwrap();
        assert_eq!(user, "AKIDEXAMPLE%the-session-token");
        password.split('Z').next().unwrap().to_owned()
    };
    let server = Server::start(move |seen| {
        let hour = |date: &str| {
            let time: Vec<&str> = date.split(' ').nth(4).unwrap().split(':').collect();
            format!("T{}{}", time[0], time[1])
        };
        match signed_at(seen).contains(&hour(&date)) {
            true => git_answer(&dir, seen, true),
            false => Reply::status(403).header("Date", &date),
        }
    });
    let endpoint = to(
        &server.url("/v1/repos/r"),
        Some(keys(Some("the-session-token"))),
    );
    run(async {
        let net = Net::new();
        refs(&net, &endpoint, &["HEAD"]).await.unwrap();
        assert_eq!(server.seen().len(), 3, "{shown}");
        // It is known by now.
        refs(&net, &endpoint, &["HEAD"]).await.unwrap();
        assert_eq!(server.seen().len(), 4, "{shown}");
    });
}

#[test]
fn keys_that_are_refused_are_not_tried_again() {
    let server = Server::start(|seen| Reply::new(403, "text/plain", sent(seen)));
    let endpoint = to(&server.url("/v1/repos/r"), Some(keys(None)));
    let error = run(refs(&Net::new(), &endpoint, &["HEAD"])).unwrap_err();
    assert_eq!(error.kind, Kind::Auth);
    assert_eq!(server.seen().len(), 1);
    assert!(error.message.contains("[hidden]"), "{error}");
}

/// The rules for addresses are for whatever URL is given; the metadata server's own nobody gives.
#[test]
fn endpoints_that_are_given_are_asked_only_where_they_may_be() {
    use crate::policy::addresses::Addresses;
    let server = Server::start(|_| Reply::status(500));
    let public = Arc::new(Addresses::new(Some("public"), &[], &[]).unwrap());
    let google = |endpoint| {
        Auth::Token(Arc::new(TokenSource::Google(Google::Metadata {
            service_account: None,
            endpoint,
        })))
    };
    for auth in [azure(&server), google(Some(server.url("")))] {
        let url = NetUrl::Http(http("https://192.0.2.1/r"));
        let tls = Tls::default();
        let endpoint = Endpoint::new(url, Some(auth), true, tls, None, public.clone()).unwrap();
        let error = run(refs(&Net::new(), &endpoint, &["HEAD"])).unwrap_err();
        assert_eq!(error.kind, Kind::Unsupported, "{error}");
        assert!(error.message.contains(":addresses"), "{error}");
    }
    assert_eq!(server.seen().len(), 0);
}
