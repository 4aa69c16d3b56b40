use super::*;

fn rules(default: Option<&str>, allow: &[&str], deny: &[&str]) -> Addresses {
    let bytes = |ranges: &[&str]| -> Vec<Vec<u8>> {
        ranges
            .iter()
            .map(|range| range.as_bytes().to_vec())
            .collect()
    };
    Addresses::new(default, &bytes(allow), &bytes(deny)).unwrap()
}

fn allowed(addresses: &Addresses, texts: &[&str]) -> Vec<bool> {
    let allows = |text: &&str| addresses.allows(text.parse().unwrap());
    texts.iter().map(allows).collect()
}

/// The first and the last of each range that is not public, and the addresses right before and
/// behind, where those are public.
#[test]
fn public_is_what_the_registries_say() {
    let public = rules(None, &[], &[]);
    let rows: [(&str, &str, &str, &str); 21] = [
        ("", "0.0.0.0", "0.255.255.255", "1.0.0.0"),
        ("9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"),
        (
            "100.63.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "100.128.0.0",
        ),
        (
            "126.255.255.255",
            "127.0.0.0",
            "127.255.255.255",
            "128.0.0.0",
        ),
        (
            "168.63.129.15",
            "168.63.129.16",
            "168.63.129.16",
            "168.63.129.17",
        ),
        (
            "169.253.255.255",
            "169.254.0.0",
            "169.254.255.255",
            "169.255.0.0",
        ),
        (
            "172.15.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "172.32.0.0",
        ),
        ("191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"),
        ("192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"),
        (
            "192.88.98.255",
            "192.88.99.0",
            "192.88.99.255",
            "192.88.100.0",
        ),
        (
            "192.167.255.255",
            "192.168.0.0",
            "192.168.255.255",
            "192.169.0.0",
        ),
        (
            "198.17.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.20.0.0",
        ),
        (
            "198.51.99.255",
            "198.51.100.0",
            "198.51.100.255",
            "198.51.101.0",
        ),
        (
            "203.0.112.255",
            "203.0.113.0",
            "203.0.113.255",
            "203.0.114.0",
        ),
        ("223.255.255.255", "224.0.0.0", "255.255.255.255", ""),
        (
            "",
            "::",
            "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "2000::",
        ),
        (
            "2000:ffff::",
            "2001::",
            "2001:1ff:ffff:ffff::",
            "2001:200::",
        ),
        (
            "2001:db7:ffff::",
            "2001:db8::",
            "2001:db8:ffff::",
            "2001:db9::",
        ),
        ("2001:ffff::", "2002::", "2002:ffff:ffff::", "2003::"),
        ("3ffe:ffff::", "3fff::", "3fff:fff:ffff::", "3fff:1000::"),
        (
            "3fff:ffff::",
            "4000::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "",
        ),
    ];
    for (before, first, last, behind) in rows {
        for near in [before, behind].into_iter().filter(|near| !near.is_empty()) {
            assert_eq!(allowed(&public, &[near]), [true], "{near}");
        }
        assert_eq!(
            allowed(&public, &[first, last]),
            [false, false],
            "{first} {last}"
        );
    }
    let known = [
        "::1",
        "fe80::1",
        "fd00:ec2::254",
        "fc00::1",
        "ff02::1",
        "fec0::1",
        "100::1",
        "5f00::1",
    ];
    assert_eq!(allowed(&public, &known), [false; 8]);
    let forges = [
        "140.82.121.3",
        "2606:50c0:8000::154",
        "2a00:1450:4001::1",
        "2620:4f:8000::1",
    ];
    assert_eq!(allowed(&public, &forges), [true; 4]);
}

