use super::*;
use crate::error::Kind;
use crate::net::url::{Location, NetUrl, RemoteUrl};

fn parse(text: &str) -> SshUrl {
    match RemoteUrl::parse(text.as_bytes()).unwrap().location {
        Location::Network(NetUrl::Ssh(url)) => url,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_forms_of_git() {
    for (text, user, host, port, path) in [
        ("ssh://git@h/o/r.git", Some("git"), "h", 22, "/o/r.git"),
        ("ssh://H:2222/r", None, "h", 2222, "/r"),
        ("SSH://git@[::1]:2222/r", Some("git"), "::1", 2222, "/r"),
        ("ssh://h/~ann/r", None, "h", 22, "~ann/r"),
        ("ssh://h/a%20b", None, "h", 22, "/a b"),
        ("git+ssh://h/r", None, "h", 22, "/r"),
        (
            "git@github.com:o/r.git",
            Some("git"),
            "github.com",
            22,
            "o/r.git",
        ),
        ("h:/abs", None, "h", 22, "/abs"),
        ("h:~ann/r", None, "h", 22, "~ann/r"),
        ("h:/~ann/r", None, "h", 22, "~ann/r"),
        ("git@[h:2222]:r", Some("git"), "h", 2222, "r"),
        ("git@[::1]:r", Some("git"), "::1", 22, "r"),
        ("[::1]:r", None, "::1", 22, "r"),
        // What is written for a percent sign stays one.
        ("ssh://h/a%2520b", None, "h", 22, "/a%20b"),
        ("ssh://u%2541@h/~/a%zz", Some("u%41"), "h", 22, "~/a%zz"),
        ("u%41@h:a%20b", Some("u%41"), "h", 22, "a%20b"),
    ] {
        let url = parse(text);
        let got = (
            url.user.as_deref(),
            url.host.as_str(),
            url.port,
            url.path.as_str(),
        );
        assert_eq!(got, (user, host, port, path), "{text}");
        assert_eq!(
            parse(&url.spelled()),
            url,
            "{text} is spelled {}",
            url.spelled()
        );
    }
}

#[test]
fn what_is_no_url_is_refused_and_never_shown() {
    for text in [
        "ssh://git:sesame@h/r",
        "git:sesame@h:r",
        "h:sesame@r",
        "ssh://git@h:sesame/r",
        "ssh://h",
        "ssh://h/",
        "ssh:///r",
        "ssh://-oProxyCommand=x/r",
        "-oProxyCommand=x:r",
        "h:-r",
        "h:",
        "ssh://h:0/r",
        "ssh://h:65536/r",
        "ssh://[::1/r",
        "ssh://@h/r",
        // Git takes these, for ssh to refuse them or to look for hosts of such names.
        "ssh://h:x/r",
        "ssh://u@h:x:22/r",
        "ssh://[h:22]:23/r",
        "ssh://[h]x/r",
        "ssh://u%20v@h/r",
        "[h:r",
        "u@[h]r:x",
        "[]:r",
        "u@:r",
        "@h:r",
        "-u@h:r",
        "ssh://-u@h/r",
        // To Git, the host is `u` and the path begins after it.
        "ssh://u%2Fx@h/r",
        "ssh://git:22%2Fsesame@h/r",
        // Passwords that somebody put there.
        "ssh://git%3Asesame@h/r",
        "ssh://[git:sesame@h]/r",
        "ssh://git:sesame@[h]/r",
        "[git:sesame@h]:r",
        "git:sesame@[h]:r",
        "me@example.com:sesame@h:r",
    ] {
        let error = RemoteUrl::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind, Kind::Invalid, "{text}: {error}");
        assert!(!error.message.contains("sesame"), "{error}");
    }
}

/// The user, host, port and path with which `git` would call ssh.
fn git_says(text: &str) -> (Option<String>, String, u16, String) {
    let ssh = r#"say() { printf '%s\n' "$@" >&2; }; say"#;
    let mut git = std::process::Command::new("git");
    // Not where these sources are, which may be a working tree whose repository is elsewhere.
    git.current_dir(std::env::temp_dir());
    git.args(["ls-remote", "--", text])
        .env("GIT_SSH_COMMAND", ssh);
    git.env("GIT_SSH_VARIANT", "ssh")
        .env("GIT_PROTOCOL_FROM_USER", "1");
    git.env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    for (nth, value) in [
        ("COUNT", "1"),
        ("KEY_0", "protocol.version"),
        ("VALUE_0", "0"),
    ] {
        git.env(format!("GIT_CONFIG_{nth}"), value);
    }
    let said = String::from_utf8(git.output().unwrap().stderr).unwrap();
    let mut words = said.lines();
    let mut next = || words.next().unwrap_or_else(|| panic!("{text}: {said}"));
    let (mut word, mut port) = (next(), DEFAULT_PORT);
    if word == "-p" {
        port = next().parse().unwrap();
        word = next();
    }
    let (user, host) = match word.rsplit_once('@') {
        Some((user, host)) => (Some(user.to_owned()), host),
        None => (None, word),
    };
    let path = next()
        .strip_prefix("git-upload-pack '")
        .and_then(|path| path.strip_suffix('\''));
    let path = path.unwrap_or_else(|| panic!("{text}: {said}"));
    // ssh writes names in lower case.
    (user, host.to_ascii_lowercase(), port, path.to_owned())
}

#[test]
fn are_taken_apart_as_git_does() {
    for text in [
        "u@h:p",
        "u@dom@h:p",
        "a@b@c@h:p",
        "H:p",
        "h:/p",
        "h:./p",
        "h:22/p",
        "h:2222:p",
        "h:~",
        "h:~/p",
        "h:~u/p",
        "h:/~u/p",
        "h:a b",
        "h:a%20b",
        "h:p?x#y",
        "h:p/x@y:z",
        "u@h:p@x",
        "u@h::p",
        "[h]::p",
        "u%40d@h:p",
        "http:p",
        "[h]:p",
        "[h:22]:p",
        "[h:2222]:~/p",
        "[u@h]:p",
        "[u@h:2222]:p",
        "[u@dom@h:2222]:p",
        "u@[h]:p",
        "u@[h:2222]:p",
        "u@dom@[h:2222]:p",
        "x@[u@h]:p",
        "[::1]:p",
        "u@[::1]:p",
        "[u@::1]:p",
        "[::1]:22:p",
        "u@[::1]:2222:p",
        "u@[h]:p/[x]",
        "ssh://h/p",
        "ssh://H/p",
        "ssh://u@h/p",
        "ssh://u@dom@h/p",
        "ssh://u%40dom@h/p",
        "ssh://u+x@h/a+b",
        "ssh://u%zz@h/p",
        "git+ssh://u@h/p",
        "ssh+git://u@h/p",
        "ssh://h:/p",
        "ssh://h:2222/p",
        "ssh://h%3A2222/p",
        "ssh://h:22%32/p",
        "ssh://ho%73t/p",
        "ssh://h/~",
        "ssh://h/~/p",
        "ssh://h/~u/p",
        "ssh://h/%7Eu/p",
        "ssh://u@h:2222/~/p",
        "ssh://h//~/p",
        "ssh://h/a%20b%2Fc%zz",
        "ssh://h/a%2520b",
        "ssh://h/-p",
        "ssh://h/p@x:22/y",
        "ssh://u@h/p?x=1#y",
        "ssh://u@d/om@h/p",
        "ssh://[h]/p",
        "ssh://[h]:222/p",
        "ssh://[h:222]/p",
        "ssh://u@[h:222]/p",
        "ssh://[u@h]/p",
        "ssh://[u@h:222]/p",
        "ssh://::1/p",
        "ssh://u@::1/p",
        "ssh://[::1]/p",
        "ssh://[::1]:222/p",
        "ssh://%5B::1%5D/p",
        "ssh://u@[::1]:222/p",
        "ssh://[u@::1]:222/p",
        "ssh://u@[fe80::1%25eth0]/p",
    ] {
        let url = match RemoteUrl::parse(text.as_bytes()).map(|url| url.location) {
            Ok(Location::Network(NetUrl::Ssh(url))) => url,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(
            parse(&url.spelled()),
            url,
            "{text} is spelled {}",
            url.spelled()
        );
        let got = (url.user, url.host, url.port, url.path);
        assert_eq!(got, git_says(text), "{text}");
    }
}
