//! The verbs, on a device of files.

mod device;
mod keep;
mod make;
mod measure;
mod open;
mod seal;
mod status;
mod tpm;
mod volume;
mod wait;

use device::{Device, ELEVEN, SEVEN, STUB_MEASURED};
