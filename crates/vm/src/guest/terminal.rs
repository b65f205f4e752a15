//! A machine on the user's terminal.

use super::{qemu_call, write_commands};
use crate::{
    Error, Machine, Network,
    accel::Accel,
    machine::{Console, command_line, shell_line},
    prepare::{OVERLAY, Prepared, prepare},
    ssh::Route,
    tools::{Call, Tools},
};
use sandbox::{Exit, Io};
use std::fs;

/// A machine whose serial console is the user's terminal.
#[derive(Debug)]
pub struct Terminal {
    call: Call,
    tools: Tools,
    hint: String,
    prepared: Prepared,
    keeps: bool,
}

impl Terminal {
    /// Makes everything ready.
    ///
    /// # Errors
    /// As [`Guest::start`](crate::Guest::start).
    pub fn prepare(machine: &Machine, tools: &Tools, accel: Accel) -> Result<Self, Error> {
        let prepared = prepare(machine, tools, true)?;
        write_commands(machine, accel, &prepared)?;
        let args = command_line(machine, accel, &prepared.files, Console::Terminal);
        let call = qemu_call(machine, &prepared, args).on_terminal();
        let hint = hint(machine, &prepared);
        Ok(Self { call, tools: tools.clone(), hint, prepared, keeps: machine.keeps })
    }

    /// How to reach the guest and how to leave the console; for the user to read before the console takes the screen.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// Runs the machine until it ends.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn run(self) -> Result<Exit, Error> {
        let mut qemu = self.tools.spawn(&self.call, Io::inherit())?;
        let exit = qemu.wait()?;
        if !self.keeps {
            let _ = fs::remove_file(self.prepared.dir.join(OVERLAY));
        }
        Ok(exit)
    }
}

fn hint(machine: &Machine, prepared: &Prepared) -> String {
    let mut lines = Vec::new();
    let forward = match &machine.network {
        Network::User { forwards } => forwards.iter().find(|f| f.guest == 22),
        _ => None,
    };
    if let (Some(f), Some(key)) = (forward, &prepared.key) {
        let args = [
            "-i",
            &key.private.display().to_string(),
            "-p",
            &f.host.to_string(),
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "root@127.0.0.1",
        ]
        .map(str::to_owned);
        lines.push(format!("shell, by the network: {}", shell_line("ssh", &args)));
    }
    if let Some(route) = Route::of(prepared) {
        lines.push(format!("shell, without network: {}", route.shell_line()));
    }
    lines.push("to leave: Ctrl-A X ends the machine, Ctrl-A C is QEMU's monitor".to_owned());
    lines.join("\n")
}
