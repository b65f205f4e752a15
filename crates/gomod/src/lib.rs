//! Our own Go modules around other people's programs: a `go.mod` and a `go.sum` that build an upstream command exactly as
//! upstream's own do.
//!
//! A Go module used as a dependency loses its `replace`, `exclude` and `godebug` lines: they count only in the main
//! module. So the main module that builds k3s must repeat them, and must list every indirect requirement because only
//! then do the go client and `go mod vendor` leave it unchanged.
//!
//! ```text
//!  upstream go.mod ─┐                     ┌─► go.mod   module evek.local/k3s
//!  upstream go.sum ─┤                     │            require <upstream> <version> // <tag>, the rest as indirect
//!  name, tools     ─┼──► take_over() ─────┤            replace …, exclude …, godebug …   (upstream's, word for word)
//!  module@version  ─┤                     │            tool <upstream>/cmd/…
//!  its two hashes  ─┘                     └─► go.sum   upstream's lines + the two of the module itself
//! ```
//!
//! [`vars`] fills the version variables that upstream's build sets by `-ldflags -X` from such a `go.mod`, so that an update
//! changes `go.mod` and `go.sum` and nothing else.
//!
//! Deliberately not here: running the go client, any network access, choosing versions. Grammar and semantics follow the
//! Go Modules Reference, §§ *go.mod files*, *go.sum files*, *Versions*.

mod download;
mod file;
mod parse;
mod sum;
mod take_over;
pub mod vars;
mod version;

pub use download::Download;
pub use file::{Exclude, GoMod, Module, Replace, Require, Target};
pub use parse::ParseError;
pub use sum::{GoSum, SumError};
pub use take_over::{TakeOver, TakeOverError, take_over};
