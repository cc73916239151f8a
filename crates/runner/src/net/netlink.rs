//! The kernel's network configuration socket, asked and answered in turn.
//!
//! A socket belongs to the network namespace in which it was opened, whichever thread uses it later.

use std::io;
use std::net::Ipv4Addr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// A link as far as we care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub index: u32,
    pub name: String,
    pub mtu: u32,
    /// Whether packets pass: up, and connected to something that is up.
    pub is_operational: bool,
}

/// An IPv4 route as far as we care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub destination: Ipv4Addr,
    pub prefix_len: u8,
    pub interface: Option<u32>,
    pub metric: u32,
    pub is_main: bool,
}

/// An IPv4 address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostAddress {
    pub address: Ipv4Addr,
    pub prefix_len: u8,
    pub interface: u32,
    pub label: String,
}

/// A hardware address.
pub(crate) type Mac = [u8; 6];

/// The two ends of a virtual cable, the second of which is born in another namespace.
#[derive(Debug)]
pub(crate) struct VethPair<'a> {
    pub host_name: &'a str,
    pub host_mac: Mac,
    pub peer_name: &'a str,
    pub peer_mac: Mac,
    pub peer_netns: BorrowedFd<'a>,
    pub mtu: u32,
}

#[derive(Debug)]
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let answers = self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(answers.into_iter().filter_map(link_of).collect())
    }

    pub fn link(&mut self, name: &str) -> io::Result<Link> {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        let answers = self.exchange(RouteNetlinkMessage::GetLink(message), 0)?;
        answers
            .into_iter()
            .find_map(link_of)
            .ok_or_else(|| io::Error::other("the kernel answered without a link"))
    }

    pub fn veth_add(&mut self, pair: &VethPair<'_>) -> io::Result<()> {
        let end = |name: &str, mac: Mac| {
            let mut message = LinkMessage::default();
            message
                .attributes
                .push(LinkAttribute::IfName(name.to_owned()));
            message.attributes.push(LinkAttribute::Mtu(pair.mtu));
            message
                .attributes
                .push(LinkAttribute::Address(mac.to_vec()));
            message
        };
        let mut peer = end(pair.peer_name, pair.peer_mac);
        peer.attributes
            .push(LinkAttribute::NetNsFd(pair.peer_netns.as_raw_fd()));
        let mut message = end(pair.host_name, pair.host_mac);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.change(
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    pub fn link_set_up(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    pub fn link_delete(&mut self, name: &str) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        self.change(RouteNetlinkMessage::DelLink(message), 0)
    }

    pub fn address_add(
        &mut self,
        interface: u32,
        address: Ipv4Addr,
        prefix_len: u8,
        label: Option<&str>,
    ) -> io::Result<()> {
        let message = address_message(interface, address, prefix_len, label);
        self.change(
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    pub fn address_delete(
        &mut self,
        interface: u32,
        address: Ipv4Addr,
        prefix_len: u8,
    ) -> io::Result<()> {
        let message = address_message(interface, address, prefix_len, None);
        self.change(RouteNetlinkMessage::DelAddress(message), 0)
    }

    pub fn addresses(&mut self) -> io::Result<Vec<HostAddress>> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        let answers = self.dump(RouteNetlinkMessage::GetAddress(message))?;
        Ok(answers.into_iter().filter_map(address_of).collect())
    }

    /// Adds a route to `destination` that needs no gateway.
    pub fn route_add_on_link(
        &mut self,
        interface: u32,
        destination: Ipv4Addr,
        source: Option<Ipv4Addr>,
    ) -> io::Result<()> {
        let mut message = route_message(interface, 32, RouteScope::Link);
        message
            .attributes
            .push(RouteAttribute::Destination(RouteAddress::Inet(destination)));
        if let Some(source) = source {
            message
                .attributes
                .push(RouteAttribute::PrefSource(RouteAddress::Inet(source)));
        }
        self.change(
            RouteNetlinkMessage::NewRoute(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    pub fn route_add_default(&mut self, interface: u32, gateway: Ipv4Addr) -> io::Result<()> {
        let mut message = route_message(interface, 0, RouteScope::Universe);
        message
            .attributes
            .push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
        self.change(
            RouteNetlinkMessage::NewRoute(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    pub fn routes(&mut self) -> io::Result<Vec<Route>> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        let answers = self.dump(RouteNetlinkMessage::GetRoute(message))?;
        Ok(answers.into_iter().filter_map(route_of).collect())
    }

    /// Whether packets to an address leave the host.
    ///
    /// # Errors
    /// From the kernel; that there is no way at all is one.
    pub fn leads_elsewhere(&mut self, address: Ipv4Addr) -> io::Result<bool> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = 32;
        message
            .attributes
            .push(RouteAttribute::Destination(RouteAddress::Inet(address)));
        let answers = self.exchange(RouteNetlinkMessage::GetRoute(message), 0)?;
        Ok(answers.iter().any(|answer| match answer {
            RouteNetlinkMessage::NewRoute(route) => route.header.kind == RouteType::Unicast,
            _ => false,
        }))
    }

    /// Says once and for all which hardware address has `address`, so that nobody asks by broadcast and
    /// the entry does not count against the host's limit of learnt neighbours.
    pub fn neighbour_add(&mut self, interface: u32, address: Ipv4Addr, mac: Mac) -> io::Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = interface;
        message.header.state = NeighbourState::Permanent;
        message
            .attributes
            .push(NeighbourAttribute::Destination(NeighbourAddress::Inet(
                address,
            )));
        message
            .attributes
            .push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        self.change(
            RouteNetlinkMessage::NewNeighbour(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.exchange(message, NLM_F_ACK | flags).map(drop)
    }

    fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.exchange(message, NLM_F_DUMP)
    }

    fn exchange(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let expects_end = flags & (NLM_F_ACK | NLM_F_DUMP) != 0;
        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|source| io::Error::new(io::ErrorKind::InvalidData, source))?;
                let length = usize::try_from(answer.header.length).unwrap_or(rest.len());
                // Parts are padded to four bytes; the last one may come without the padding.
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(inner) => {
                        answers.push(inner);
                        if !expects_end {
                            return Ok(answers);
                        }
                    }
                    NetlinkPayload::Error(error) => {
                        return match error.code {
                            None => Ok(answers),
                            Some(_) => Err(error.to_io()),
                        };
                    }
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Overrun(_) => {
                        return Err(io::Error::other("answers were lost"));
                    }
                    _ => {}
                }
            }
        }
    }
}

fn address_message(
    interface: u32,
    address: Ipv4Addr,
    prefix_len: u8,
    label: Option<&str>,
) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = prefix_len;
    message.header.scope = AddressScope::Universe;
    message.header.index = interface;
    message
        .attributes
        .push(AddressAttribute::Local(address.into()));
    message
        .attributes
        .push(AddressAttribute::Address(address.into()));
    if let Some(label) = label {
        message
            .attributes
            .push(AddressAttribute::Label(label.to_owned()));
    }
    message
}

fn route_message(interface: u32, prefix_len: u8, scope: RouteScope) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = prefix_len;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = scope;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Oif(interface));
    message
}

