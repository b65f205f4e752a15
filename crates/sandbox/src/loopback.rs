//! Brings up `lo` in a fresh network namespace, with one netlink message: an ioctl would need unsafe code.

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, netlink, sendto, socket_with};
use std::io;

/// `nlmsghdr` and `ifinfomsg` (rtnetlink(7)): RTM_NEWLINK for interface 1, which is `lo` in every network namespace,
/// setting IFF_UP.
fn message() -> Vec<u8> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST: u16 = 1;
    const IFF_UP: u32 = 1;
    let mut bytes = Vec::with_capacity(32);
    bytes.extend(32u32.to_ne_bytes());
    bytes.extend(RTM_NEWLINK.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8]); // sequence number and port
    bytes.extend([0; 4]); // family, padding, device type
    bytes.extend(1i32.to_ne_bytes());
    bytes.extend(IFF_UP.to_ne_bytes());
    bytes.extend(IFF_UP.to_ne_bytes());
    bytes
}

pub(crate) fn up() -> io::Result<()> {
    // protocol 0 is NETLINK_ROUTE
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    sendto(&socket, &message(), SendFlags::empty(), &netlink::SocketAddrNetlink::new(0, 0))?;
    Ok(())
}
