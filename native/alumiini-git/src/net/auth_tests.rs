use super::*;

fn basic(username: &str, password: &str) -> Auth {
    Auth::Basic {
        username: username.into(),
        password: password.into(),
    }
}

#[test]
fn headers() {
    assert_eq!(
        basic("Aladdin", "open sesame").header().unwrap(),
        "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    );
    let token = Auth::Bearer {
        token: "abc".into(),
    }
    .header()
    .unwrap();
    assert_eq!(token, "Bearer abc");
    assert!(token.is_sensitive());
    assert_eq!(
        Auth::Bearer {
            token: "a\r\nX: y".into()
        }
        .header()
        .unwrap_err()
        .kind,
        Kind::Invalid
    );
    assert_eq!(basic("a:b", "c").header().unwrap_err().kind, Kind::Invalid);
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!(
        "{:?} {:?}",
        basic("ann", "sesame"),
        Auth::Bearer {
            token: "sesame".into()
        }
    );
    assert!(
        !shown.contains("sesame") && !shown.contains("ann"),
        "{shown}"
    );
}
