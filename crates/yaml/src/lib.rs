//! Strict YAML: typed values that know where they were written, and errors that show the line.
//!
//! ```text
//! Source (file, text) ─► parse::<T>() ─► T with Located<…> values     ─┐ rules broken later
//!                             └─► Error: place, problem, line, caret ◄─┘ Source::error
//! ```
//! An unknown field, a field given twice, a wrong type and an unknown choice are errors that name what is allowed. Both the
//! definitions of the builder and what an operator declares on a device are read so.
//!
//! Deliberately absent: any definition, and any rule that a type cannot express.

mod error;
mod located;
mod source;

pub use error::{Error, Problem};
pub use located::{Located, Place};
pub use source::Source;
