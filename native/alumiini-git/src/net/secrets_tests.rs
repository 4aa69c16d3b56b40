use super::*;
use crate::error::{Detail, Key, Kind};

fn login(user: &str, password: &str) -> Secrets {
    let mut secrets = Secrets::default();
    secrets.add_login(
        user,
        password,
        "https://git.example.com/acme/app.git /srv/app main",
    );
    secrets
}

fn token(token: &str) -> Secrets {
    let mut secrets = Secrets::default();
    secrets.add(token);
    secrets
}

#[test]
fn what_a_server_repeats_is_hidden() {
    let said = |text: &str| {
        Error::new(Kind::Network, text)
            .with(Key::Ref, text)
            .with(Key::Status, 401u64)
    };
    let shown = |secrets: &Secrets, text: &str| {
        let hidden = secrets.hide_in(said(text));
        assert_eq!(
            hidden.detail[&Key::Ref],
            Detail::from(hidden.message.as_str())
        );
        assert_eq!(hidden.detail[&Key::Status], Detail::from(401u64));
        hidden.message
    };
    let ann = login("ann", "open sesame");
    assert_eq!(
        shown(&ann, "no `open sesame` for ann"),
        "no `[hidden]` for ann"
    );
    assert_eq!(shown(&ann, "Basic YW5uOm9wZW4gc2VzYW1l"), "Basic [hidden]");
    assert_eq!(
        shown(&login("t0ken", ""), "t0ken is expired"),
        "[hidden] is expired"
    );
    assert_eq!(shown(&token("t0ken"), "not t0ken"), "not [hidden]");
    assert_eq!(shown(&login("ann", "at"), "a cat sat"), "a cat sat");
}

#[test]
fn a_user_may_be_the_token() {
    for (user, password) in [
        ("Gh-T0K3N", "x-oauth-basic"),
        ("Gh-T0K3N", ""),
        ("Gh-T0K3N", "other"),
    ] {
        let secrets = login(user, password);
        assert_eq!(
            secrets.hide("no gh-t0k3n here"),
            "no [hidden] here",
            "{user}:{password}"
        );
        assert_eq!(
            secrets.hide("https://Gh-T0K3N.example/r"),
            "https://[hidden].example/r"
        );
    }
    for nobody in [
        "git",
        "x-access-token",
        "X-Token-Auth",
        "oauth2",
        "gitlab-ci-token",
    ] {
        let text = format!("{nobody} may not see it");
        assert_eq!(login(nobody, "open sesame").hide(&text), text);
    }
    // Who is named in the URL is no secret, unless there is nothing else that could be.
    let text = "https://git.example.com/acme/app.git is not for acme";
    assert_eq!(login("acme", "open sesame").hide(text), text);
    assert!(!login("acme", "").hide(text).contains("acme"));
    assert_eq!(
        login("x-oauth-basic", "").hide("x-oauth-basic"),
        "x-oauth-basic"
    );
}

#[test]
fn in_each_form() {
    let secrets = login("ann", "S3cr%t /ä\\\"q");
    for text in [
        "S3cr%t /ä\\\"q",
        "s3CR%T /ä\\\"Q",
        "S3cr%25t%20%2F%C3%A4%5C%22q",
        "s3cr%25t+%2f%c3%a4%5c%22q",
        "%53%33%63%72%25%74%20%2f%c3%a4%5c%22%71",
        "S3cr%2525t%2520%252F%25C3%25A4%255C%2522q",
        "S3cr%t  \r\n /ä\\\"q",
        "S3cr%t /ä\\\\\\\"q",
        "S3cr%t\\u0020\\u002fä\\u005c\\u0022q",
        "UzNjciV0IC/DpFwicQ==",
        "UzNjciV0IC_DpFwicQ",
        "uznjciv0ic/dpfwicq",
        "YW5uOlMzY3IldCAvw6RcInE=",
    ] {
        let shown = secrets.hide(&format!("it is <{text}>"));
        let left = shown.trim_start_matches("it is <").trim_end_matches('>');
        // Of base64, the end depends on what follows.
        assert!(
            left.starts_with("[hidden]") && left.len() < "[hidden]".len() + 4,
            "{text}: {shown}"
        );
    }
    // Within something longer that was encoded as a whole.
    for before in ["", "a", "ab", "abc"] {
        let encoded = STANDARD_NO_PAD.encode(format!("{before}an-access-token, and more"));
        let shown = token("an-access-token").hide(&encoded);
        assert!(
            shown.contains("[hidden]") && shown.len() < encoded.len(),
            "{before}: {shown}"
        );
    }
    // A secret that looks as if it were encoded.
    assert_eq!(
        token("a%41%2fb").hide("x a%41%2fb, a%2541%252fb"),
        "x [hidden], [hidden]"
    );
}

#[test]
fn where_a_text_was_cut_within_it() {
    let secrets = token("an-access-token");
    assert_eq!(secrets.hide("it says: an-access-t…"), "it says: [hidden]…");
    assert_eq!(secrets.hide("it says: an-access-t"), "it says: [hidden]");
    assert_eq!(
        secrets.hide("it says: an-access…; try again"),
        "it says: [hidden]…; try again"
    );
    assert_eq!(
        secrets.hide("it says: an-access code"),
        "it says: an-access code"
    );
}

#[test]
fn in_lists_and_in_names_that_are_no_text() {
    let secrets = token("t0ken");
    let near = vec![
        Name::new(b"t0ken-a"),
        Name::new(b"\xfft0ken"),
        Name::new(b"\xff"),
    ];
    let error = secrets.hide_in(Error::new(Kind::RefNotFound, "no").with(Key::Near, near));
    let near = vec![
        Name::new(b"[hidden]-a"),
        Name::new("\u{fffd}[hidden]".as_bytes()),
        Name::new(b"\xff"),
    ];
    assert_eq!(error.detail[&Key::Near], near.into());
}

#[test]
fn in_time_that_grows_with_the_text_alone() {
    let started = std::time::Instant::now();
    let long = |unit: &str| unit.repeat(100_000);
    for (secret, text) in [
        (long("a") + "b", long("aa")),
        (long("a "), long("a  ") + "b"),
        (" b".to_owned() + &long("c"), long(" +%20")),
    ] {
        let shown = token(&secret).hide(&text);
        assert!(shown.len() <= text.len());
    }
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    // A part that is long enough is hidden by itself.
    let secret = "0123456789abcdef".repeat(8);
    assert_eq!(
        token(&secret).hide(&format!("x {}! y", &secret[..100])),
        "x [hidden]! y"
    );
}
