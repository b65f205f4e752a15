//! The command line: every verb and flag, once. `help` texts are the reference.

use clap::{Args, Parser, Subcommand, ValueEnum};
use defs::Definitions;
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
    /// How events are shown
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Auto)]
    pub(crate) log_format: LogFormat,
    /// Open no socket: everything must be in the cache
    #[arg(long, global = true, env = "EVEK_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) offline: bool,
    /// Steps that run at the same time [default: number of processors]
    #[arg(long, short, global = true)]
    pub(crate) jobs: Option<usize>,
    /// A further place to look for inputs that the mirror has dropped: a folder made by `lock archive`, or the address of a
    /// Debian mirror
    #[arg(long = "source", global = true, env = "EVEK_SOURCES", value_delimiter = ' ')]
    pub(crate) sources: Vec<String>,
    /// The build cache [default: $XDG_CACHE_HOME/evek or ~/.cache/evek]
    #[arg(long, global = true, env = "EVEK_CACHE")]
    pub(crate) cache: Option<PathBuf>,
    /// The keys that images are signed with [default: development keys in $XDG_DATA_HOME/evek/keys or ~/.local/share/evek/keys,
    /// made when they are first needed]
    #[arg(long, global = true, env = "EVEK_KEYS")]
    pub(crate) keys: Option<PathBuf>,
    /// Show every step, also those taken from the cache
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
}

/// How events are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Bars on a terminal, else plain lines
    Auto,
    /// One line an event
    Plain,
    /// JSON lines on stdout
    Json,
}

/// Which image.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// Flavour: kvm, xen or kubevirt
    #[arg(long, env = "HV", default_value = "kvm")]
    pub(crate) hv: Flavour,
    /// Architecture of the image: amd64 or arm64
    #[arg(long, env = "ARCH", default_value = "amd64")]
    pub(crate) arch: Arch,
}

/// Which images.
#[derive(Debug, Clone, Args)]
pub(crate) struct Images {
    /// Flavours: kvm, xen or kubevirt; several with commas
    #[arg(long, env = "HV", default_value = "kvm", value_delimiter = ',')]
    pub(crate) hv: Vec<Flavour>,
    /// Architectures of the images: amd64 or arm64; several with commas
    #[arg(long, env = "ARCH", default_value = "amd64", value_delimiter = ',')]
    pub(crate) arch: Vec<Arch>,
    /// Every flavour for every architecture, whatever --hv and --arch say
    #[arg(long)]
    pub(crate) all: bool,
    /// Without signatures: the same bytes for everyone, into folders of dist/ whose names end in `.unsigned`
    #[arg(long)]
    pub(crate) unsigned: bool,
}

impl Images {
    /// As targets: each flavour for each architecture.
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

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Build images, each into a folder of dist/
    Image(Images),
    /// Write the images of a flavour as an OCI image layout, for skopeo, umoci and registries
    Oci {
        #[command(flatten)]
        target: Target,
        /// The folder
        dir: PathBuf,
    },
    /// Build an image and offer it to devices as an update
    Publish(Publish),
    /// What takes how many bytes in an image, and what its budgets leave
    Size(Size),
    /// Whether an image is whole and signed: every partition, program and block of it
    Verify(Verify),
    /// Boot an image in QEMU, on this terminal
    Run(Run),
    /// Run the tests: unit tests, bad input, and images booted in QEMU
    Test(Test),
    /// Format, lints, docs and licences
    Check,
    /// Time what users wait for
    Bench,
    /// What would run for images, why, and which of it they share
    Plan(Plan),
    /// Why a step would run again: which part of its key changed
    Explain(Step),
    /// Run one step again and compare what it makes
    Replay(Step),
    /// The lock of all inputs
    #[command(subcommand)]
    Lock(Lock),
    /// Keys that images are signed with
    #[command(subcommand)]
    Keys(Keys),
    /// Ways into a device for its owner: arguments for its kernel that the debug key signs
    #[command(subcommand)]
    Debug(Debug),
    /// What devices are told to run
    #[command(subcommand)]
    App(App),
    /// What this host can do, and what to do about the rest
    Doctor,
    /// Shrink the build cache to a size, oldest first
    Gc {
        /// The size to shrink to
        #[arg(long, default_value = "20GiB")]
        size: Bytes,
        /// Also check every blob's digest, and remove those that are damaged
        #[arg(long)]
        verify: bool,
    },
    /// JSON Schemas of the definitions, for editors; or the reference in docs/
    Schema {
        /// Where to write them
        #[arg(long, default_value = "target/schema")]
        out: PathBuf,
        /// Write docs/reference.md instead
        #[arg(long)]
        reference: bool,
    },
    /// Remove what was built in this checkout (dist/); the cache stays
    Clean,
    /// The targets of the Makefile
    HelpMake,
}

/// What to offer as an update, and where.
#[derive(Debug, Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Where: a folder, for a web server or a USB stick, to which updates are added; a file ending in `.tar`; or
    /// `oci://<registry>/<name>`, `oci+http://…` without TLS
    #[arg(long)]
    pub(crate) to: String,
}

