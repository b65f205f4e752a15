//! The command line: every verb and flag, once. The help texts are the reference: the first line is imperative, or names the
//! value of a flag; a second paragraph, which `--help` shows, has details.

use clap::{Args, Parser, Subcommand, ValueEnum};
use defs::{Definitions, Format};
use std::{collections::BTreeSet, path::PathBuf};
use types::{Arch, Bytes, Flavour};

/// Builds, tests and inspects EVE-k images.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Flags of every verb.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The rendering of events
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Auto)]
    pub(crate) log_format: LogFormat,
    /// Open no socket: all inputs must be in the cache
    #[arg(long, global = true, env = "EVEK_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) offline: bool,
    /// Number of steps that run at the same time [default: number of processors]
    #[arg(long, short, global = true)]
    pub(crate) jobs: Option<usize>,
    /// Further source of inputs that the mirror has dropped
    ///
    /// A folder made by `lock archive`, or the address of a Debian mirror.
    #[arg(long = "source", global = true, env = "EVEK_SOURCES", value_delimiter = ' ')]
    pub(crate) sources: Vec<String>,
    /// The build cache [default: $XDG_CACHE_HOME/evek or ~/.cache/evek]
    #[arg(long, global = true, env = "EVEK_CACHE")]
    pub(crate) cache: Option<PathBuf>,
    /// Folder of the keys that sign images [default: development keys]
    ///
    /// Development keys are in $XDG_DATA_HOME/evek/keys or ~/.local/share/evek/keys; the first verb that needs them makes them.
    #[arg(long, global = true, env = "EVEK_KEYS")]
    pub(crate) keys: Option<PathBuf>,
    /// Show every step, cached ones too
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
}

/// The rendering of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Bars on a terminal, else plain lines
    Auto,
    /// One line for each event
    Plain,
    /// JSON lines on stdout
    Json,
}

/// The image of a verb.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// Flavour: kvm, xen or kubevirt
    #[arg(long, env = "HV", default_value = "kvm")]
    pub(crate) hv: Flavour,
    /// Architecture of the image: amd64 or arm64
    #[arg(long, env = "ARCH", default_value = "amd64")]
    pub(crate) arch: Arch,
}

/// The images of a verb.
#[derive(Debug, Clone, Args)]
pub(crate) struct Images {
    /// Flavours: kvm, xen, kubevirt; separate several with commas
    #[arg(long, env = "HV", default_value = "kvm", value_delimiter = ',')]
    pub(crate) hv: Vec<Flavour>,
    /// Architectures: amd64, arm64; separate several with commas
    #[arg(long, env = "ARCH", default_value = "amd64", value_delimiter = ',')]
    pub(crate) arch: Vec<Arch>,
    /// Every flavour for every architecture; ignores --hv and --arch
    #[arg(long)]
    pub(crate) all: bool,
    /// Write images without signatures: the same bytes for everyone
    ///
    /// They go into folders of dist/ whose names end in `.unsigned`.
    #[arg(long)]
    pub(crate) unsigned: bool,
}

impl Images {
    /// The targets: each flavour for each architecture.
    pub(crate) fn targets(&self, defs: &Definitions) -> Vec<steps::Target> {
        let (flavours, archs): (BTreeSet<Flavour>, BTreeSet<Arch>) = if self.all {
            (defs.flavours.keys().copied().collect(), Arch::ALL.into())
        } else {
            (self.hv.iter().copied().collect(), self.arch.iter().copied().collect())
        };
        let of = |arch| flavours.iter().map(move |&flavour| steps::Target { flavour, arch });
        archs.into_iter().flat_map(of).collect()
    }
}

