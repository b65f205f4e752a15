//! Three requests to the kernel's network configuration (rtnetlink(7); kernel, `include/uapi/linux/rtnetlink.h`).

use rustix::{
    fd::OwnedFd,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with},
};
use std::{io, net::Ipv4Addr};

const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
/// `NLM_F_REQUEST | NLM_F_ACK`
const ASK: u16 = 1 | 4;
/// `NLM_F_CREATE | NLM_F_REPLACE`
const CREATE: u16 = 0x400 | 0x100;
const AF_INET: u8 = 2;

pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        // NETLINK_ROUTE is protocol 0
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Switches an interface on.
    pub(crate) fn up(&mut self, index: u32) -> io::Result<()> {
        const IFF_UP: u32 = 1;
        // struct ifinfomsg: family and type 0, index, flags, which flags change
        let parts = [[0; 4], index.to_ne_bytes(), IFF_UP.to_ne_bytes(), IFF_UP.to_ne_bytes()];
        self.ask(NEW_LINK, 0, parts.concat())
    }

    /// Gives an interface an address.
    pub(crate) fn address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        // struct ifaddrmsg: family, length of the prefix, flags, scope, index
        let mut body = vec![AF_INET, prefix, 0, 0];
        body.extend(index.to_ne_bytes());
        for kind in [1, 2] {
            // IFA_ADDRESS and IFA_LOCAL, which are the same but on point-to-point links
            attribute(&mut body, kind, &address.octets());
        }
        self.ask(NEW_ADDRESS, CREATE, body)
    }

    /// Where everything goes that has no better way.
    pub(crate) fn default_route(&mut self, gateway: Ipv4Addr) -> io::Result<()> {
        const MAIN: u8 = 254;
        const BOOT: u8 = 3;
        const UNICAST: u8 = 1;
        // struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags
        let mut body = vec![AF_INET, 0, 0, 0, MAIN, BOOT, 0, UNICAST, 0, 0, 0, 0];
        // RTA_GATEWAY
        attribute(&mut body, 5, &gateway.octets());
        self.ask(NEW_ROUTE, CREATE, body)
    }

    fn ask(&mut self, kind: u16, flags: u16, body: Vec<u8>) -> io::Result<()> {
        self.sequence += 1;
        send(&self.socket, &message(kind, ASK | flags, self.sequence, &body), SendFlags::empty())?;
        let mut answer = [0; 4096];
        let (_, length) = recv(&self.socket, &mut answer, RecvFlags::empty())?;
        judge(answer.get(..length).unwrap_or_default())
    }
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    const HEADER: usize = 16;
    // struct nlmsghdr: length, type, flags, sequence, port
    let mut message = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 4]);
    message.extend(body);
    message
}

/// struct rtattr: length, type, value; ours are multiples of four bytes.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

/// An answer is of type NLMSG_ERROR; error 0 means done.
fn judge(answer: &[u8]) -> io::Result<()> {
    const ERROR: u16 = 2;
    match (answer.get(4..6), answer.get(16..20)) {
        (Some(kind), Some(&[a, b, c, d])) if kind == ERROR.to_ne_bytes() => match i32::from_ne_bytes([a, b, c, d]) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(-errno)),
        },
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is not understood")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_length_first() {
        let mut body = vec![0; 8];
        attribute(&mut body, 2, &[10, 0, 2, 15]);
        let message = message(NEW_ADDRESS, ASK, 7, &body);
        assert_eq!(message.len(), 32);
        assert_eq!(message[..4], 32_u32.to_ne_bytes());
        assert_eq!(message[24..], [8_u16.to_ne_bytes(), 2_u16.to_ne_bytes(), [10, 0], [2, 15]].concat());
    }

    #[test]
    fn an_error_is_told_from_an_acknowledgement() {
        let answer = |errno: i32| message(2, 0, 1, &errno.to_ne_bytes());
        judge(&answer(0)).unwrap();
        assert_eq!(judge(&answer(-17)).unwrap_err().raw_os_error(), Some(17));
        assert!(judge(&[0; 8]).is_err());
    }
}
