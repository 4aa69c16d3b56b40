use super::*;
use crate::net::git::capabilities::Capabilities;
use crate::net::git::capabilities::tests::pkt;
use crate::net::url::{Location, RemoteUrl};

const A: &str = "1111111111111111111111111111111111111111";
const B: &str = "2222222222222222222222222222222222222222";

fn server(capabilities: Capabilities) -> ServerInfo {
    match RemoteUrl::parse(b"https://h/r").unwrap().location {
        Location::Network(base) => ServerInfo {
            base,
            capabilities,
            until: None,
            v0_too_long: Default::default(),
        },
        other => panic!("{other:?}"),
    }
}

fn request(depth: Option<u32>, shallow: bool) -> FetchRequest {
    FetchRequest {
        wants: vec![Oid::from_str(A).unwrap()],
        haves: vec![Oid::from_str(B).unwrap()],
        shallow: if shallow {
            vec![Oid::from_str(B).unwrap()]
        } else {
            vec![]
        },
        depth,
        thin: true,
        filter: None,
        is_guess: false,
        max_bytes: 10,
    }
}

#[test]
fn asks_in_one_round() {
    let v2 = V2 {
        object_format: true,
        fetch: true,
        shallow: true,
        ..V2::default()
    };
    let (server2, server0) = (
        server(Capabilities::V2(V2::default())),
        server(Capabilities::V0(V0::default())),
    );
    let (want, have, shallow) = (
        format!("want {A}\n"),
        format!("have {B}\n"),
        format!("shallow {B}\n"),
    );
    let body = body_v2(&server2, &v2, &request(Some(UNSHALLOW), true)).unwrap();
    let expected = [
        "command=fetch\n",
        "object-format=sha1\n",
        "0001",
        "thin-pack\n",
        "ofs-delta\n",
        "no-progress\n",
        &want,
        &shallow,
        "deepen 2147483647\n",
        &have,
        "done\n",
        "0000",
    ];
    assert_eq!(body, pkt(&expected));
    let v0 = V0 {
        side_band: true,
        side_band_64k: true,
        ofs_delta: true,
        shallow: true,
        ..V0::default()
    };
    let body = body_v0(&server0, &v0, &request(Some(3), true), Some(3)).unwrap();
    let want = format!("want {A} side-band-64k ofs-delta\n");
    assert_eq!(
        body,
        pkt(&[&want, &shallow, "deepen 3\n", "0000", &have, "done\n"])
    );
}

/// What is on offer and helps is taken, as Git does: some servers insist.
#[test]
fn v0_asks_for_what_is_offered() {
    let server = server(Capabilities::V0(V0::default()));
    for (v0, says) in [
        (V0::default(), ""),
        (
            V0 {
                multi_ack: true,
                side_band: true,
                ..V0::default()
            },
            " multi_ack side-band",
        ),
        (
            V0 {
                multi_ack: true,
                multi_ack_detailed: true,
                side_band: true,
                side_band_64k: true,
                thin_pack: true,
                no_progress: true,
                ..V0::default()
            },
            " multi_ack_detailed side-band-64k thin-pack no-progress",
        ),
    ] {
        let body = body_v0(&server, &v0, &request(None, false), None).unwrap();
        let (want, have) = (format!("want {A}{says}\n"), format!("have {B}\n"));
        assert_eq!(body, pkt(&[&want, "0000", &have, "done\n"]), "{says}");
    }
}

#[test]
fn all_history_of_a_shallow_repository_ends_where_that_says() {
    let v0 = |is_shallow| V0 {
        shallow: true,
        is_shallow,
        ..V0::default()
    };
    let all = request(None, false);
    assert_eq!(depth_v0(&v0(true), &all), Some(UNSHALLOW));
    assert_eq!(depth_v0(&v0(false), &all), None);
    assert_eq!(
        depth_v0(&v0(true), &request(None, true)),
        None,
        "what is shallow stays so"
    );
    assert_eq!(depth_v0(&v0(true), &request(Some(7), false)), Some(7));
    let unable = V0 {
        is_shallow: true,
        ..V0::default()
    };
    assert_eq!(depth_v0(&unable, &all), None);
}

#[test]
fn a_server_that_lacks_something_is_told_apart() {
    let (server2, server0) = (
        server(Capabilities::V2(V2::default())),
        server(Capabilities::V0(V0::default())),
    );
    let v2 = V2 {
        fetch: true,
        ..V2::default()
    };
    let v0 = V0 {
        side_band: true,
        ..V0::default()
    };
    for (depth, shallow) in [(Some(1), false), (None, true)] {
        for error in [
            body_v2(&server2, &v2, &request(depth, shallow)).unwrap_err(),
            body_v0(&server0, &v0, &request(depth, shallow), depth).unwrap_err(),
        ] {
            assert_eq!(error.kind, Kind::Unsupported);
            assert!(error.message.contains("depth: :infinity"), "{error}");
        }
    }
    assert!(body_v2(&server2, &v2, &request(None, false)).is_ok());
    let able = V2 {
        fetch: true,
        shallow: true,
        ..V2::default()
    };
    assert_eq!(
        body_v2(&server2, &able, &request(Some(0), false))
            .unwrap_err()
            .kind,
        Kind::Invalid
    );
}

#[test]
fn what_is_to_be_left_out_is_said_to_who_can() {
    let server2 = server(Capabilities::V2(V2::default()));
    let without_files = FetchRequest {
        filter: Some("blob:none"),
        ..request(None, false)
    };
    let says = |body: &[u8]| String::from_utf8_lossy(body).contains("filter blob:none\n");
    for filter in [true, false] {
        let v2 = V2 {
            fetch: true,
            filter,
            ..V2::default()
        };
        let body = body_v2(&server2, &v2, &without_files).unwrap();
        assert_eq!(says(&body), filter);
        assert!(!says(
            &body_v2(&server2, &v2, &request(None, false)).unwrap()
        ));
    }
    let server0 = server(Capabilities::V0(V0::default()));
    for (filter, any_want) in [(true, true), (true, false), (false, true)] {
        let v0 = V0 {
            filter,
            any_want,
            ..V0::default()
        };
        let body = body_v0(&server0, &v0, &without_files, None).unwrap();
        let text = String::from_utf8_lossy(&body);
        // As a capability, and between the wants and their end.
        let asked = text.contains(&format!("want {A} filter\n")) && says(&body);
        assert_eq!(asked, filter && any_want, "{text}");
        assert_eq!(Capabilities::V0(v0).can_filter(), filter && any_want);
    }
}