/// The images to build.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    #[command(flatten)]
    pub(crate) images: Images,
    /// Also write these formats: vmdk, vhdx, vdi, gcp, raw.zst; separate with commas
    #[arg(long, value_delimiter = ',')]
    pub(crate) format: Vec<Format>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Build images, each into a folder of dist/
    Image(ImageArgs),
    /// Write a flavour's OCI images as a layout for skopeo, umoci, registries
    Oci {
        #[command(flatten)]
        target: Target,
        /// The folder to write
        dir: PathBuf,
    },
    /// Build an image and offer it to devices as an update
    Publish(Publish),
    /// Show the sizes of an image's parts, budgets and layouts
    Size(Size),
    /// Verify that an image is whole and signed
    Verify(Verify),
    /// Write an image to a stick, a card, a disk or a file, and read it back
    ///
    /// Without a device: list the disks of this host, and which of them can take the image. Only what the image's list of
    /// segments has is written, and its partition table last.
    Flash(Flash),
    /// Boot an image in QEMU, on this terminal
    Run(Run),
    /// Run the tests: unit tests, bad input, and images booted in QEMU
    Test(Test),
    /// Check format, lints, docs, licences and words
    Check,
    /// Measure the time of builds that users wait for
    Bench,
    /// Show the steps that would run, with reasons and images
    Plan(Plan),
    /// Show which part of a step's key changed
    Explain(Step),
    /// Run one step again and compare its outputs
    Replay(Step),
    /// Update and inspect the lock of all inputs
    #[command(subcommand)]
    Lock(Lock),
    /// Make and use keys that sign images
    #[command(subcommand)]
    Keys(Keys),
    /// Give an owner access to a device by the debug key
    #[command(subcommand)]
    Debug(Debug),
    /// Check declarations of apps
    #[command(subcommand)]
    App(App),
    /// Check this host, and print remedies
    Doctor,
    /// Shrink the build cache to a size, least recently used first
    Gc {
        /// The size to shrink to
        #[arg(long, default_value = "20GiB")]
        size: Bytes,
        /// Also verify every blob's digest, and remove damaged blobs
        #[arg(long)]
        verify: bool,
    },
    /// Write JSON Schemas of the definitions, or docs/reference.md
    Schema {
        /// Folder for the schemas
        #[arg(long, default_value = "target/schema")]
        out: PathBuf,
        /// Write docs/reference.md instead of schemas
        #[arg(long)]
        reference: bool,
    },
    /// Remove dist/; keep the build cache
    Clean,
    /// List the targets of the Makefile
    HelpMake,
}

/// The image to offer as an update, and the place.
#[derive(Debug, Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    pub(crate) target: Target,
    /// A folder, a file ending in `.tar`, or `oci://<registry>/<name>`
    ///
    /// A folder is for a web server or a USB stick; updates in it stay. `oci+http://…` is a registry without TLS.
    #[arg(long)]
    pub(crate) to: String,
}

/// The rendering of sizes.
#[derive(Debug, Args)]
pub(crate) struct Size {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Levels of the tree to show
    #[arg(long, default_value_t = 4)]
    pub(crate) depth: usize,
    /// Parts of each node to show
    #[arg(long, default_value_t = 12)]
    pub(crate) parts: usize,
    /// Print the whole tree as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a treemap for browsers into this file
    #[arg(long, conflicts_with = "json")]
    pub(crate) html: Option<PathBuf>,
}

/// The image to verify.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Folder of an image, with its image.json; or a raw disk
    pub(crate) image: PathBuf,
    /// Certificate of the required signer [default: db.crt of `--keys`]
    #[arg(long)]
    pub(crate) certificate: Option<PathBuf>,
    /// Require programs without signatures
    #[arg(long, conflicts_with = "certificate")]
    pub(crate) unsigned: bool,
    /// Also write the disk without signatures, as `image --unsigned` does
    #[arg(long)]
    pub(crate) strip_signatures: Option<PathBuf>,
}

/// The image to write, and the medium.
#[derive(Debug, Args)]
pub(crate) struct Flash {
    /// Folder of an image, or its `.raw` or `.raw.zst` file beside image.json
    pub(crate) image: Option<PathBuf>,
    /// A whole disk, or a new file
    pub(crate) device: Option<PathBuf>,
    /// Folder with the owner's files, for the partition CONFIG
    #[arg(long, requires = "device")]
    pub(crate) config: Option<PathBuf>,
    /// Do not ask whether everything on the device may be lost
    ///
    /// The device must then have a name in /dev/disk/by-id, which does not change.
    #[arg(long, requires = "device")]
    pub(crate) yes: bool,
    /// List the disks as JSON
    #[arg(long, conflicts_with = "device")]
    pub(crate) json: bool,
}

/// The machine that boots an image.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Processors of the machine
    #[arg(long, default_value_t = 2)]
    pub(crate) cpus: u32,
    /// Memory of the machine
    #[arg(long, default_value = "4GiB")]
    pub(crate) memory: Bytes,
    /// Use no network card
    #[arg(long)]
    pub(crate) no_network: bool,
    /// Use firmware with Secure Boot
    ///
    /// The firmware has no keys and enrolls those of the image. For an image with shim it has Microsoft's keys.
    #[arg(long)]
    pub(crate) secure_boot: bool,
    /// Add a new TPM 2.0
    #[arg(long)]
    pub(crate) tpm: bool,
    /// Public key for ssh [default: a temporary key pair]
    #[arg(long)]
    pub(crate) key: Option<PathBuf>,
}

