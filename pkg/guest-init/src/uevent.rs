//! The kernel's events for new devices (kernel, `lib/kobject_uevent.c`).

use crate::error::Error;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink, netlink::SocketAddrNetlink, recv, socket_with,
    },
};
use std::time::Duration;

/// A socket for the kernel's events.
pub(crate) struct Events(OwnedFd);

impl Events {
    /// Listens. No event after this call is missed.
    pub(crate) fn listen() -> Result<Self, Error> {
        let failed = |e: Errno| Error::io("listen for", "devices")(e.into());
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::KOBJECT_UEVENT))
            .map_err(failed)?;
        // group 1 is the kernel's own, before udev
        bind(&socket, &SocketAddrNetlink::new(0, 1)).map_err(failed)?;
        Ok(Self(socket))
    }

    /// Sleeps until an event has come or the time is over. The caller looks for the device.
    pub(crate) fn wait(&self, at_most: Duration) -> Result<(), Error> {
        let failed = |e: Errno| Error::io("wait for", "devices")(e.into());
        let timeout = Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: i64::from(at_most.subsec_nanos()) };
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(failed(e)),
        }
        let mut message = [0; 8192];
        loop {
            match recv(&self.0, &mut message, RecvFlags::empty()) {
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(e) => return Err(failed(e)),
            }
        }
    }
}