fn link_of(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else {
        return None;
    };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mtu: 0,
        is_operational: false,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::OperState(state) => link.is_operational = state == State::Up,
            _ => {}
        }
    }
    Some(link)
}

fn address_of(message: RouteNetlinkMessage) -> Option<HostAddress> {
    let RouteNetlinkMessage::NewAddress(message) = message else {
        return None;
    };
    let mut address = None;
    let mut label = String::new();
    for attribute in message.attributes {
        match attribute {
            AddressAttribute::Local(std::net::IpAddr::V4(local)) => address = Some(local),
            AddressAttribute::Label(text) => label = text,
            _ => {}
        }
    }
    Some(HostAddress {
        address: address?,
        prefix_len: message.header.prefix_len,
        interface: message.header.index,
        label,
    })
}

fn route_of(message: RouteNetlinkMessage) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = message else {
        return None;
    };
    let mut route = Route {
        destination: Ipv4Addr::UNSPECIFIED,
        prefix_len: message.header.destination_prefix_length,
        interface: None,
        metric: 0,
        is_main: message.header.table == RouteHeader::RT_TABLE_MAIN,
    };
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(destination)) => {
                route.destination = destination;
            }
            RouteAttribute::Oif(interface) => route.interface = Some(interface),
            RouteAttribute::Priority(metric) => route.metric = metric,
            _ => {}
        }
    }
    Some(route)
}
