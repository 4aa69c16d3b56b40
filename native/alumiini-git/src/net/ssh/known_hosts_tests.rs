//! Keys, certificates and hashes made by ssh-keygen of OpenSSH 9.2 (`golden/`): certificates of the
//! key `ed25519` by `ca`, for git.example.com and *.svc.example.com, valid from 2020 to 2099, and
//! each with one thing wrong.

use super::*;

const ED25519: &str = include_str!("golden/ed25519.pub");
const ECDSA: &str = include_str!("golden/ecdsa.pub");
const RSA: &str = include_str!("golden/rsa.pub");
const OTHER: &str = include_str!("golden/other.pub");
const CA: &str = include_str!("golden/ca.pub");
const HASHED: &str = include_str!("golden/hashed.txt");
const NOW: u64 = 1_800_000_000;

fn key(text: &str) -> KeyData {
    PublicKey::from_openssh(text.trim())
        .unwrap()
        .key_data()
        .clone()
}

fn find(text: &str, host: &str, port: u16) -> Trusted {
    Trusted::find(&[text], host, port)
}

fn judge(text: &str, host: &str, port: u16, shown: &str) -> Verdict {
    find(text, host, port).judge(&key(shown))
}

#[test]
fn names_patterns_and_ports() {
    use Verdict::{Known, Unknown};
    for (patterns, host, port, verdict) in [
        ("git.example.com", "git.example.com", 22, Known),
        ("GIT.example.com", "git.example.com", 22, Known),
        ("git.example.com", "xgit.example.com", 22, Unknown),
        ("git.example.co", "git.example.com", 22, Unknown),
        ("a,git.example.com,b", "git.example.com", 22, Known),
        ("*.example.com", "git.example.com", 22, Known),
        ("*.example.com", "git.example.com", 2222, Known),
        (
            "*.example.com,!git.example.com",
            "git.example.com",
            22,
            Unknown,
        ),
        (
            "!git.example.com,*.example.com",
            "git.example.com",
            22,
            Unknown,
        ),
        ("!other.example.com", "git.example.com", 22, Unknown),
        ("g?t.ex*le.c*m", "git.example.com", 22, Known),
        ("g?it.example.com", "git.example.com", 22, Unknown),
        ("[git.example.com]:2222", "git.example.com", 2222, Known),
        ("[git.example.com]:2222", "git.example.com", 22, Unknown),
        ("[git.example.com]:2222", "git.example.com", 2223, Unknown),
        ("[git.example.com]:22", "git.example.com", 22, Known),
        ("[*]:2222", "git.example.com", 2222, Known),
        // OpenSSH: "found matching key w/out port".
        ("git.example.com", "git.example.com", 2222, Known),
        ("10.0.0.1", "10.0.0.1", 22, Known),
        ("::1", "::1", 22, Known),
        ("[::1]:2222", "::1", 2222, Known),
    ] {
        let line = format!("{patterns} {ED25519}");
        assert_eq!(
            judge(&line, host, port, ED25519),
            verdict,
            "{patterns} {host} {port}"
        );
    }
}

#[test]
fn hashed_names() {
    let hashes: Vec<&str> = HASHED.lines().collect();
    let text = format!("{} {ED25519}\n{} {ECDSA}", hashes[0], hashes[1]);
    assert_eq!(judge(&text, "git.example.com", 22, ED25519), Verdict::Known);
    assert_eq!(judge(&text, "git.example.com", 2222, ECDSA), Verdict::Known);
    assert_eq!(
        judge(&text, "git.example.org", 22, ED25519),
        Verdict::Unknown
    );
    for odd in ["|1|", "|1|%|%", "|1|AAAA", "|2|AAAA|AAAA", "|1|AAAA|AAAA"] {
        assert_eq!(
            judge(&format!("{odd} {ED25519}"), "h", 22, ED25519),
            Verdict::Unknown
        );
    }
}

#[test]
fn what_is_no_line_is_passed_over() {
    let text = format!(
        "# h {OTHER}\n\n   \nh\nh ssh-ed25519\nh ssh-ed25519 %%%\nh ssh-rsa-of-tomorrow AAAA\nh \
         1024 65537 123456\n@marker\n@of-tomorrow h {OTHER}\n\th\tssh-ed25519\t{}  a comment\r\n",
        ED25519.split(' ').nth(1).unwrap().trim()
    );
    assert_eq!(judge(&text, "h", 22, ED25519), Verdict::Known);
    assert_eq!(judge(&text, "h", 22, OTHER), Verdict::Changed);
}