/// How to show the sizes of an image.
#[derive(Debug, Args)]
pub(crate) struct Size {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Levels of the tree to show
    #[arg(long, default_value_t = 4)]
    pub(crate) depth: usize,
    /// Parts of one whole to show
    #[arg(long, default_value_t = 12)]
    pub(crate) parts: usize,
    /// The whole tree as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Write one page with a treemap, which any browser opens, into this file
    #[arg(long, conflicts_with = "json")]
    pub(crate) html: Option<PathBuf>,
}

/// What to verify.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The folder of an image, with its image.json; or a raw disk
    pub(crate) image: PathBuf,
    /// The certificate that its programs must be signed by [default: db.crt of the keys that `--keys` names]
    #[arg(long)]
    pub(crate) certificate: Option<PathBuf>,
    /// Its programs must have no signatures
    #[arg(long, conflicts_with = "certificate")]
    pub(crate) unsigned: bool,
    /// Also write the disk without its signatures: the bytes of `image --unsigned`
    #[arg(long)]
    pub(crate) strip_signatures: Option<PathBuf>,
}

/// How to boot an image.
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
    /// No network card at all
    #[arg(long)]
    pub(crate) no_network: bool,
    /// Firmware with Secure Boot and without keys, as the image brings its own; with Microsoft's for one that begins with shim
    #[arg(long)]
    pub(crate) secure_boot: bool,
    /// A TPM 2.0, new from the factory
    #[arg(long)]
    pub(crate) tpm: bool,
    /// Public key for ssh [default: a throw-away pair]
    #[arg(long)]
    pub(crate) key: Option<PathBuf>,
}

/// Which tests.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Only tests whose name contains this
    pub(crate) filter: Option<String>,
    /// Also what takes long: every image booted
    #[arg(long)]
    pub(crate) all: bool,
    /// Repeat tests of images that have passed with the same program and inputs
    #[arg(long)]
    pub(crate) again: bool,
    /// Run the checks first
    #[arg(long)]
    pub(crate) check: bool,
}

/// What to plan.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) images: Images,
    /// The graph as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// One step of an image.
#[derive(Debug, Args)]
pub(crate) struct Step {
    /// The step, as `plan` names it
    pub(crate) step: String,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// Verbs of declarations of apps.
#[derive(Debug, Subcommand)]
pub(crate) enum App {
    /// Whether a device would take these declarations
    Check {
        /// Files, each named as its app with `.yml`
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// Verbs of keys. Each works on the folder that `--keys` names.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key pair for each purpose
    Generate {
        /// Whose keys they are: a name for their certificates
        #[arg(long, default_value = "EVE-k")]
        owner: String,
        /// For images that say in their names that nobody should trust them
        #[arg(long)]
        development: bool,
    },
    /// Make another key `pcr`; the one before signs, too, as long as it is there: docs/vault.md
    Rotate {
        /// Whose key it is: a name for its certificate
        #[arg(long, default_value = "EVE-k")]
        owner: String,
    },
    /// The certificates, and which private keys are here
    Show,
    /// Answer a request for signatures; this is done where the private keys are
    Sign {
        /// The request, as `image` has written it
        request: PathBuf,
        /// Where to write the answer
        response: PathBuf,
    },
    /// Take over signatures from an answer
    Import {
        /// The answer
        response: PathBuf,
    },
}

/// Verbs of debugging devices. docs/secure-boot.md says what each costs.
#[derive(Debug, Subcommand)]
pub(crate) enum Debug {
    /// Write an addon, which gives the kernel further arguments, for the EFI system partition of a device
    Addon {
        #[command(flatten)]
        target: Target,
        /// The arguments; without this, `evek.debug systemd.debug_shell=<the serial console>`
        #[arg(long, value_name = "ARGUMENTS")]
        add: Option<String>,
        /// The file, whose name must end in `.addon.efi`
        #[arg(long)]
        to: PathBuf,
    },
    /// Write what has a device's firmware take such addons: its variable db gets the debug key's certificate
    Allow {
        /// The file; one that ends in `.cer` is the certificate itself, for shim's MokManager
        #[arg(long)]
        to: PathBuf,
    },
    /// Write what has a device's firmware take nothing of the debug key's any more: its variable dbx gets the certificate
    Forbid {
        /// The file
        #[arg(long)]
        to: PathBuf,
    },
}

/// Verbs of the lock.
#[derive(Debug, Subcommand)]
pub(crate) enum Lock {
    /// Resolve the definitions anew and write evek.lock: all of them, or the named ones
    Update {
        /// Sets and programs, such as `rootfs`, `pkg/kube`, `toolbox/files`, `go/kube/k3s`; or a Go program such as `k3s` with `--to`
        names: Vec<String>,
        /// The version to take over for a Go program, with upstream's replacements and checksums
        #[arg(long, requires = "names")]
        to: Option<String>,
        /// Accept a mirror whose index has expired
        #[arg(long)]
        allow_expired: bool,
    },
    /// Whether the lock covers the definitions
    Check,
    /// What the mirror has newer; changes nothing
    Outdated,
    /// Why a package is in the lock
    Why {
        /// The package
        package: String,
    },
    /// Copy every input of the lock into a folder, from which it can be built years later
    Archive {
        /// The folder
        dir: PathBuf,
    },
}
