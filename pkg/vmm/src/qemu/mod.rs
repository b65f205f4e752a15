//! Guests in QEMU: with KVM where the processor has it, else emulated.
//!
//! QEMU's standard input and output are the guest's serial console. QEMU connects to a socket of ours for control, so that we
//! need not wait for a socket of QEMU's. QEMU is our child: it cannot outlive this service.
//!
//! QEMU opens all files as root and then becomes a user without rights, another one for each guest. The guest's processors
//! start afterwards.

mod command_line;
mod control;
mod qmp;
mod tap;
mod tpm;

use crate::{
    error::Error,
    hypervisor::{Card, End, Facts, Guest, Hypervisor, NatNetwork, Order, Running, Starting},
    terminal::escape,
};
use app::Network;
use command_line::{Accel, QMP, arguments, firmware, program};
use control::{Control, LOOK_EVERY, space_of};
use qmp::Qmp;
use std::{
    cell::Cell,
    fs, io,
    net::Ipv4Addr,
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
};
use tokio::{
    io::AsyncReadExt as _,
    net::UnixListener,
    process::{Child, ChildStderr, Command},
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval},
};
use types::Arch;

/// QEMU on a machine of this architecture.
pub(crate) struct Qemu {
    arch: Arch,
    /// How guests are started first.
    accel: Cell<Accel>,
}

impl Qemu {
    pub(crate) const fn new(arch: Arch) -> Self {
        Self { arch, accel: Cell::new(Accel::KvmOrTcg) }
    }
}

impl Hypervisor for Qemu {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn console(&self) -> &'static str {
        match self.arch {
            Arch::Amd64 => "ttyS0",
            Arch::Arm64 => "ttyAMA0",
        }
    }

    fn uefi(&self) -> Option<&'static str> {
        Some(firmware(self.arch).1)
    }

    /// The network of QEMU's user mode (QEMU, `docs/system/devices/net.rst`).
    fn nat(&self, _: &Card) -> NatNetwork {
        let host = |n| Ipv4Addr::new(10, 0, 2, n);
        NatNetwork { address: host(15), prefix: 24, gateway: host(2), dns: host(3) }
    }

    fn start<'a>(&'a self, guest: &'a Guest) -> Starting<'a> {
        Box::pin(async move {
            let accel = self.accel.get();
            let first = start(self.arch, guest, accel).await;
            let (Err(Error::NotStarted { said, .. }), Accel::KvmOrTcg) = (&first, accel) else { return first };
            // there are machines whose /dev/kvm opens, and on which QEMU then gives up in place of going on without
            let Ok(second) = start(self.arch, guest, Accel::Tcg).await else { return first };
            eprintln!("{}: runs without KVM, and all others from now on, because with it {said}", guest.name);
            self.accel.set(Accel::Tcg);
            Ok(second)
        })
    }
}

async fn start(arch: Arch, guest: &Guest, accel: Accel) -> Result<Running, Error> {
    for card in &guest.cards {
        if let Network::Bridge(bridge) = &card.network {
            tap::make(&command_line::tap_name(card), &bridge.name)?;
        }
    }
    let tpm = match &guest.tpm {
        Some(state) => Some(tpm::start(state, &guest.run.join(command_line::TPM)).await?),
        None => None,
    };
    let socket = guest.run.join(QMP);
    match fs::remove_file(&socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", &socket)(e)),
        _ => {}
    }
    let listener = UnixListener::bind(&socket).map_err(Error::io("listen on", &socket))?;
    let program = program(arch);
    let mut qemu = Command::new(&program)
        .args(arguments(arch, guest, accel))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(Error::io("run", &program))?;
    let (Some(input), Some(output), Some(errors)) = (qemu.stdin.take(), qemu.stdout.take(), qemu.stderr.take()) else {
        unreachable!("all three are piped")
    };
    let last_words = tokio::spawn(last_words(guest.name.clone(), errors));
    let connected = tokio::select! {
        connected = listener.accept() => connected.map(|(stream, _)| stream),
        ended = qemu.wait() => Err(ended.map_or_else(|e| e, |status| io::Error::other(status.to_string()))),
    };
    let opened = match connected {
        Ok(stream) => Qmp::open(stream).await,
        Err(e) => Err(e),
    };
    let acceleration = match opened {
        Ok(qmp) => begin(qmp).await,
        Err(e) => Err(e),
    };
    let (qmp, acceleration) = match acceleration {
        Ok(both) => both,
        Err(e) => {
            // without a control connection it is of no use
            let _ = qemu.start_kill();
            let said = last_words.await.unwrap_or_default();
            if let Some(tpm) = tpm {
                tpm.finish().await;
            }
            return Err(Error::NotStarted { what: "QEMU", said: if said.is_empty() { e.to_string() } else { said } });
        }
    };
    let facts = Facts { acceleration: acceleration.to_owned(), uuid: guest.uuid.clone(), pid: qemu.id() };
    let (control, pauses) = Control::new(qmp, space_of(&guest.disks));
    let (orders, inbox) = mpsc::channel(4);
    let (tell, end) = oneshot::channel();
    tokio::spawn(async move {
        let end = drive(qemu, control, inbox).await;
        let said = last_words.await.unwrap_or_default();
        if let Some(tpm) = tpm {
            tpm.finish().await;
        }
        // the receiver may be gone with its app
        let _ = tell.send(match end {
            End::Failed(why) if !said.is_empty() => End::Failed(format!("{why}: {said}")),
            end => end,
        });
    });
    Ok(Running { output: Box::new(output), input: Box::new(input), orders, end, pauses, facts })
}

