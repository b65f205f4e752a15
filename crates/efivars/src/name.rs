use std::fmt;

/// The vendor of a variable. Names are unique within a vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    /// `EFI_GLOBAL_VARIABLE` (UEFI 2.10 §3.3): variables that the specification defines.
    Global,
    /// `EFI_IMAGE_SECURITY_DATABASE_GUID` (§32.6.1): `db`, `dbx`.
    SecurityDatabase,
    /// systemd's Boot Loader Interface: variables between boot loader, EFI stub and system.
    Loader,
    /// `SHIM_LOCK_GUID`: variables of shim (shim, `lib/guid.c`, `MokVars.txt`).
    Shim,
}

impl Vendor {
    /// As text, in small letters.
    #[must_use]
    pub const fn guid(self) -> &'static str {
        match self {
            Self::Global => "8be4df61-93ca-11d2-aa0d-00e098032b8c",
            Self::SecurityDatabase => "d719b2cb-3d3a-4596-a3bc-dad00e67656f",
            Self::Loader => "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",
            Self::Shim => "605dab50-e046-4300-abb6-3dd810dd8b23",
        }
    }

    /// The variable's name within the name of a file; `None` for another vendor's file.
    pub(crate) fn name_in(self, file: &str) -> Option<&str> {
        file.strip_suffix(self.guid())?.strip_suffix('-')
    }
}

/// The name of a variable. Its text is the name of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a>(pub Vendor, pub &'a str);

impl Name<'static> {
    /// One byte: 1 where the firmware starts nothing unless it is signed.
    pub const SECURE_BOOT: Self = Self(Vendor::Global, "SecureBoot");
    /// One byte: 1 where anybody may enroll keys.
    pub const SETUP_MODE: Self = Self(Vendor::Global, "SetupMode");
    /// The certificates and digests of programs that the firmware starts.
    pub const DB: Self = Self(Vendor::SecurityDatabase, "db");
    /// The certificates and digests of programs that the firmware refuses in any case.
    pub const DBX: Self = Self(Vendor::SecurityDatabase, "dbx");
    /// Further certificates whose programs shim starts: its maker's, and those that a person enrolled at the machine.
    pub const MOK_LIST: Self = Self(Vendor::Shim, "MokListRT");
    /// Further programs and certificates that shim refuses.
    pub const MOK_LIST_X: Self = Self(Vendor::Shim, "MokListXRT");
    /// The kernel image whose start systemd-boot has counted; it exists only while the image has a counter.
    pub const BOOT_COUNT_PATH: Self = Self(Vendor::Loader, "LoaderBootCountPath");
    /// The GUID of the partition from which systemd-boot was started, as text.
    pub const LOADER_PARTITION: Self = Self(Vendor::Loader, "LoaderDevicePartUUID");
    /// The file of the EFI stub, as the stub writes it (systemd-stub(7)).
    pub const STUB_IMAGE: Self = Self(Vendor::Loader, "StubImageIdentifier");
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.1, self.0.guid())
    }
}
