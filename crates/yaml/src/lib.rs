//! Strict YAML: typed values that carry their place in the file, and errors that show the line.
//!
//! ```text
//! Source (file, text) ─► parse::<T>() ─► T with Located<…> values     ─┐ rules broken later
//!                             └─► Error: place, problem, line, caret ◄─┘ Source::error
//! ```
//! An unknown field, a duplicate field, a wrong type and an unknown choice are errors that name the allowed values. The
//! builder's definitions and an operator's declarations on a device share this reader.
//!
//! Deliberately absent: any definition, and any rule that a type cannot express.

mod error;
mod located;
mod source;

pub use error::{Error, Problem};
pub use located::{Located, Place};
pub use source::Source;