#[test]
fn an_address_within_another_is_asked_for_itself() {
    let forms = ["::ffff:", "64:ff9b::", "::"];
    let public = rules(None, &[], &[]);
    let but_private = rules(Some("any"), &[], &["10.0.0.0/8", "127.0.0.1"]);
    for form in forms {
        for (v4, is_public) in [
            ("10.1.2.3", false),
            ("127.0.0.1", false),
            ("140.82.121.3", form != "::"),
        ] {
            let address = format!("{form}{v4}");
            assert_eq!(allowed(&public, &[&address]), [is_public], "{address}");
            let denied = v4 != "140.82.121.3";
            assert_eq!(allowed(&but_private, &[&address]), [!denied], "{address}");
        }
    }
    let six_to_four = ["2002:0a01:0203::1", "2002:7f00:0001::", "2002:8c52:7903::1"];
    assert_eq!(allowed(&public, &six_to_four), [false; 3]);
    assert_eq!(allowed(&but_private, &six_to_four), [false, false, true]);
    // NAT64 by prefixes of one's own (RFC 8215) leads into one's own network.
    assert_eq!(allowed(&public, &["64:ff9b:1::a01:203"]), [false]);
    // Rules are read the same way.
    let mapped = rules(
        Some("any"),
        &[],
        &["::ffff:10.0.0.0/104", "64:ff9b::7f00:1"],
    );
    assert_eq!(
        allowed(&mapped, &["10.9.9.9", "127.0.0.1", "11.0.0.1"]),
        [false, false, true]
    );
}

#[test]
fn the_smallest_range_decides() {
    let addresses = rules(
        None,
        &["10.1.0.0/16", "10.1.2.3", "192.168.0.0/16"],
        &["10.1.2.0/24", "8.8.8.0/24", "192.168.0.0/16"],
    );
    let asked = [
        "10.1.1.1",
        "10.1.2.4",
        "10.1.2.3",
        "10.2.0.0",
        "8.8.8.8",
        "8.8.4.4",
        "192.168.1.1",
    ];
    let expected = [true, false, true, false, false, true, false];
    assert_eq!(allowed(&addresses, &asked), expected);
    let only = rules(Some("none"), &["10.1.0.0/16", "fd00::/8"], &[]);
    assert_eq!(
        allowed(
            &only,
            &["10.1.1.1", "fd12::1", "8.8.8.8", "::ffff:10.1.1.1"]
        ),
        [true, true, false, true]
    );
    let all = rules(Some("none"), &["0.0.0.0/0", "::/0"], &[]);
    assert_eq!(allowed(&all, &["10.1.1.1", "fd12::1", "::1"]), [true; 3]);
    assert!(rules(Some("any"), &[], &[]).is_any() && Addresses::default().is_any());
    assert!(!rules(Some("any"), &[], &["::1"]).is_any() && !rules(None, &[], &[]).is_any());
}

#[test]
fn hosts_that_are_addresses_need_no_resolving() {
    let public = rules(None, &[], &[]);
    for host in [
        "127.0.0.1",
        "[::1]",
        "::1",
        "fe80::1%eth0",
        "[::ffff:10.0.0.1]",
    ] {
        let denied = public.check(host).unwrap_err();
        assert_eq!(denied.host, host);
        assert!(public.check_behind_proxy(host).is_err(), "{host}");
    }
    for host in [
        "8.8.8.8",
        "[2606:50c0:8000::154]",
        "example.com",
        "localhost.example",
    ] {
        assert!(
            public.check(host).is_ok() && public.check_behind_proxy(host).is_ok(),
            "{host}"
        );
    }
    for host in ["localhost", "LocalHost.", "a.localhost"] {
        assert!(
            public.check(host).is_ok() && public.check_behind_proxy(host).is_err(),
            "{host}"
        );
    }
}

#[test]
fn what_is_no_range_is_refused() {
    for text in [
        "",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.1/8",
        "10.0.0/8",
        "example.com",
        "fe80::1%eth0",
        "10.0.0.0/",
    ] {
        let refused = Addresses::new(None, &[text.as_bytes().to_vec()], &[]);
        assert_eq!(refused.unwrap_err().kind, Kind::Invalid, "{text}");
    }
    assert_eq!(
        Addresses::new(Some("some"), &[], &[]).unwrap_err().kind,
        Kind::Invalid
    );
}
