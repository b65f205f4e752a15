//! The engine from outside: real steps, a real cache in a temporary folder.
#![allow(clippy::unwrap_used)]

mod cached;
mod failing;
mod keeping;
mod planning;
mod world;
