use crate::UnknownChoice;
use std::{fmt, str::FromStr};

/// The hypervisor variant of an image; each is a file `hv/<name>.yml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// Virtual machines, and containers in small ones of their own, by QEMU and KVM.
    Kvm,
    /// The same as domains of Xen.
    Xen,
    /// Kubernetes by k3s. The name is EVE's, and so is its alias `k`. The image holds no KubeVirt yet and runs no virtual
    /// machine.
    Kubevirt,
}

impl Flavour {
    /// Every flavour, in a fixed order.
    pub const ALL: [Self; 3] = [Self::Kvm, Self::Xen, Self::Kubevirt];

    /// The name in file names, versions and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Xen => "xen",
            Self::Kubevirt => "kubevirt",
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Flavour {
    type Err = UnknownChoice;

    fn from_str(s: &str) -> Result<Self, UnknownChoice> {
        match s {
            "kvm" => Ok(Self::Kvm),
            "xen" => Ok(Self::Xen),
            "kubevirt" | "k" => Ok(Self::Kubevirt),
            _ => Err(UnknownChoice { what: "HV", found: s.to_owned(), choices: Self::ALL.map(Self::as_str).to_vec() }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_flavour_lists_the_choices() {
        let text = "hyperv".parse::<Flavour>().unwrap_err().to_string();
        assert_eq!(text, "unknown HV `hyperv`: choose one of kvm, xen, kubevirt");
        assert_eq!("k".parse::<Flavour>().unwrap(), Flavour::Kubevirt);
    }
}
