//! Small files of the root image that follow from the definitions.

use crate::{
    Error,
    project::{Project, Target},
};
use std::{collections::BTreeMap, fmt::Write as _};

/// `/etc/os-release` (os-release(5)), which is the UKI's `.osrel` too.
pub(crate) fn os_release(project: &Project, target: Target) -> String {
    let version = project.full_version(target);
    let mut fields = project.defs.rootfs.os_release.clone();
    let name = fields.get("NAME").cloned().unwrap_or_else(|| "EVE-k".into());
    fields.insert("PRETTY_NAME".into(), format!("{name} {version}"));
    fields.insert("VERSION".into(), project.version.clone());
    fields.insert("VERSION_ID".into(), project.version.clone());
    fields.insert("VARIANT_ID".into(), target.flavour.to_string());
    fields.insert("IMAGE_ID".into(), "evek".into());
    if let Some(hostname) = &project.defs.rootfs.hostname {
        fields.insert("DEFAULT_HOSTNAME".into(), hostname.clone());
    }
    fields.insert("IMAGE_VERSION".into(), version);
    let quote = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$").replace('`', "\\`");
    fields.iter().fold(String::new(), |mut text, (name, value)| {
        // writing to a String cannot fail
        let _ = writeln!(text, "{name}=\"{}\"", quote(value));
        text
    })
}

/// The generation in SBAT: raise it when no earlier image may start any more. shim then refuses images of a lower
/// generation (shim, `SBAT.md`).
const GENERATION: u32 = 1;

/// Our line of SBAT: component, generation, vendor, package, version, address.
pub(crate) fn sbat(project: &Project) -> String {
    let fields = &project.defs.rootfs.os_release;
    let field = |name: &str| fields.get(name).map(|v| v.replace(',', " ")).unwrap_or_default();
    format!("evek,{GENERATION},{},evek,{},{}\n", field("NAME"), project.version, field("HOME_URL"))
}

/// By path.
pub(crate) fn root(project: &Project, target: Target) -> Result<BTreeMap<String, String>, Error> {
    let defs = &project.defs;
    let hv = defs.flavour(target.flavour)?;
    let mut texts = BTreeMap::new();
    texts.insert("usr/lib/os-release".into(), os_release(project, target));
    // no /etc/hostname, which would beat the name that `init` makes for each device
    texts.insert("etc/hosts".into(), "127.0.0.1 localhost\n::1 localhost\n".into());
    for name in &hv.packages {
        let package = defs.packages.get(&name.value).ok_or_else(|| Error::NoPackage { name: name.value.clone() })?;
        if let Some(service) = &package.service {
            let unit = format!("usr/lib/systemd/system/{}", store::unit_name(&name.value));
            texts.insert(unit, store::unit_text(&name.value, &package.summary, service));
        }
    }
    if !hv.kernel.load.is_empty() {
        let list: String = hv.kernel.load.iter().map(|m| format!("{m}\n")).collect();
        texts.insert("usr/lib/modules-load.d/evek.conf".into(), list);
    }
    if !hv.sysctl.is_empty() {
        let list: String = hv.sysctl.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
        texts.insert("usr/lib/sysctl.d/60-evek.conf".into(), list);
    }
    if let Some(layout) = defs.layouts.get(&defs.rootfs.layout.value) {
        texts.extend(layout.partitions.iter().enumerate().map(|(n, p)| repart(n, p)));
    }
    Ok(texts)
}

/// The definition of a partition for systemd-repart (repart.d(5)), which finds existing partitions by type and order
/// and makes the others.
fn repart(n: usize, partition: &defs::LayoutPartition) -> (String, String) {
    let kind = crate::disk::kind(partition.role);
    let mut text = format!("[Partition]\nType={}\nLabel={}\n", kind.guid(), partition.label);
    let size = partition.size.0;
    let least = partition.least.unwrap_or(partition.size).0;
    let _ = writeln!(text, "SizeMinBytes={least}");
    if !partition.grow {
        let _ = writeln!(text, "SizeMaxBytes={size}");
    }
    if partition.least.is_some() {
        // on a small disk it is made four times as fast as what takes the rest, and is left out first
        text.push_str("Weight=4000\nPriority=10\n");
    }
    if partition.role == defs::PartitionType::Persist {
        text.push_str("Format=ext4\n");
    }
    let label = partition.label.to_lowercase().replace(' ', "-");
    (format!("usr/lib/repart.d/{}-{label}.conf", 10 + 10 * n), text)
}
