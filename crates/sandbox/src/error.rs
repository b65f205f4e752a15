use std::{fmt, io, path::PathBuf};

/// Why a command did not run. A command that ran and failed is no error but an [`Exit`](crate::Exit).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host gives us no namespaces.
    #[error("this host refuses the namespaces that build steps run in ({source})\n\nhint: {advice}")]
    NoNamespaces {
        /// What to do about it.
        advice: NoNamespaces,
        /// What the system said.
        source: io::Error,
    },
    /// A part of the sandbox could not be built.
    #[error("cannot set up the sandbox: {doing}: {source}")]
    Setup {
        /// What was tried.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// The command is not there or cannot be started.
    #[error("cannot start `{program}` in the sandbox: {source}")]
    Program {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The sandbox ended without saying why: something outside killed it, such as the kernel short of memory.
    #[error("the sandbox of `{program}` was killed from outside; is the host short of memory?")]
    Killed {
        /// The program.
        program: String,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The caller's side could not be prepared.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// Which of the host's switches keeps user namespaces from us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoNamespaces {
    /// Debian's and Arch's switch.
    Unprivileged,
    /// Ubuntu's AppArmor rule, since 23.10.
    AppArmor,
    /// The kernel's own limit is zero.
    Limit,
    /// None of those: a container's seccomp profile, or a kernel without them.
    Other,
}

impl NoNamespaces {
    /// Finds the switch; `sysctl` gives the value of one by its path below `/proc/sys`.
    pub(crate) fn find(sysctl: impl Fn(&str) -> Option<String>) -> Self {
        let is = |name: &str, value: &str| sysctl(name).is_some_and(|v| v.trim() == value);
        if is("kernel/unprivileged_userns_clone", "0") {
            Self::Unprivileged
        } else if is("user/max_user_namespaces", "0") {
            Self::Limit
        } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
            Self::AppArmor
        } else {
            Self::Other
        }
    }

    pub(crate) fn here() -> Self {
        Self::find(|name| std::fs::read_to_string(format!("/proc/sys/{name}")).ok())
    }
}

impl fmt::Display for NoNamespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unprivileged => "allow user namespaces: `sysctl -w kernel.unprivileged_userns_clone=1` as root, and the same line in /etc/sysctl.d to keep it",
            Self::AppArmor => "AppArmor restricts user namespaces: `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` as root, and the same line in /etc/sysctl.d to keep it",
            Self::Limit => "the limit of user namespaces is 0: `sysctl -w user.max_user_namespaces=15000` as root, and the same line in /etc/sysctl.d to keep it",
            Self::Other => "in a container, start it with `--security-opt seccomp=unconfined --security-opt systempaths=unconfined`, or `--privileged`; else use a kernel with CONFIG_USER_NS, or build as root",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_switch_has_its_own_advice() {
        let find = |set: &'static [(&str, &str)]| {
            NoNamespaces::find(|name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| format!("{v}\n")))
        };
        let cases = [
            (find(&[("kernel/unprivileged_userns_clone", "0")]), "kernel.unprivileged_userns_clone=1"),
            (find(&[("user/max_user_namespaces", "0")]), "user.max_user_namespaces=15000"),
            (
                find(&[
                    ("kernel/apparmor_restrict_unprivileged_userns", "1"),
                    ("kernel/unprivileged_userns_clone", "1"),
                ]),
                "kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            (find(&[("user/max_user_namespaces", "9")]), "seccomp=unconfined"),
            (find(&[]), "CONFIG_USER_NS"),
        ];
        for (advice, words) in cases {
            assert!(advice.to_string().contains(words), "{advice}");
        }
    }

    #[test]
    fn the_error_says_what_to_do() {
        let source = io::Error::from_raw_os_error(1);
        let text = Error::NoNamespaces { advice: NoNamespaces::AppArmor, source }.to_string();
        assert!(text.starts_with("this host refuses the namespaces") && text.contains("\n\nhint: AppArmor"), "{text}");
    }
}
