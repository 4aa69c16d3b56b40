use super::repo::Repo;
use super::server::{Reply, Server, git_answer};
use super::*;
use crate::error::{Error, Key, Kind};

/// The error for a server that answers everything with `reply`.
fn refusal(reply: Reply, with_auth: bool) -> (Error, Server) {
    let server = Server::start(move |_| reply.clone());
    let url = server.url("/r");
    let endpoint = if with_auth { ann(&url) } else { endpoint(&url) };
    let error = run(refs(&Net::new(), &endpoint, &["HEAD"])).unwrap_err();
    assert!(!format!("{error:?}").contains("sesame"));
    (error, server)
}

#[test]
fn statuses() {
    for (status, auth, kind, says) in [
        (401, false, Kind::Auth, "none were given"),
        (401, true, Kind::Auth, "did not accept"),
        (403, true, Kind::Auth, "permission"),
        (404, false, Kind::RepoNotFound, "no repository"),
        (429, false, Kind::RateLimited, "429"),
        (500, false, Kind::Network, "500"),
        (418, false, Kind::Protocol, "418"),
    ] {
        let (error, server) = refusal(Reply::status(status), auth);
        assert_eq!(error.kind, kind);
        assert!(error.message.contains(says), "{error}");
        assert_eq!(error.detail[&Key::Status], status.into());
        assert_eq!(error.detail[&Key::Url], server.url("/r").into());
        assert_eq!(server.asked().len(), 1);
        let sent = auth.then_some("Basic YW5uOnNlc2FtZQ==");
        assert_eq!(server.seen()[0].header("authorization"), sent);
    }
}

/// Azure DevOps says in plain text which capability it misses.
#[test]
fn what_a_400_says_is_told_on_one_line_and_without_secrets() {
    let azure = Reply::new(
        400,
        "text/plain; charset=utf-8",
        "TF401041: The request\r\n\x1b[1m must use \u{e4} multi_ack.",
    );
    let (error, _) = refusal(azure, false);
    assert_eq!(error.kind, Kind::Protocol);
    assert!(
        error
            .message
            .ends_with("; the server says: TF401041: The request [1m must use ä multi_ack."),
        "{error}"
    );
    // A secret that straddles where the text is cut short.
    let echo = format!(
        "{}\nAuthorization: Basic YW5uOnNlc2FtZQ== of ann:sesame",
        "x".repeat(495)
    );
    for text in [echo, "y ".repeat(1 << 20)] {
        let (error, _) = refusal(Reply::new(400, "text/plain", text), true);
        assert!(
            error.message.len() < 900 && !error.message.contains("YW5"),
            "{error}"
        );
    }
    for page in [
        Reply::new(400, "text/html", "<p>no"),
        Reply::new(400, "text/plain", "\n<!doctype html>"),
    ] {
        let (error, _) = refusal(page, false);
        assert!(!error.message.contains("says"), "{error}");
    }
    // Nobody waits for the rest of it.
    let unended = Reply {
        raw: Some(b"HTTP/1.1 400 Bad\r\nContent-Length: 100\r\n\r\nTF401041".to_vec()),
        ..Reply::status(400)
    };
    let (error, _) = refusal(unended, false);
    assert!(error.message.contains("TF401041"), "{error}");
}

#[test]
fn answers_that_are_not_gits() {
    let advertisement = "application/x-git-upload-pack-advertisement";
    let dumb = format!("{}\trefs/heads/main\n", "1".repeat(40));
    for (reply, kind, says) in [
        (
            Reply::new(200, "text/html; charset=utf-8", "<html>"),
            Kind::Protocol,
            "an HTML page, not Git",
        ),
        (
            Reply::new(200, "application/json", "{}"),
            Kind::Protocol,
            "application/json",
        ),
        (
            Reply::new(200, advertisement, "<html>"),
            Kind::Protocol,
            "Git's protocol",
        ),
        (Reply::new(200, advertisement, "000"), Kind::Network, "cut"),
        (
            Reply::new(200, "text/plain", dumb),
            Kind::Unsupported,
            "dumb HTTP",
        ),
        (
            Reply::new(200, advertisement, "0000").header("Content-Encoding", "aws-chunked"),
            Kind::Protocol,
            "encoding `aws-chunked`",
        ),
        (
            Reply {
                raw: Some(b"SSH-2.0-OpenSSH\r\n".to_vec()),
                ..Reply::status(200)
            },
            Kind::Protocol,
            "not answer in HTTP",
        ),
    ] {
        let (error, _) = refusal(reply, false);
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(says), "{error}");
    }
}

#[test]
fn servers_that_are_not_there() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let error = run(refs(
        &Net::new(),
        &endpoint(&format!("http://127.0.0.1:{free}/r?t=sesame")),
        &[],
    ))
    .unwrap_err();
    assert_eq!(error.kind, Kind::Network);
    assert!(
        error.message.contains("refused") && !format!("{error:?}").contains("sesame"),
        "{error}"
    );
    // Reserved never to exist (RFC 6761).
    let error = run(refs(
        &Net::new(),
        &endpoint("http://nowhere.invalid/r"),
        &[],
    ))
    .unwrap_err();
    assert_eq!(error.kind, Kind::Network);
    assert!(
        error.message.contains("nowhere.invalid does not resolve"),
        "{error}"
    );
}

