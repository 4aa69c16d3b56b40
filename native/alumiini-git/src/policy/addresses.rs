//! Which addresses connections may be made to. The rules are asked for every connection, with the
//! address that is connected to: after a name is resolved, and after redirects.

use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::{Error, Kind, Result};

/// Rules for addresses. Of the ranges that an address is in, the smallest decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Addresses {
    otherwise: Otherwise,
    /// The smallest range first; of two equal ones, that which is denied.
    rules: Vec<(Range, bool)>,
}

/// What holds for an address that is in no range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Otherwise {
    #[default]
    Any,
    Public,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Range {
    base: IpAddr,
    length: u8,
}

/// No connection may be made to where `host` leads. The address is left out: whoever chose the name
/// need not learn it.
#[derive(Debug)]
pub(crate) struct Denied {
    pub(crate) host: String,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} leads to an address that is not allowed", self.host)
    }
}

impl StdError for Denied {}

/// Special-purpose addresses that are not globally reachable, or that lead elsewhere by what they
/// carry: the IANA registry (<https://www.iana.org/assignments/iana-ipv4-special-registry>),
/// multicast (RFC 5771) and class E.
const SPECIAL_V4: [([u8; 4], u8); 17] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    // Link-local, where clouds have their metadata.
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    // Relays of 6to4, deprecated by RFC 7526.
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
    ([255, 255, 255, 255], 32),
    // In no registry: the host of each virtual machine of Azure (its "WireServer").
    ([168, 63, 129, 16], 32),
];

/// What is public of IPv6, all of it within global unicast (RFC 4291, 2.4).
const GLOBAL_V6: ([u16; 8], u8) = ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// What of that is not, by <https://www.iana.org/assignments/iana-ipv6-special-registry>.
const SPECIAL_V6: [([u16; 8], u8); 4] = [
    // Protocol assignments: Teredo, benchmarking, ORCHID and more.
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    // 6to4, deprecated.
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    // Documentation.
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

impl Addresses {
    /// From the fields of `hello`: `default` is `any`, `public` or `none`, and `public` where it is
    /// missing. Ranges are `address/length`, or an address. `invalid` for anything else.
    pub(crate) fn new(
        default: Option<&str>,
        allow: &[Vec<u8>],
        deny: &[Vec<u8>],
    ) -> Result<Addresses> {
        let otherwise = match default {
            Some("any") => Otherwise::Any,
            None | Some("public") => Otherwise::Public,
            Some("none") => Otherwise::None,
            Some(_) => {
                return Err(Error::new(
                    Kind::Invalid,
                    "`default` of `addresses` is any, public or none",
                ));
            }
        };
        let parse =
            |(range, allowed): (&Vec<u8>, bool)| Range::parse(range).map(|range| (range, allowed));
        let denied = deny.iter().map(|range| (range, false));
        let all = denied.chain(allow.iter().map(|range| (range, true)));
        let mut rules = all.map(parse).collect::<Result<Vec<_>>>()?;
        rules.sort_by_key(|(range, allowed)| (std::cmp::Reverse(range.length), *allowed));
        Ok(Addresses { otherwise, rules })
    }

    /// Whether all addresses are allowed.
    pub(crate) fn is_any(&self) -> bool {
        self.otherwise == Otherwise::Any && self.rules.is_empty()
    }

    /// Whether `address` may be connected to. An address that stands for another one, such as an
    /// IPv4 address within an IPv6 one, counts as both.
    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        let address = reached(address);
        self.decides(address)
            && carried(address).is_none_or(|inner| self.decides(IpAddr::V4(inner)))
    }

    /// Refuses `host` where it is an address that is not allowed. A name passes: its addresses are
    /// checked when it is resolved.
    pub(crate) fn check(&self, host: &str) -> Result<(), Denied> {
        match literal(host) {
            Some(address) if !self.allows(address) => Err(self.denied(host)),
            _ => Ok(()),
        }
    }

    /// The same where a proxy resolves names. `localhost` would be the proxy itself, so it is
    /// refused where loopback addresses are.
    pub(crate) fn check_behind_proxy(&self, host: &str) -> Result<(), Denied> {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let is_local = name == "localhost" || name.ends_with(".localhost");
        let own = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        if is_local && !own.into_iter().all(|address| self.allows(address)) {
            return Err(self.denied(host));
        }
        self.check(host)
    }

    /// What to answer where `host` leads to no address that is allowed.
    pub(crate) fn denied(&self, host: &str) -> Denied {
        Denied {
            host: host.to_owned(),
        }
    }

    fn decides(&self, address: IpAddr) -> bool {
        let rule = self.rules.iter().find(|(range, _)| range.holds(address));
        match (rule, self.otherwise) {
            (Some((_, allowed)), _) => *allowed,
            (None, Otherwise::Any) => true,
            (None, Otherwise::Public) => is_public(address),
            (None, Otherwise::None) => false,
        }
    }
}

