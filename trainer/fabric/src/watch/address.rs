//! Addresses of ranks: one UDP socket a rank, all of its host's addresses told to the others.
//!
//! Which of a host's networks reaches another host is not known beforehand, so packets go to several addresses; who
//! sent a packet is said in it, never concluded from where it came.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Most addresses of one peer that packets go to.
const TARGETS: usize = 4;
/// A full send buffer may hold a sender up for this long.
const SEND_TIMEOUT: Duration = Duration::from_millis(50);

/// What a rank tells the others before the first packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Advertisement {
    /// Name of the host.
    pub(super) host: String,
    /// Port on all addresses; 0 when the rank has no socket.
    pub(super) port: u16,
    /// The host's addresses except loopback.
    pub(super) addresses: Vec<IpAddr>,
    /// Random: the numbers of all ranks together make the token of the run.
    nonce: u64,
}

impl Advertisement {
    /// The advertisement of this process.
    pub(super) fn new(host: &str, socket: Option<&Socket>) -> Self {
        // The keys of a hash map are the standard library's own source of random numbers.
        let nonce = RandomState::new().hash_one(std::process::id());
        let addresses = socket.map_or_else(Vec::new, Socket::addresses);
        Self { host: host.to_owned(), port: socket.map_or(0, |socket| socket.port), addresses, nonce }
    }

    /// Where to send packets to reach `peer` from the host of this advertisement.
    ///
    /// Bridges of container engines have the same address on every host, so addresses that both have come last.
    pub(super) fn targets(&self, peer: &Self) -> Vec<SocketAddr> {
        if peer.port == 0 {
            return Vec::new();
        }
        let (shared, other): (Vec<IpAddr>, Vec<IpAddr>) =
            peer.addresses.iter().partition(|address| self.addresses.contains(address));
        let loopback = (peer.host == self.host).then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let all = loopback.into_iter().chain(other).chain(shared);
        all.take(TARGETS).map(|address| SocketAddr::new(address, peer.port)).collect()
    }
}

/// The token of a run of these ranks.
pub(super) fn token<'a>(ranks: impl Iterator<Item = &'a Advertisement>) -> u64 {
    ranks.fold(0, |token, rank| token ^ rank.nonce)
}

/// One UDP socket for IPv4 and, where the host has it, IPv6.
#[derive(Debug)]
pub(super) struct Socket {
    udp: UdpSocket,
    port: u16,
    ipv6: bool,
}

impl Socket {
    /// Binds a free port on all addresses.
    ///
    /// # Errors
    /// When the system gives no socket.
    pub(super) fn bind() -> io::Result<Self> {
        let both = Self::new(UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)), true);
        // Where IPv6 is off there is no such socket, and some systems keep IPv4 away from it.
        let socket = match both {
            Ok(socket) if socket.wake().is_ok() => socket,
            _ => Self::new(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)), false)?,
        };
        socket.udp.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(socket)
    }

    fn new(udp: io::Result<UdpSocket>, ipv6: bool) -> io::Result<Self> {
        let udp = udp?;
        let port = udp.local_addr()?.port();
        Ok(Self { udp, port, ipv6 })
    }

    /// The host's addresses that packets to this socket may be sent to, except loopback.
    fn addresses(&self) -> Vec<IpAddr> {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
            tracing::warn!("cannot list network addresses, so other hosts get no heartbeats of this rank: {error}");
            Vec::new()
        });
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in interfaces.iter().map(if_addrs::Interface::ip) {
            let usable = match address {
                IpAddr::V4(address) => !address.is_loopback() && !address.is_unspecified(),
                // A link-local address means nothing without the sender's name of the interface.
                IpAddr::V6(address) => self.ipv6 && !address.is_loopback() && !address.is_unicast_link_local(),
            };
            if usable && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses.sort_by_key(IpAddr::is_ipv6);
        addresses
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// When there is no way to the address now; there may be one later.
    pub(super) fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let ip = match to.ip() {
            IpAddr::V4(address) if self.ipv6 => IpAddr::V6(address.to_ipv6_mapped()),
            ip => ip,
        };
        self.udp.send_to(bytes, (ip, to.port())).map(|_| ())
    }

    /// Receives a datagram, or nothing within `timeout`.
    ///
    /// # Errors
    /// When the socket failed.
    pub(super) fn receive<'a>(&self, buffer: &'a mut [u8], timeout: Duration) -> io::Result<Option<&'a [u8]>> {
        self.udp.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        match self.udp.recv(buffer) {
            Ok(len) => Ok(buffer.get(..len)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Ends a wait in [`Socket::receive`] with an empty datagram.
    ///
    /// # Errors
    /// When the socket does not reach itself.
    pub(super) fn wake(&self) -> io::Result<()> {
        self.send(&[], (Ipv4Addr::LOCALHOST, self.port).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advertisement(host: &str, addresses: &[&str]) -> Advertisement {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Advertisement { host: host.into(), port: 9, addresses, nonce: 1 }
    }

    fn targets(own: &Advertisement, peer: &Advertisement) -> Vec<String> {
        own.targets(peer).iter().map(|target| target.ip().to_string()).collect()
    }

    #[test]
    fn own_addresses_leave_out_loopback_and_link_local() {
        let own = Advertisement::new("n1", Some(&Socket::bind().unwrap()));
        assert_ne!(own.port, 0);
        for address in own.addresses {
            assert!(!address.is_loopback() && !address.to_string().starts_with("fe80"), "{address}");
        }
    }

    #[test]
    fn a_peer_on_the_same_host_is_reached_by_loopback_first() {
        let (own, peer) = (advertisement("n1", &["10.0.0.1"]), advertisement("n1", &["10.0.0.1", "10.1.0.1"]));
        assert_eq!(targets(&own, &peer), ["127.0.0.1", "10.1.0.1", "10.0.0.1"]);
    }

    #[test]
    fn addresses_that_every_host_has_come_last_and_few_are_used() {
        let own = advertisement("n1", &["172.17.0.1", "10.0.0.1"]);
        let peer = advertisement("n2", &["172.17.0.1", "10.0.0.2", "fd00::2"]);
        assert_eq!(targets(&own, &peer), ["10.0.0.2", "fd00::2", "172.17.0.1"]);
        let many = advertisement("n3", &["172.17.0.1", "10.0.0.3", "10.1.0.3", "10.2.0.3", "10.3.0.3", "10.4.0.3"]);
        assert_eq!(targets(&own, &many), ["10.0.0.3", "10.1.0.3", "10.2.0.3", "10.3.0.3"]);
    }

    #[test]
    fn a_socket_hears_itself_and_waits_no_longer_than_told() {
        let socket = Socket::bind().unwrap();
        let mut buffer = [0; 8];
        // The probe of `bind` may be still there.
        while socket.receive(&mut buffer, Duration::from_millis(1)).unwrap().is_some() {}
        socket.send(b"here", (Ipv4Addr::LOCALHOST, socket.port).into()).unwrap();
        assert_eq!(socket.receive(&mut buffer, Duration::from_secs(10)).unwrap(), Some(&b"here"[..]));
        assert_eq!(socket.receive(&mut buffer, Duration::from_millis(1)).unwrap(), None);
    }

    #[test]
    fn runs_of_the_same_ranks_have_different_tokens() {
        let run = || token([Advertisement::new("n1", None), Advertisement::new("n2", None)].iter());
        assert_ne!(run(), run());
    }
}