#[test]
fn a_redirect_moves_the_repository() {
    let repo = Repo::with_history();
    let dir = repo.path();
    let server = Server::start(move |seen| match seen.target.strip_prefix("/old") {
        Some(rest) => Reply::status(301).header("Location", &format!("/new{rest}")),
        None => git_answer(&dir, seen, true),
    });
    let (net, endpoint) = (Net::new(), ann(&server.url("/old/r")));
    run(async {
        for _ in 0..2 {
            assert_eq!(refs(&net, &endpoint, &[]).await.unwrap().len(), 4);
        }
    });
    let refs = "/r/info/refs?service=git-upload-pack";
    let post = "POST /new/r/git-upload-pack".to_owned();
    assert_eq!(
        server.asked(),
        [
            format!("GET /old{refs}"),
            format!("GET /new{refs}"),
            post.clone(),
            post
        ]
    );
    assert!(
        server
            .seen()
            .iter()
            .all(|seen| seen.header("authorization").is_some())
    );
}

#[test]
fn credentials_stay_with_their_server() {
    let repo = Repo::with_history();
    let dir = repo.path();
    // Another port is another server.
    let other = Server::start(move |seen| git_answer(&dir, seen, true));
    let to = other
        .url("/r/info/refs?service=git-upload-pack")
        .replace("http://", "http://bob:hunter2@");
    let server = Server::start(move |_| Reply::status(302).header("Location", &to));
    let (net, endpoint) = (Net::new(), ann(&server.url("/r")));
    assert_eq!(run(refs(&net, &endpoint, &[])).unwrap().len(), 4);
    assert!(server.seen()[0].header("authorization").is_some());
    assert_eq!(other.seen().len(), 2);
    assert!(
        other
            .seen()
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );

    let other = Server::start(|_| Reply::status(401));
    let to = other.url("/r/info/refs?service=git-upload-pack");
    let server = Server::start(move |_| Reply::status(302).header("Location", &to));
    let error = run(refs(&Net::new(), &ann(&server.url("/r")), &[])).unwrap_err();
    assert_eq!(error.kind, Kind::Auth);
    assert!(error.message.contains("was sent none"), "{error}");
}

#[test]
fn redirects_that_lead_nowhere() {
    let server = Server::start(|seen| Reply::status(302).header("Location", &seen.target));
    let error = run(refs(&Net::new(), &endpoint(&server.url("/r")), &[])).unwrap_err();
    assert_eq!((error.kind, server.asked().len()), (Kind::Protocol, 6));
    let git = "application/x-git-upload-pack-advertisement";
    let server = Server::start(move |seen| match seen.target.as_str() {
        "/login" => Reply::new(200, git, "0000"),
        "/ftp/info/refs?service=git-upload-pack" => {
            Reply::status(302).header("Location", "ftp://h/r")
        }
        "/no/info/refs?service=git-upload-pack" => Reply::status(302),
        _ => Reply::status(302).header("Location", "/login"),
    });
    for (path, says) in [
        ("/r", "no Git repository"),
        ("/ftp", "neither https nor http"),
        ("/no", "nowhere"),
    ] {
        let error = run(refs(&Net::new(), &endpoint(&server.url(path)), &[])).unwrap_err();
        assert_eq!(error.kind, Kind::Protocol);
        assert!(error.message.contains(says), "{error}");
    }
}

/// A server that closes an idle connection while the next request is on its way answers it on a new
/// one.
#[test]
fn a_connection_that_was_closed_costs_one_more_request() {
    let repo = Repo::with_history();
    let dir = repo.path();
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let server =
        Server::start(
            move |seen| match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                2 => Reply::nothing(),
                _ => git_answer(&dir, seen, true),
            },
        );
    let (net, endpoint) = (Net::new(), endpoint(&server.url("/r")));
    run(async {
        for _ in 0..2 {
            assert_eq!(refs(&net, &endpoint, &[]).await.unwrap().len(), 4);
        }
    });
    let on: Vec<_> = server.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(on.len(), 4);
    // Not on the one that was closed, and not on another that was kept.
    assert!(!on[..3].contains(&on[3]), "{on:?}");
}

#[test]
fn a_server_that_never_answers_is_asked_twice_and_no_more() {
    let server = Server::start(|_| Reply::nothing());
    let error = run(refs(&Net::new(), &endpoint(&server.url("/r")), &[])).unwrap_err();
    assert_eq!((error.kind, server.asked().len()), (Kind::Network, 2));
    assert!(
        error.message.contains("without an answer") || error.message.contains("cut"),
        "{error}"
    );
}
