use std::{fmt, ops::BitOr};

/// How a variable is kept, and who may change it (UEFI 2.10 §8.2.1, "Related Definitions").
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attributes(u32);

impl Attributes {
    /// It survives a restart. A variable without this attribute was made by a program of this start.
    pub const NON_VOLATILE: Self = Self(1);
    /// Programs can access it before they end the firmware's boot services.
    pub const BOOT: Self = Self(2);
    /// The system can access it after that. The system can make such variables, but no volatile ones.
    pub const RUNTIME: Self = Self(4);
    /// Only signed writes change it.
    pub const SIGNED: Self = Self(0x20);
    /// A write that adds to the value.
    pub const APPEND: Self = Self(0x40);
    /// The attributes of `Boot####`, `BootOrder`, `BootNext` (§3.3): kept by the firmware, visible to all.
    pub const KEPT: Self = Self(1 | 2 | 4);

    /// Whether all of these are set.
    #[must_use]
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether it disappears at a restart. After the boot services have ended, `SetVariable` refuses such variables
    /// (§8.2): a running system can neither make nor change one.
    #[must_use]
    pub const fn is_volatile(self) -> bool {
        !self.contains(Self::NON_VOLATILE)
    }

    /// The bytes in which firmware and kernel write them.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }
}

impl BitOr for Attributes {
    type Output = Self;

    fn bitor(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }
}

impl From<[u8; 4]> for Attributes {
    fn from(bytes: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(bytes))
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attributes({:#x})", self.0)
    }
}
