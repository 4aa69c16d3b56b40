//! A ref that a remote does not have: what is said of it, and which names are near.

use crate::error::{Error, Key, Kind, Name};
use crate::reference::shown;

/// The most bytes of a name that is compared: most file systems take no longer names.
const LONGEST_NEAR: usize = 255;
/// The most steps that comparing names takes, each about 10 ns.
const MAX_STEPS: usize = 4_000_000;

/// `ref_not_found`: the remote at `url` lists `names`, and `short` is none of them. `what` says
/// what kind of ref all of these are, in the words of [`crate::reference::named`].
pub(super) fn among(
    url: String,
    what: &str,
    short: &[u8],
    names: &[Vec<u8>],
    near: &[Vec<u8>],
) -> Error {
    let asked = shown(short);
    let error = if names.is_empty() && what != "tag" {
        let message = format!("{url} is empty: it has no branch yet; push a first commit to it");
        Error::new(Kind::RefNotFound, message)
    } else {
        let hint = if near.is_empty() {
            match (names.len(), what) {
                (0, _) => format!("it has no {what}s"),
                (1, _) => format!("its only {what} is {}", shown(&names[0])),
                (more, "branch") => format!("it has {more} other branches"),
                (more, _) => format!("it has {more} other {what}s"),
            }
        } else {
            let near: Vec<String> = near.iter().map(|name| shown(name)).collect();
            format!("near names are {}", near.join(", "))
        };
        let near: Vec<Name> = near.iter().map(|name| Name::new(name)).collect();
        Error::new(
            Kind::RefNotFound,
            format!("{url} has no {what} `{asked}`; {hint}"),
        )
        .with(Key::Near, near)
    };
    error.with(Key::Url, url).with(Key::Ref, Name::new(short))
}

/// The same of a remote that lists more names than are read.
pub(super) fn among_many(url: String, what: &str, short: &[u8]) -> Error {
    let message = format!("{url} has no {what} `{}`, among many", shown(short));
    Error::new(Kind::RefNotFound, message)
        .with(Key::Url, url)
        .with(Key::Ref, Name::new(short))
}

/// The three names that somebody most likely meant, the nearest first. Names of more than
/// [`LONGEST_NEAR`] bytes are left out, and so are those that are left after [`MAX_STEPS`]: a
/// server chooses the names, and how many there are.
pub(super) fn near(name: &[u8], names: &[Vec<u8>]) -> Vec<Vec<u8>> {
    if name.len() > LONGEST_NEAR {
        return vec![];
    }
    let wanted = String::from_utf8_lossy(name).to_lowercase();
    let allowed = 2.max(wanted.len() / 3);
    let length = wanted.chars().count();
    let mut steps = 0;
    let mut ranked: Vec<(usize, &Vec<u8>)> = vec![];
    for other in names.iter().filter(|other| other.len() <= LONGEST_NEAR) {
        let lower = String::from_utf8_lossy(other).to_lowercase();
        let others = lower.chars().count();
        let related = lower.contains(&wanted) || wanted.contains(&lower);
        // `main` and `master` are meant for each other.
        let usual = ["main", "master"];
        let default = usual.contains(&wanted.as_str()) && usual.contains(&lower.as_str());
        // So much is missing in one of them, whatever they hold.
        if !related && !default && length.abs_diff(others) > allowed {
            continue;
        }
        steps += length * others;
        if steps > MAX_STEPS {
            break;
        }
        let distance = strsim::damerau_levenshtein(&wanted, &lower);
        if distance <= allowed || related || default {
            ranked.push((distance, other));
        }
    }
    ranked.sort();
    ranked
        .into_iter()
        .take(3)
        .map(|(_, name)| name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::near;

    #[test]
    fn near_names_come_closest_first_and_far_ones_not_at_all() {
        let names = [
            &b"master"[..],
            b"release-1",
            b"release-12",
            b"Main",
            b"docs",
            b"caf\xe9",
        ]
        .map(<[u8]>::to_vec);
        assert_eq!(near(b"main", &names), [&b"Main"[..], b"master"]);
        assert_eq!(
            near(b"relaese-1", &names),
            [&b"release-1"[..], b"release-12"]
        );
        assert_eq!(near(b"cafe", &names), [b"caf\xe9"]);
        assert!(near(b"zzzzzz", &names).is_empty());
    }

    /// Each would take minutes if it were compared in full.
    #[test]
    fn near_names_are_not_looked_for_without_end() {
        let wanted = [b'a'; 200];
        let close = |places: [u8; 3]| [&wanted[3..], &places[..]].concat();
        let mut long: Vec<Vec<u8>> = (0..1_000).map(|_| vec![b'b'; 60_000]).collect();
        long.push(close(*b"xyz"));
        assert_eq!(near(&wanted, &long), [close(*b"xyz")]);
        let many = vec![vec![b'b'; 200]; 250_000];
        assert!(near(&wanted, &[&[close(*b"xyz")][..], &many].concat()).len() == 1);
        assert!(near(&[b'a'; 60_000], &long).is_empty());
    }
}
