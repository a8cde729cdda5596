//! Where a connection goes: addresses, ports and unix sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use guard_common::address::Address;

use super::bytes::ByteSet;
use super::glob;
use super::pattern::{Fault, Pattern};

/// Bytes of an address and its port as the tables see them.
pub const TEXT_BYTES: usize = 18;
/// Bits before the 32 of an IPv4 address in its mapped form.
const MAPPED_BITS: u8 = 96;
/// `::ffff:0:0`, where IPv4 addresses are mapped to.
const MAPPED: u128 = 0xffff << 32;

/// One element of `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every address and every socket.
    Everything,
    /// Addresses.
    Net(Net),
    /// Sockets in the file system, or with abstract names.
    Unix(Pattern),
}

/// A block of addresses and a range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Net {
    /// The addresses' first bits; IPv4 addresses are mapped into IPv6.
    prefix: u128,
    /// How many they are.
    bits: u8,
    /// First and last port.
    ports: (u16, u16),
}

impl Net {
    /// Every address and port.
    pub fn everything() -> Self {
        Self { prefix: 0, bits: 0, ports: (0, u16::MAX) }
    }

    /// Whether every address and port of `other` is of this block too.
    pub fn covers(&self, other: &Self) -> bool {
        self.bits <= other.bits
            && (self.prefix ^ other.prefix) & mask(self.bits) == 0
            && self.ports.0 <= other.ports.0
            && other.ports.1 <= self.ports.1
    }

    /// Whether an address and port is of both blocks.
    pub fn overlaps(&self, other: &Self) -> bool {
        (self.prefix ^ other.prefix) & mask(self.bits.min(other.bits)) == 0
            && self.ports.0 <= other.ports.1
            && other.ports.0 <= self.ports.1
    }

    /// The texts of this block, as sequences of byte sets.
    pub fn sequences(&self) -> Vec<[ByteSet; TEXT_BYTES]> {
        let mut sequence = [ByteSet::all(); TEXT_BYTES];
        let (first, last) = (self.prefix.to_be_bytes(), (self.prefix | !mask(self.bits)).to_be_bytes());
        for (set, (&first, &last)) in sequence.iter_mut().zip(first.iter().zip(&last)) {
            *set = ByteSet::range(first, last);
        }
        port_sets(self.ports)
            .into_iter()
            .map(|[high, low]| {
                sequence[16] = high;
                sequence[17] = low;
                sequence
            })
            .collect()
    }
}

/// Where the kernel goes that is told to go to `ip` by a socket that is bound to no address.
#[must_use]
pub fn reached(ip: IpAddr) -> IpAddr {
    let [reached, _] = mapped(ip).reached(Address::ANY_6);
    let reached = Ipv6Addr::from(reached.bytes());
    reached.to_ipv4_mapped().map_or(IpAddr::V6(reached), IpAddr::V4)
}

fn mapped(ip: IpAddr) -> Address {
    Address::of(match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    })
}

/// The text of an address and port, of where the kernel goes.
pub fn text(ip: IpAddr, port: u16) -> [u8; TEXT_BYTES] {
    let mut text = [0; TEXT_BYTES];
    text[..16].copy_from_slice(&mapped(reached(ip)).bytes());
    text[16..].copy_from_slice(&port.to_be_bytes());
    text
}

/// The ports of a range, as sets of high bytes and of the low bytes that go with them.
fn port_sets((first, last): (u16, u16)) -> Vec<[ByteSet; 2]> {
    let ([high1, low1], [high2, low2]) = (first.to_be_bytes(), last.to_be_bytes());
    if high1 == high2 {
        return vec![[ByteSet::one(high1), ByteSet::range(low1, low2)]];
    }
    let mut sets = Vec::new();
    let (mut from, mut to) = (u16::from(high1), u16::from(high2));
    if low1 > 0 {
        sets.push([ByteSet::one(high1), ByteSet::range(low1, u8::MAX)]);
        from += 1;
    }
    if low2 < u8::MAX {
        sets.push([ByteSet::one(high2), ByteSet::range(0, low2)]);
        to -= 1;
    }
    if from <= to {
        sets.push([ByteSet::range(from as u8, to as u8), ByteSet::all()]);
    }
    sets
}

