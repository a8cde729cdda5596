//! Patterns of addresses and sockets.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Seen;
use super::fold::Entries;
use super::general::{Places, Use, pattern};
use super::name::general;
use crate::policy::glob::escaped;

/// Addresses with one port from which on every address with that port is taken.
const MANY: usize = 4;
/// Where ports begin that the kernel gives out itself.
const GIVEN_OUT: u16 = 32768;

/// The pattern of an address.
pub fn address(ip: IpAddr, port: u16) -> String {
    match (ip.to_canonical(), port) {
        (ip, GIVEN_OUT..) if ip.is_loopback() => format!("loopback:{GIVEN_OUT}-{}", u16::MAX),
        (ip, port) if ip.is_loopback() => format!("loopback:{port}"),
        (IpAddr::V6(ip), port) => format!("[{ip}]:{port}"),
        (ip, port) => format!("{ip}:{port}"),
    }
}

/// The pattern of a socket.
pub fn socket(path: &str, places: &Places) -> Option<String> {
    if let Some(name) = path.strip_prefix('@') {
        let fits = !name.is_empty() && !name.contains("//") && !name.contains(char::is_control);
        let component = |component| general(component).unwrap_or_else(|| escaped(component));
        let name = name.split('/').map(component).collect::<Vec<_>>().join("/");
        return fits.then(|| format!("unix:@{name}"));
    }
    Some(format!("unix:{}", pattern(path, Use::Exact, places)?))
}

/// Many addresses with one port become every address with that port.
pub fn fold(entries: &mut Entries) {
    let mut ports: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for text in entries.keys().filter(|text| !text.starts_with("unix:") && !text.starts_with("loopback")) {
        if let Some((_, port)) = text.rsplit_once(':') {
            ports.entry(format!("*:{port}")).or_default().push(text.clone());
        }
    }
    for (every, texts) in ports.into_iter().filter(|(_, texts)| texts.len() >= MANY) {
        let mut all = Seen::default();
        for seen in texts.iter().filter_map(|text| entries.remove(text)) {
            all.add(&seen);
        }
        entries.insert(every, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::net;

    #[test]
    fn addresses_and_sockets_become_patterns() {
        let ip = |text: &str| text.parse().expect("an address");
        let places = Places { repo: None, home: Some("/home/u".to_owned()) };
        for (made, expected) in [
            (address(ip("203.0.113.7"), 443), "203.0.113.7:443"),
            (address(ip("2001:db8::1"), 443), "[2001:db8::1]:443"),
            (address(ip("127.0.0.5"), 5432), "loopback:5432"),
            (address(ip("::1"), 40123), "loopback:32768-65535"),
            (address(ip("::ffff:1.2.3.4"), 80), "1.2.3.4:80"),
            (socket("/home/u/.x/s", &places).expect("a pattern"), "unix:{home}/.x/s"),
            (socket("@/tmp/.X11-unix/X0", &places).expect("a pattern"), "unix:@/tmp/.X11-unix/X0"),
            (socket("@dbus-12345678", &places).expect("a pattern"), "unix:@dbus-*"),
        ] {
            assert_eq!(made, expected);
            assert!(net::parse(&made).is_ok(), "{made}");
        }
        assert_eq!(socket("@", &places), None);
    }

    #[test]
    fn many_addresses_become_every_one() {
        let texts = ["1.1.1.1:443", "1.1.1.2:443", "[2001:db8::1]:443", "1.1.1.4:443", "1.1.1.4:80", "loopback:443"];
        let mut entries: Entries = texts.iter().map(|text| ((*text).to_owned(), Seen::default())).collect();
        fold(&mut entries);
        assert_eq!(entries.into_keys().collect::<Vec<_>>(), ["*:443", "1.1.1.4:80", "loopback:443"]);
    }
}