/// As ssh of OpenSSH 9.2 decides of the same lines.
#[test]
fn rsa_keys_by_the_names_of_their_signatures() {
    let blob = |text: &'static str| text.split(' ').nth(1).unwrap().trim();
    for (kind, verdict) in [
        ("ssh-rsa", Verdict::Known),
        ("rsa-sha2-256", Verdict::Known),
        ("rsa-sha2-512", Verdict::Known),
        ("RSA", Verdict::Unknown),
        ("SSH-RSA", Verdict::Unknown),
        ("ssh-ed25519", Verdict::Unknown),
        ("ssh-rsa-cert-v01@openssh.com", Verdict::Unknown),
    ] {
        let line = format!("h {kind} {}", blob(RSA));
        assert_eq!(judge(&line, "h", 22, RSA), verdict, "{kind}");
        let revoked = match verdict {
            Verdict::Known => Verdict::Revoked,
            _ => Verdict::Known,
        };
        assert_eq!(
            judge(&format!("@revoked {line}\nh {RSA}"), "h", 22, RSA),
            revoked,
            "{kind}"
        );
    }
    for kind in ["rsa-sha2-256", "rsa-sha2-512"] {
        let text = format!("h {kind} {}\r\n", blob(RSA));
        assert_eq!(
            find(&text, "h", 22).algorithms()[0].to_string(),
            "rsa-sha2-512"
        );
        assert_eq!(judge(&text, "h", 22, ED25519), Verdict::OtherTypes);
        // Of another type of key, they say nothing.
        let wrong = format!("h {kind} {}", blob(ED25519));
        assert_eq!(judge(&wrong, "h", 22, ED25519), Verdict::Unknown);
    }
}

/// As ssh of OpenSSH 9.2 decides of the same lines.
#[test]
fn odd_lines() {
    use Verdict::{Known, Revoked, Unknown};
    let (ed, blob) = (ED25519.trim(), ED25519.split(' ').nth(1).unwrap().trim());
    for (text, verdict) in [
        (format!(" \th {ed}"), Known),
        (format!("h\tssh-ed25519\t{blob}\tcomment\r\n"), Known),
        (format!("x,,h {ed}"), Known),
        (format!("x, h {ed}"), Unknown),
        (format!("h ssh-ed25519 {blob}#comment"), Unknown),
        (format!("h 256 {ed}"), Unknown),
        (format!("h ED25519 {blob}"), Unknown),
        (format!("h ecdsa-sha2-nistp256 {blob}"), Unknown),
        (format!("\u{feff}h {ed}"), Unknown),
        (format!("\u{feff}# of mine\nh {ed}"), Known),
        (format!("@revoked  h {ed}\nh {ed}"), Revoked),
        (format!("@revoked\th\tssh-ed25519\t{blob}\nh {ed}"), Revoked),
        (format!("@revoked @revoked h {ed}\nh {ed}"), Known),
    ] {
        assert_eq!(judge(&text, "h", 22, ED25519), verdict, "{text:?}");
    }
}

#[test]
fn unknown_changed_and_revoked() {
    let text = format!("h {ED25519}h {RSA}");
    assert_eq!(judge(&text, "h", 22, RSA), Verdict::Known);
    assert_eq!(judge(&text, "h", 22, OTHER), Verdict::Changed);
    assert_eq!(judge(&text, "h", 22, ECDSA), Verdict::OtherTypes);
    assert_eq!(judge(&text, "i", 22, RSA), Verdict::Unknown);
    // Another port is another server.
    assert_eq!(judge(&text, "h", 2222, OTHER), Verdict::Unknown);
    let revoked = format!("@revoked * {ED25519}{text}");
    assert_eq!(judge(&revoked, "h", 22, ED25519), Verdict::Revoked);
    assert_eq!(judge(&revoked, "h", 2222, ED25519), Verdict::Revoked);
    assert_eq!(judge(&revoked, "h", 22, RSA), Verdict::Known);
    let elsewhere = format!("@revoked i {ED25519}{text}");
    assert_eq!(judge(&elsewhere, "h", 22, ED25519), Verdict::Known);
    // Two keys of one type: either will do, as while a key is being replaced.
    assert_eq!(
        judge(&format!("{text}h {OTHER}"), "h", 22, OTHER),
        Verdict::Known
    );
}

