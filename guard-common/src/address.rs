//! Internet addresses as the tables see them, and where the kernel goes that is told to go to them.

/// An IPv6 address, or an IPv4 address mapped into one: its upper and its lower eight bytes as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The first eight bytes.
    pub high: u64,
    /// The last eight.
    pub low: u64,
}

impl Address {
    /// `::`.
    pub const ANY_6: Self = Self { high: 0, low: 0 };
    /// `0.0.0.0`.
    pub const ANY_4: Self = Self::v4(0);
    /// `::1`.
    pub const LOOPBACK_6: Self = Self { high: 0, low: 1 };
    /// `127.0.0.1`.
    pub const LOOPBACK_4: Self = Self::v4(0x7f00_0001);

    /// An IPv4 address, mapped.
    #[inline(always)]
    #[must_use]
    pub const fn v4(number: u32) -> Self {
        Self { high: 0, low: 0xffff << 32 | number as u64 }
    }

    /// An IPv6 address in network order.
    #[must_use]
    pub const fn of(bytes: [u8; 16]) -> Self {
        let number = u128::from_be_bytes(bytes);
        Self { high: (number >> 64) as u64, low: number as u64 }
    }

    /// Its bytes in network order.
    #[inline(always)]
    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.high.to_be_bytes());
        bytes[8..].copy_from_slice(&self.low.to_be_bytes());
        bytes
    }

    /// Whether it is an IPv4 address, mapped.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(self) -> bool {
        self.high == 0 && self.low >> 32 == 0xffff
    }

    /// Whether it leads back to the machine by the loopback.
    #[inline(always)]
    #[must_use]
    pub const fn is_loopback(self) -> bool {
        self.is_v4() && self.low >> 24 & 0xff == 127 || self.high == 0 && self.low == 1
    }

    /// Where the kernel goes that is told to go here by a socket bound to `source`, which is [`Self::ANY_4`] or
    /// [`Self::ANY_6`] where it is bound to none. Mostly this address, twice; where two are possible, rules must hold
    /// for both.
    ///
    /// `0.0.0.0` is the socket's own address, and where it has none, or one that nobody can send from, 127.0.0.1
    /// (`net/ipv4/route.c:ip_route_output_key_hash_rcu`). `::` is the loopback, that of IPv4 where the socket is bound to
    /// IPv4 (`net/ipv6/tcp_ipv6.c:tcp_v6_connect`, `net/ipv6/datagram.c:__ip6_datagram_connect`,
    /// `net/ipv6/udp.c:udpv6_sendmsg`).
    #[inline(always)]
    #[must_use]
    pub fn reached(self, source: Self) -> [Self; 2] {
        if self == Self::ANY_4 {
            let own = if source.is_v4() && source != Self::ANY_4 { source } else { Self::LOOPBACK_4 };
            return [own, Self::LOOPBACK_4];
        }
        if self == Self::ANY_6 {
            let own = if source.is_v4() { Self::LOOPBACK_4 } else { Self::LOOPBACK_6 };
            return [own, own];
        }
        [self, self]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_address_is_the_loopback_or_ones_own() {
        let (one, other) =
            (Address::v4(0x7f09_0102), Address::of([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
        for source in [Address::ANY_4, Address::ANY_6, one, other] {
            assert_eq!(one.reached(source), [one; 2]);
            assert_eq!(other.reached(source), [other; 2]);
        }
        assert_eq!(Address::ANY_4.reached(Address::ANY_4), [Address::LOOPBACK_4; 2]);
        assert_eq!(Address::ANY_4.reached(Address::ANY_6), [Address::LOOPBACK_4; 2]);
        assert_eq!(Address::ANY_4.reached(one), [one, Address::LOOPBACK_4]);
        assert_eq!(Address::ANY_6.reached(Address::ANY_6), [Address::LOOPBACK_6; 2]);
        assert_eq!(Address::ANY_6.reached(other), [Address::LOOPBACK_6; 2]);
        assert_eq!(Address::ANY_6.reached(one), [Address::LOOPBACK_4; 2]);
    }

    #[test]
    fn all_of_127_is_the_loopback() {
        for (address, loopback) in [
            (Address::LOOPBACK_4, true),
            (Address::v4(0x7fff_ffff), true),
            (Address::v4(0x8000_0001), false),
            (Address::v4(0x0a00_007f), false),
            (Address::LOOPBACK_6, true),
            (Address::ANY_6, false),
            (Address { high: 0xfe80 << 48, low: 1 }, false),
        ] {
            assert_eq!(address.is_loopback(), loopback, "{address:?}");
        }
    }

    #[test]
    fn bytes_and_numbers_lead_back() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        assert_eq!(Address::of(bytes).bytes(), bytes);
        assert_eq!(Address::v4(0x0102_0304).bytes()[10..], [0xff, 0xff, 1, 2, 3, 4]);
        assert!(Address::ANY_4.is_v4() && !Address::LOOPBACK_6.is_v4() && !Address::of(bytes).is_v4());
    }
}
