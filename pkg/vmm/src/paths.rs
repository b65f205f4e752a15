//! The folders and files of this service.

use std::path::PathBuf;

/// Folders and files of this service; tests have others.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// Declarations on CONFIG and on P3.
    pub(crate) declared: [PathBuf; 2],
    /// Disks, kernels and initramfs of machines: the folder [`app::IMAGES`].
    pub(crate) images: PathBuf,
    /// The store.
    pub(crate) store: PathBuf,
    /// State of guests: identities, volumes, variables, TPMs.
    pub(crate) state: PathBuf,
    /// Sockets and other files that live no longer than a run.
    pub(crate) run: PathBuf,
    /// The guests' kernel and initramfs.
    pub(crate) guest: PathBuf,
    /// The device's machine-id (`machine-id(5)`).
    pub(crate) machine_id: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            declared: ["/config/apps".into(), "/persist/apps".into()],
            images: app::IMAGES.into(),
            store: "/run/evek/store".into(),
            state: "/persist/vmm".into(),
            run: "/run/vmm".into(),
            guest: "/usr/share/guest".into(),
            machine_id: "/run/machine-id".into(),
        }
    }
}

impl Paths {
    /// The socket for commands.
    pub(crate) fn socket(&self) -> PathBuf {
        self.run.join("vmm.sock")
    }

    /// The socket of an app's console.
    pub(crate) fn console(&self, app: &str) -> PathBuf {
        self.run.join(app).join("console")
    }

    /// The state of an app.
    pub(crate) fn state_of(&self, app: &str) -> PathBuf {
        self.state.join(app)
    }
}