#[test]
fn known_types_are_offered_first_and_sha1_never() {
    let names = |text: &str, port| {
        let algorithms = find(text, "h", port).algorithms();
        assert_eq!(algorithms.len(), 6);
        assert!(!algorithms.contains(&Algorithm::Rsa { hash: None }));
        algorithms.iter().map(|a| a.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names("", 22)[0], "ssh-ed25519");
    assert_eq!(
        names(&format!("h {RSA}"), 22)[..3],
        ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]
    );
    assert_eq!(
        names(&format!("h {ECDSA}h {RSA}"), 2222)[..2],
        ["ecdsa-sha2-nistp256", "rsa-sha2-512"]
    );
    assert!(
        find(&format!("h {RSA}"), "h", 22)
            .certificate_algorithms()
            .is_empty()
    );
    assert_eq!(
        find(&format!("@cert-authority h {CA}"), "h", 22)
            .certificate_algorithms()
            .len(),
        6
    );
}

#[test]
fn certificates() {
    use Verdict::{BadCertificate, Changed, Known, Revoked, Unknown};
    let judge = |text: &str, host: &str, certificate: &str, now: u64| {
        let certificate = Certificate::from_openssh(certificate.trim()).unwrap();
        find(text, host, 22).judge_certificate(&certificate, now)
    };
    const GOOD: &str = include_str!("golden/good-cert.pub");
    let (host, ca) = (
        "git.example.com",
        format!("@cert-authority *.example.com {CA}"),
    );
    assert_eq!(judge(&ca, host, GOOD, NOW), Known);
    assert_eq!(judge(&ca, "a.svc.example.com", GOOD, NOW), Known);
    assert_eq!(
        judge(&ca, "www.example.com", GOOD, NOW),
        BadCertificate("is for another host name")
    );
    assert_eq!(
        judge(&format!("@cert-authority i {CA}"), host, GOOD, NOW),
        Unknown
    );
    assert_eq!(
        judge(&format!("@cert-authority * {OTHER}"), host, GOOD, NOW),
        Unknown
    );
    // A plain line is no authority.
    assert_eq!(judge(&format!("* {CA}"), host, GOOD, NOW), Changed);
    assert_eq!(
        judge(&format!("@revoked * {CA}{ca}"), host, GOOD, NOW),
        Revoked
    );
    // An authority for a host vouches for it on any port, and one with a port for that one.
    let at_port = |text: &str| {
        let certificate = Certificate::from_openssh(GOOD.trim()).unwrap();
        find(text, host, 2222).judge_certificate(&certificate, NOW)
    };
    assert_eq!(at_port(&ca), Known);
    assert_eq!(at_port(&format!("@cert-authority {host} {CA}")), Known);
    assert_eq!(
        at_port(&format!("@cert-authority [{host}]:2222 {CA}")),
        Known
    );
    assert_eq!(
        at_port(&format!("@cert-authority [{host}]:2223 {CA}")),
        Unknown
    );
    assert_eq!(
        judge(&format!("{ca}@revoked * {ED25519}"), host, GOOD, NOW),
        Revoked
    );
    // The key itself is known: the certificate may be what it likes.
    for text in [format!("{host} {ED25519}"), format!("{ca}{host} {ED25519}")] {
        assert_eq!(
            judge(&text, host, include_str!("golden/expired-cert.pub"), NOW),
            Known
        );
    }
    let bad = |certificate: &str, now: u64, ca: &str| match judge(ca, host, certificate, now) {
        BadCertificate(why) => why,
        other => panic!("{other:?}"),
    };
    assert!(bad(include_str!("golden/expired-cert.pub"), NOW, &ca).starts_with("has expired"));
    assert!(bad(GOOD, 1_000_000_000, &ca).starts_with("is not valid yet"));
    assert!(bad(include_str!("golden/user-cert.pub"), NOW, &ca).starts_with("is a user's"));
    assert_eq!(
        bad(include_str!("golden/noprinc-cert.pub"), NOW, &ca),
        "is for another host name"
    );
    let rsa = format!("@cert-authority * {RSA}");
    assert_eq!(
        bad(include_str!("golden/sha1-cert.pub"), NOW, &rsa),
        "is signed with SHA-1"
    );
    // One bit of the signature.
    let mut bytes = Certificate::from_openssh(GOOD.trim())
        .unwrap()
        .to_bytes()
        .unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let forged = Certificate::from_bytes(&bytes).unwrap();
    assert_eq!(
        find(&ca, host, 22).judge_certificate(&forged, NOW),
        BadCertificate("has a wrong signature")
    );
}