/// `host` as an address, with or without brackets and zone.
fn literal(host: &str) -> Option<IpAddr> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.split('%').next().unwrap_or(host).parse().ok()
}

/// Whose machine a packet to `address` gets to: of IPv4 in IPv6, mapped (RFC 4291, 2.5.5.2) or
/// translated (NAT64, RFC 6052), that of IPv4.
fn reached(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => IpAddr::V4(last_four(v6)),
        _ => address,
    }
}

/// An address of IPv4 to which one of IPv6 leads beside its own: 6to4 (RFC 3056) and what was
/// called compatible.
fn carried(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = address else {
        return None;
    };
    match v6.segments() {
        [0x2002, ..] => {
            let octets = v6.octets();
            Some(Ipv4Addr::new(octets[2], octets[3], octets[4], octets[5]))
        }
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => Some(last_four(v6)),
        _ => None,
    }
}

fn last_four(v6: Ipv6Addr) -> Ipv4Addr {
    let octets = v6.octets();
    Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15])
}

fn is_public(address: IpAddr) -> bool {
    let v4 = |(base, length): &([u8; 4], u8)| Range::new((*base).into(), *length);
    let v6 = |(base, length): &([u16; 8], u8)| Range::new((*base).into(), *length);
    match address {
        IpAddr::V4(_) => !SPECIAL_V4.iter().any(|range| v4(range).holds(address)),
        IpAddr::V6(_) => {
            v6(&GLOBAL_V6).holds(address)
                && !SPECIAL_V6.iter().any(|range| v6(range).holds(address))
        }
    }
}

impl Range {
    fn new(base: IpAddr, length: u8) -> Range {
        Range { base, length }
    }

    fn parse(text: &[u8]) -> Result<Range> {
        let invalid = || {
            let shown = String::from_utf8_lossy(text);
            let message = format!(
                "`addresses` takes ranges such as 10.0.0.0/8 and fd00::/8, which `{shown}` is not"
            );
            Error::new(Kind::Invalid, message)
        };
        let text = std::str::from_utf8(text).map_err(|_| invalid())?;
        let (base, length) = match text.split_once('/') {
            Some((base, length)) => (base, Some(length.parse::<u8>().map_err(|_| invalid())?)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| invalid())?;
        let bits = if base.is_ipv4() { 32 } else { 128 };
        let range = Range::new(base, length.unwrap_or(bits));
        // Bits beyond its length are a slip: one does not know which of the two was meant.
        if range.length > bits || range.first() != base {
            return Err(invalid());
        }
        // Addresses are asked for as what they reach.
        match (reached(base), range.length) {
            (v4 @ IpAddr::V4(_), length @ 96..) => Ok(Range::new(v4, length - 96)),
            _ => Ok(range),
        }
    }

    fn first(&self) -> IpAddr {
        match self.base {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & self.mask() as u32).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & self.mask()).into(),
        }
    }

    /// Of IPv4, in the lower bits.
    fn mask(&self) -> u128 {
        let bits = if self.base.is_ipv4() { 32 } else { 128 };
        let free = u32::from(bits - self.length.min(bits));
        u128::MAX.checked_shl(free).unwrap_or(0)
    }

    fn holds(&self, address: IpAddr) -> bool {
        let same = match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(v4)) => u128::from(base.to_bits() ^ v4.to_bits()),
            (IpAddr::V6(base), IpAddr::V6(v6)) => base.to_bits() ^ v6.to_bits(),
            _ => return false,
        };
        same & self.mask()
            & if address.is_ipv4() {
                u128::from(u32::MAX)
            } else {
                u128::MAX
            }
            == 0
    }
}

#[cfg(test)]
#[path = "addresses_tests.rs"]
mod tests;