fn mask(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

/// The targets that `text` stands for.
pub fn parse(text: &str) -> Result<Vec<Target>, Fault> {
    if text == "*" {
        return Ok(vec![Target::Everything]);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path);
    }
    let (host, ports) = split(text)?;
    let ports = ports.map_or(Ok((0, u16::MAX)), parse_ports)?;
    let blocks = match host {
        "*" => vec![(0, 0)],
        "loopback" => {
            vec![(u128::from(Ipv6Addr::LOCALHOST), 128), (v4(Ipv4Addr::new(127, 0, 0, 0)), MAPPED_BITS + 8)]
        }
        host => parse_block(host)?,
    };
    Ok(blocks.into_iter().map(|(prefix, bits)| Target::Net(Net { prefix, bits, ports })).collect())
}

fn unix(path: &str) -> Result<Vec<Target>, Fault> {
    // An abstract name is one of a tree of its own, beside the root; the tables see it with its `@`.
    let patterns = if path.starts_with('@') { glob::parse(&format!("/{path}")) } else { glob::parse(path) }?;
    Ok(patterns.into_iter().map(Target::Unix).collect())
}

/// Host and ports of `text`.
fn split(text: &str) -> Result<(&str, Option<&str>), Fault> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or_else(|| Fault::new("`[` is never closed"))?;
        // The length of a network may stand inside the brackets or behind them.
        return match after.strip_prefix(':') {
            Some(ports) => Ok((host, Some(ports))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(Fault::new("after `]` only a `:` and a port can follow")
                .help(format!("write the length inside, like `[{host}/64]:443`"))),
        };
    }
    Ok(match text.split_once(':') {
        Some((host, ports)) if !ports.contains(':') => (host, Some(ports)),
        _ => (text, None),
    })
}

fn parse_ports(text: &str) -> Result<(u16, u16), Fault> {
    if text == "*" {
        return Ok((0, u16::MAX));
    }
    let port = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten().ok_or_else(|| {
            Fault::new(format!("`{text}` is not a port"))
                .help("write a number up to 65535, a range `8000-8999`, or `*`")
        })
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if first > last {
        return Err(Fault::new(format!("the range of ports `{text}` is the wrong way round")));
    }
    Ok((first, last))
}

fn v4(ip: Ipv4Addr) -> u128 {
    u128::from(ip.to_ipv6_mapped())
}

/// The blocks of addresses that `host` stands for, as first bits and their number.
fn parse_block(host: &str) -> Result<Vec<(u128, u8)>, Fault> {
    let (address, length) = match host.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (host, None),
    };
    let ip: IpAddr = address.parse().map_err(|_| not_an_address(host, address))?;
    let whole: u8 = if ip.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => whole,
        Some(text) => text
            .parse()
            .ok()
            .filter(|&length| length <= whole)
            .ok_or_else(|| Fault::new(format!("`/{text}` is not a length from `/0` to `/{whole}`")))?,
    };
    let (value, bits) = match ip {
        IpAddr::V4(ip) => (v4(ip), MAPPED_BITS + length),
        IpAddr::V6(ip) => (u128::from(ip), length),
    };
    if bits == 128 && (value == 0 || value == MAPPED) {
        return Err(Fault::new(format!(
            "it can never match: who connects to `{address}` reaches this machine's loopback"
        ))
        .help(format!("write `{}`, or `{address}/0` for every address", reached(ip))));
    }
    let prefix = value & mask(bits);
    if prefix != value {
        let base = match Ipv6Addr::from(prefix) {
            base if ip.is_ipv4() => base.to_ipv4_mapped().map_or(IpAddr::V6(base), IpAddr::V4),
            base => IpAddr::V6(base),
        };
        return Err(Fault::new(format!("the address has bits beyond its length `/{length}`"))
            .help(format!("write `{base}/{length}`, or `{address}` for this address alone")));
    }
    if bits < MAPPED_BITS && (prefix ^ MAPPED) & mask(bits) == 0 {
        // `::/0` is written for IPv6; it must not take in all of IPv4, which only the tables map into it.
        return Ok((bits..MAPPED_BITS).map(|bit| ((MAPPED & mask(bit + 1)) ^ (1 << (127 - bit)), bit + 1)).collect());
    }
    Ok(vec![(prefix, bits)])
}

