//! `run`: boots an image in QEMU, on this terminal.

use super::{image, image::LIVE, tools};
use crate::{
    cli::{Common, Run, Target},
    exit::Exit,
    failure::Failure,
    session::Session,
};
use types::Bytes;
use vm::{Firmware, Forward, Machine, Network, State, Terminal, Variables};

/// Builds the image if needed, and boots it.
pub(crate) fn run(common: &Common, args: &Run) -> Result<(), Failure> {
    let session = Session::open(common)?;
    let project = session.project()?;
    let Target { hv, arch } = args.target;
    let published = image::image(&session, &project, &args.target)?;
    let (tools, accel) = tools::qemu(&session, &project, arch)?;
    let network = if args.no_network {
        Network::None
    } else {
        Network::User { forwards: vec![Forward { host: vm::free_port()?, guest: 22 }] }
    };
    let mut config = Vec::new();
    if let Some(key) = &args.key {
        config.push(("authorized_keys".to_owned(), std::fs::read(key)?));
    }
    let machine = Machine {
        arch,
        firmware: match (args.secure_boot, project.recipe(LIVE)?.shim) {
            (false, _) => Firmware::Open,
            (true, false) => Firmware::SecureBoot(Variables::None),
            (true, true) => Firmware::SecureBoot(Variables::Microsoft),
        },
        tpm: args.tpm,
        watchdog: false,
        boots: hv.into(),
        cpus: args.cpus,
        memory: args.memory,
        disk: published.raw(),
        state: State::Fresh,
        keeps: false,
        records: false,
        disk_size: Some(Bytes::gib(40)),
        network,
        config,
        changes: Vec::new(),
        reboots: true,
        dir: published.folder.join("run"),
        replay: format!("cargo xtask run --hv {hv} --arch {arch}"),
        extra: Vec::new(),
    };
    let terminal = Terminal::prepare(&machine, &tools, accel)?;
    eprintln!("{}", terminal.hint());
    let exit = terminal.run()?;
    if exit.success() { Ok(()) } else { Err(Failure::new(Exit::Boot, format!("QEMU ended with {exit}"))) }
}
