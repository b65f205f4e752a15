//! A guest as `xl` reads it (Xen, `xl.cfg(5)`).

use super::{Kind, nat};
use crate::{
    error::Error,
    hypervisor::{Boot, Card, Guest},
};
use app::Network;
use std::fmt::Write as _;

/// The configuration for `xl create`. `devices` are the block devices of the guest's disks, in their order.
pub(super) fn text(guest: &Guest, kind: Kind, devices: &[String]) -> Result<String, Error> {
    let unfit = |what| Error::Unfit { hypervisor: super::NAME, what };
    let Boot::Linux { kernel, initrd, cmdline } = &guest.boot else { return Err(unfit("UEFI firmware")) };
    if guest.tpm.is_some() {
        return Err(unfit("TPM"));
    }
    let kernel = quote(&kernel.display().to_string())?;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // writing to a String cannot fail
        let _ = writeln!(text, "{name}={value}");
    };
    line("name", &quote(&guest.name)?);
    line("uuid", &quote(&guest.uuid)?);
    line("type", &quote(kind.as_str())?);
    line("vcpus", &guest.cpus.to_string());
    line("memory", &(guest.memory.0 >> 20).to_string());
    line("kernel", &kernel);
    if let Some(initrd) = initrd {
        line("ramdisk", &quote(&initrd.display().to_string())?);
    }
    line("cmdline", &quote(cmdline)?);
    // `super` watches the guest, judges its end, and removes it
    for event in ["on_poweroff", "on_reboot", "on_crash", "on_watchdog"] {
        line(event, &quote("preserve")?);
    }
    let disks = guest.disks.iter().zip(devices).enumerate().map(|(n, (disk, device))| {
        let access = if disk.read_only { "ro" } else { "rw" };
        quote(&format!("format=raw,vdev={},access={access},target={device}", disk_name(n)))
    });
    line("disk", &list(disks)?);
    line("vif", &list(guest.cards.iter().map(|card| quote(&card_text(card))))?);
    Ok(text)
}

fn card_text(card: &Card) -> String {
    match &card.network {
        Network::Bridge(bridge) => format!("mac={},bridge={},script=vif", card.mac, bridge.name),
        // the address of this domain's side, by which the script knows that there is no bridge
        Network::Nat(_) => {
            let nat = nat::network(&card.mac);
            format!("mac={},ip={}/{},script=vif", card.mac, nat.gateway, nat.prefix)
        }
    }
}

/// The name of the nth disk: `xvda` to `xvdz`, `xvdaa` and so on (Xen, `xen-vbd-interface(7)`).
fn disk_name(n: usize) -> String {
    let letter = |n: usize| char::from(b'a' + u8::try_from(n % 26).unwrap_or_default());
    match n / 26 {
        0 => format!("xvd{}", letter(n)),
        tens => format!("xvd{}{}", letter(tens - 1), letter(n)),
    }
}

fn list(items: impl Iterator<Item = Result<String, Error>>) -> Result<String, Error> {
    Ok(format!("[{}]", items.collect::<Result<Vec<_>, _>>()?.join(",")))
}

/// A string of the configuration; there is a quotation mark of two kinds, and no way to escape one.
fn quote(value: &str) -> Result<String, Error> {
    let mark = ['"', '\''].into_iter().find(|mark| !value.contains([*mark, '\n']));
    let mark = mark.ok_or(Error::Unfit {
        hypervisor: super::NAME,
        what: "way to say a text with both kinds of quotation marks, or of several lines",
    })?;
    Ok(format!("{mark}{value}{mark}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::hypervisor::Disk;
    use app::{Bridge, Located, Nat, Place};
    use types::Bytes;

    fn guest() -> Guest {
        Guest {
            name: "web".into(),
            uuid: "01234567-89ab-8def-8123-456789abcdef".into(),
            uid: 0,
            cpus: 2,
            memory: Bytes::mib(128),
            boot: Boot::Linux {
                kernel: "/usr/share/guest/vmlinuz".into(),
                initrd: Some("/usr/share/guest/initrd".into()),
                cmdline: "console=hvc0 quiet".into(),
            },
            disks: vec![Disk::raw("/run/vmm/web/spec", false), Disk::raw("/run/evek/store/blobs/sha256/ab", true)],
            cards: vec![Card {
                mac: "52:54:00:0a:0b:0c".into(),
                network: Network::Bridge(Bridge {
                    name: Located::new("br0".into(), Place::file("")),
                    address: None,
                    gateway: None,
                    dns: vec![],
                }),
            }],
            tpm: None,
            run: "/run/vmm/web".into(),
        }
    }

    #[test]
    fn the_whole_configuration_of_a_guest() {
        let devices = ["/dev/loop0".to_owned(), "/dev/loop1".to_owned()];
        let expected = r#"name="web"
uuid="01234567-89ab-8def-8123-456789abcdef"
type="pvh"
vcpus=2
memory=128
kernel="/usr/share/guest/vmlinuz"
ramdisk="/usr/share/guest/initrd"
cmdline="console=hvc0 quiet"
on_poweroff="preserve"
on_reboot="preserve"
on_crash="preserve"
on_watchdog="preserve"
disk=["format=raw,vdev=xvda,access=rw,target=/dev/loop0","format=raw,vdev=xvdb,access=ro,target=/dev/loop1"]
vif=["mac=52:54:00:0a:0b:0c,bridge=br0,script=vif"]
"#;
        assert_eq!(text(&guest(), Kind::Pvh, &devices).unwrap(), expected);
    }

    #[test]
    fn what_xen_cannot_do_is_said() {
        let said = |guest: Guest| text(&guest, Kind::Pv, &[]).unwrap_err().to_string();
        let uefi = Boot::Uefi { variables: "v".into() };
        assert_eq!(said(Guest { boot: uefi, ..guest() }), "xen has no UEFI firmware");
        assert_eq!(said(Guest { tpm: Some("tpm".into()), ..guest() }), "xen has no TPM");
        let quotes = Boot::Linux { kernel: "k".into(), initrd: None, cmdline: r#"a="b" c='d'"#.into() };
        assert!(said(Guest { boot: quotes, ..guest() }).starts_with("xen has no way to say"));
    }

    #[test]
    fn a_card_behind_nat_has_a_network_of_its_own() {
        let nat = Network::Nat(Nat { forwards: vec![] });
        let text = card_text(&Card { mac: "52:54:00:0a:0b:0c".into(), network: nat });
        assert_eq!(text, "mac=52:54:00:0a:0b:0c,ip=100.104.44.49/30,script=vif");
    }

    #[test]
    fn disks_go_on_behind_z() {
        assert_eq!([0, 25, 26, 27, 52].map(disk_name), ["xvda", "xvdz", "xvdaa", "xvdab", "xvdba"]);
    }
}