/// The tests to run.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Run only tests whose name contains this text
    pub(crate) filter: Option<String>,
    /// Also run long tests, which boot every image
    #[arg(long)]
    pub(crate) all: bool,
    /// Repeat tests of images that have passed with the same program and inputs
    #[arg(long)]
    pub(crate) again: bool,
    /// Run the checks first
    #[arg(long)]
    pub(crate) check: bool,
}

/// The images to plan.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) images: Images,
    /// Print the graph as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// One step of an image.
#[derive(Debug, Args)]
pub(crate) struct Step {
    /// Name of the step in `plan`
    pub(crate) step: String,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// Verbs of declarations of apps.
#[derive(Debug, Subcommand)]
pub(crate) enum App {
    /// Check whether a device accepts declarations
    Check {
        /// Files, each with the name of its app and `.yml`
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// Verbs of keys. Each works on the folder that `--keys` names.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key pair for each purpose
    Generate {
        /// Name of the owner, for the certificates
        #[arg(long, default_value = "EVE-k")]
        owner: String,
        /// Mark the keys, and images signed with them, as untrusted
        #[arg(long)]
        development: bool,
    },
    /// Make a new key `pcr` and keep the old one as `pcr-before`
    ///
    /// Both sign until you remove `pcr-before`: docs/vault.md has the procedure.
    Rotate {
        /// Name of the owner, for the certificate
        #[arg(long, default_value = "EVE-k")]
        owner: String,
    },
    /// List the certificates and the private keys that are here
    Show,
    /// Answer a request for signatures, where the private keys are
    Sign {
        /// The request, written by `image`
        request: PathBuf,
        /// File for the answer
        response: PathBuf,
    },
    /// Import signatures from an answer
    Import {
        /// The answer
        response: PathBuf,
    },
}

/// Verbs of debugging devices. docs/secure-boot.md has the procedure and its risks.
#[derive(Debug, Subcommand)]
pub(crate) enum Debug {
    /// Write an addon with further kernel arguments, for a device's ESP
    Addon {
        #[command(flatten)]
        target: Target,
        /// Arguments [default: evek.debug systemd.debug_shell=…, on the serial console]
        #[arg(long, value_name = "ARGUMENTS")]
        add: Option<String>,
        /// File to write; its name must end in `.addon.efi`
        #[arg(long)]
        to: PathBuf,
    },
    /// Write a db update that makes firmware trust the debug key
    Allow {
        /// File to write; with the ending `.cer` the certificate, for MokManager
        #[arg(long)]
        to: PathBuf,
    },
    /// Write a dbx update that revokes the debug key
    Forbid {
        /// File to write
        #[arg(long)]
        to: PathBuf,
    },
}

/// Verbs of the lock.
#[derive(Debug, Subcommand)]
pub(crate) enum Lock {
    /// Resolve all definitions, or the named ones, and write evek.lock
    Update {
        /// Sets and programs, such as `rootfs`, `pkg/kube`, `go/kube/k3s`
        ///
        /// With `--to`, the name of one Go program, such as `k3s`.
        names: Vec<String>,
        /// New version of a Go program, with upstream's checksums
        #[arg(long, requires = "names")]
        to: Option<String>,
        /// Accept a mirror whose index has expired
        #[arg(long)]
        allow_expired: bool,
    },
    /// Check that the lock covers the definitions
    Check,
    /// List newer versions on the mirror; change nothing
    Outdated,
    /// Show why a package is in the lock
    Why {
        /// The package
        package: String,
    },
    /// Copy every input of the lock into a folder, for builds years later
    Archive {
        /// The folder
        dir: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    /// The first paragraphs of all help texts, with the verb or flag.
    fn texts(command: &clap::Command, path: &str) -> Vec<(String, String)> {
        let path = format!("{path} {}", command.get_name());
        let about = command.get_about().map(|about| (path.clone(), about.to_string()));
        let arguments = command
            .get_arguments()
            .filter_map(|argument| Some((format!("{path} {}", argument.get_id()), argument.get_help()?.to_string())));
        let below = command.get_subcommands().flat_map(|command| texts(command, &path));
        about.into_iter().chain(arguments).chain(below).collect()
    }

    #[test]
    fn a_help_text_is_one_short_line() {
        let all = texts(&Cli::command(), "");
        assert!(all.len() > 50, "{all:?}");
        for (of, text) in all {
            assert!(text.chars().count() <= 80 && !text.contains('\n'), "{of}: {text}");
            assert!(!text.starts_with("What ") && !text.starts_with("Whether "), "{of}: {text}");
        }
    }
}