fn not_an_address(host: &str, address: &str) -> Fault {
    let fault = Fault::new(format!("`{host}` is not an address, a network, `*`, `loopback` or `unix:PATH`"));
    if host.starts_with(['/', '{']) {
        return fault.help(format!("for a unix socket write `unix:{host}`"));
    }
    if address.chars().any(char::is_alphabetic) && !address.contains(':') {
        return fault.help("the kernel sees addresses, not names: write those that the name stands for");
    }
    fault
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, ip: &str, port: u16) -> bool {
        let text = text(ip.parse().expect("address"), port);
        parse(pattern).expect(pattern).iter().any(|target| match target {
            Target::Everything => true,
            Target::Unix(_) => false,
            Target::Net(net) => {
                net.sequences().iter().any(|sets| sets.iter().zip(&text).all(|(set, &byte)| set.contains(byte)))
            }
        })
    }

    fn fault(text: &str) -> String {
        let fault = parse(text).expect_err(text);
        fault.help.map_or(fault.what.clone(), |help| format!("{} | {help}", fault.what))
    }

    #[test]
    fn blocks_and_ports() {
        assert!(matches("10.0.0.0/8", "10.255.3.4", 1));
        assert!(!matches("10.0.0.0/8", "11.0.0.0", 1));
        assert!(matches("10.16.0.0/12:443", "10.31.3.4", 443));
        assert!(!matches("10.16.0.0/12:443", "10.32.0.0", 443));
        assert!(!matches("10.16.0.0/12:443", "10.31.3.4", 444));
        assert!(matches("[2001:db8::/33]:80-90", "2001:db8:7fff::1", 90));
        assert!(!matches("[2001:db8::/33]:80-90", "2001:db8:8000::1", 90));
        assert!(matches("::1", "::1", 9));
        assert!(matches("*:443", "1.2.3.4", 443) && matches("*:443", "fe80::1", 443));
        assert!(matches("loopback", "127.9.9.9", 1) && matches("loopback:5", "::1", 5));
        assert!(matches("::ffff:1.2.3.4", "1.2.3.4", 5));
        assert!(matches("loopback:5", "0.0.0.0", 5) && matches("127.0.0.1", "0.0.0.0", 5));
        assert!(matches("loopback", "::", 5) && matches("::1", "::", 5) && !matches("127.0.0.1", "::", 5));
        assert!(matches("127.0.0.1", "::ffff:0.0.0.0", 5));
    }

    #[test]
    fn port_ranges_hold_exactly_their_ports() {
        for (first, last) in [(0, 0), (1, 255), (0, 256), (255, 256), (80, 9000), (256, 511), (1, u16::MAX)] {
            let sets = port_sets((first, last));
            for port in 0..=u16::MAX {
                let [high, low] = port.to_be_bytes();
                let found = sets.iter().any(|[highs, lows]| highs.contains(high) && lows.contains(low));
                assert_eq!(found, first <= port && port <= last, "{port} of {first}-{last}");
            }
        }
    }

    #[test]
    fn ipv6_networks_leave_ipv4_alone() {
        assert!(matches("::/0", "2001:db8::1", 1) && matches("::/0", "::1", 1) && matches("::/0", "::fffe:0:1", 1));
        assert!(!matches("::/0", "1.2.3.4", 1));
        assert!(matches("0.0.0.0/0", "1.2.3.4", 1) && !matches("0.0.0.0/0", "::1", 1));
    }

    #[test]
    fn faults_say_what_to_write() {
        assert_eq!(
            fault("github.com:443"),
            "`github.com` is not an address, a network, `*`, `loopback` or `unix:PATH` | the kernel sees addresses, not \
             names: write those that the name stands for"
        );
        assert_eq!(
            fault("10.1.0.0/8"),
            "the address has bits beyond its length `/8` | write `10.0.0.0/8`, or `10.1.0.0` for this address alone"
        );
        assert_eq!(
            fault("0.0.0.0:80"),
            "it can never match: who connects to `0.0.0.0` reaches this machine's loopback | write `127.0.0.1`, or \
             `0.0.0.0/0` for every address"
        );
        assert!(fault("::").ends_with("write `::1`, or `::/0` for every address"));
        assert_eq!(fault("10.0.0.0/33"), "`/33` is not a length from `/0` to `/32`");
        assert_eq!(
            fault("*:99999"),
            "`99999` is not a port | write a number up to 65535, a range `8000-8999`, or `*`"
        );
        assert!(fault("/run/docker.sock").ends_with("for a unix socket write `unix:/run/docker.sock`"));
        assert!(fault("unix:docker.sock").starts_with("it can never match"));
    }
}
