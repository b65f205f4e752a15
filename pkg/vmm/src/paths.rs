//! Where everything is.

use std::path::PathBuf;

/// The folders and files of this service; tests have others.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Declarations: those of CONFIG, those of P3.
    pub(crate) declared: [PathBuf; 2],
    /// The store.
    pub(crate) store: PathBuf,
    /// What guests keep: volumes, variables, TPMs.
    pub(crate) state: PathBuf,
    /// Sockets and what lives no longer than a run.
    pub(crate) run: PathBuf,
    /// The guests' kernel and first program.
    pub(crate) guest: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            declared: ["/config/apps".into(), "/persist/apps".into()],
            store: "/run/evek/store".into(),
            state: "/persist/vmm".into(),
            run: "/run/vmm".into(),
            guest: "/usr/share/guest".into(),
        }
    }
}

impl Places {
    /// Where commands are taken.
    pub(crate) fn socket(&self) -> PathBuf {
        self.run.join("vmm.sock")
    }

    /// Where an app's console is.
    pub(crate) fn console(&self, app: &str) -> PathBuf {
        self.run.join(app).join("console")
    }
}