/// Starts the guest's processors. QEMU answers only after it has become the guest's user.
async fn begin(mut qmp: Qmp) -> io::Result<(Qmp, &'static str)> {
    let kvm = qmp.ask("query-kvm").await?;
    qmp.send("cont").await?;
    Ok((qmp, if kvm["enabled"] == true { "kvm" } else { "tcg" }))
}

/// Carries out orders until QEMU has ended.
async fn drive(mut qemu: Child, mut control: Control, mut inbox: mpsc::Receiver<Order>) -> End {
    let (mut connected, mut ordered) = (true, true);
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let status = loop {
        tokio::select! {
            // QEMU's last messages are read before its end is noticed
            biased;
            message = control.qmp.message(), if connected => connected = match message {
                Ok(message) => control.message(&message).await.is_ok(),
                Err(_) => false,
            },
            order = inbox.recv(), if ordered => match order {
                Some(Order::PowerButton) => connected &= control.press_power_button().await.is_ok(),
                Some(Order::Kill) => {
                    // it may have ended already, which `wait` finds
                    let _ = qemu.start_kill();
                }
                None => ordered = false,
            },
            _ = looks.tick(), if connected && control.waits_for_space() => {
                connected &= control.look_for_space().await.is_ok();
            }
            status = qemu.wait() => break status,
        }
    };
    match (status, control.end()) {
        (Ok(status), Ok(reason)) => judge(status, reason),
        (Ok(_), Err(end)) => end,
        (Err(e), _) => End::Failed(format!("QEMU is lost: {e}")),
    }
}

fn judge(status: ExitStatus, reason: Option<&str>) -> End {
    if let Some(signal) = status.signal() {
        return End::Failed(format!("QEMU was ended by signal {signal}"));
    }
    match (status.code(), reason) {
        (Some(0), Some("guest-shutdown")) => End::Off,
        (Some(0), Some("guest-reset")) => End::Failed("its kernel panicked, or restarted the machine".to_owned()),
        (Some(0), Some(reason)) => End::Failed(format!("QEMU ended: {reason}")),
        (code, _) => End::Failed(format!("QEMU ended with exit code {}", code.unwrap_or_default())),
    }
}

/// Passes QEMU's error output on to the journal, and returns the last of it. A guest may cause some of it.
async fn last_words(name: String, mut errors: ChildStderr) -> String {
    /// The length that a status can show.
    const KEPT: usize = 400;
    let (mut said, mut buffer) = (String::new(), [0; 4096]);
    while let Ok(n @ 1..) = errors.read(&mut buffer).await {
        let text = escape(&String::from_utf8_lossy(&buffer[..n]));
        text.lines().for_each(|line| eprintln!("{name}: {line}"));
        said.push_str(&text);
        let start = said.len().saturating_sub(KEPT);
        let start = (start..said.len()).find(|i| said.is_char_boundary(*i)).unwrap_or(0);
        said.drain(..start);
    }
    said.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_guest_that_switched_itself_off_has_not_failed() {
        let ended = |raw| ExitStatus::from_raw(raw);
        assert_eq!(judge(ended(0), Some("guest-shutdown")), End::Off);
        for (status, reason, expected) in [
            (0, Some("guest-reset"), "its kernel panicked, or restarted the machine"),
            (0, Some("host-qmp-quit"), "QEMU ended: host-qmp-quit"),
            (0, None, "QEMU ended with exit code 0"),
            (1 << 8, Some("guest-shutdown"), "QEMU ended with exit code 1"),
            (9, Some("guest-shutdown"), "QEMU was ended by signal 9"),
        ] {
            assert_eq!(judge(ended(status), reason), End::Failed(expected.to_owned()));
        }
    }
}
