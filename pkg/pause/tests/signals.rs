//! The behaviour that the kubelet and containerd need.

#![allow(clippy::unwrap_used)]

use rustix::process::{Pid, Signal, kill_process};
use std::{
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

fn pause() -> Child {
    let child = Command::new(env!("CARGO_BIN_EXE_pause")).spawn().unwrap();
    thread::sleep(Duration::from_millis(300));
    child
}

#[test]
fn it_ends_well_when_told_to() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut child = pause();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(10), "{signal:?}");
            thread::sleep(Duration::from_millis(20));
        }
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_childs_end_does_not_end_it() {
    let mut child = pause();
    kill_process(Pid::from_child(&child), Signal::CHILD).unwrap();
    thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
}
