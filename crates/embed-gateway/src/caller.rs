//! Callers, to whom requests and connections are attributed.

use std::net::{IpAddr, Ipv6Addr};

/// The caller of a request, for fairness between callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Caller {
    /// The holder of the key at this index.
    Key(u16),
    /// A peer without a key; for IPv6 its /64 network, since one host has a whole network.
    Peer(IpAddr),
    /// The router was called without a socket.
    Unknown,
}

impl Caller {
    /// The caller at an address.
    pub(crate) fn of_address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & (u128::MAX << 64);
                Self::Peer(Ipv6Addr::from(network).into())
            }
            address => Self::Peer(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_is_one_caller() {
        let peer = |address: &str| Caller::of_address(address.parse().unwrap());
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:10.0.0.1"), peer("10.0.0.1"));
        assert_ne!(peer("10.0.0.1"), peer("10.0.0.2"));
    }
}
