//! A QEMU that sends the events of a full P3 and writes commands down.

use super::*;
use serde_json::json;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

struct Fake {
    commands: Lines<BufReader<OwnedReadHalf>>,
    events: OwnedWriteHalf,
}

impl Fake {
    /// Sends events and has them taken into account.
    async fn says(&mut self, control: &mut Control, events: &[Value]) {
        for event in events {
            self.events.write_all(format!("{event}\n").as_bytes()).await.unwrap();
            let message = control.qmp.message().await.unwrap();
            control.message(&message).await.unwrap();
        }
    }

    /// The next command that has come.
    async fn command(&mut self) -> String {
        let line: Value = serde_json::from_str(&self.commands.next_line().await.unwrap().unwrap()).unwrap();
        line["execute"].as_str().unwrap().to_owned()
    }
}

/// A guest with so many free bytes for its disks.
async fn guest() -> (Fake, Control, watch::Receiver<Option<Pause>>, Arc<AtomicU64>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (read, events) = theirs.into_split();
    let mut fake = Fake { commands: BufReader::new(read).lines(), events };
    let opening = async {
        fake.events.write_all(b"{\"QMP\": {}}\n{\"return\": {}}\n").await.unwrap();
        assert_eq!(fake.command().await, "qmp_capabilities");
    };
    let (qmp, ()) = tokio::join!(Qmp::open(ours), opening);
    let free = Arc::new(AtomicU64::new(0));
    let space = Arc::clone(&free);
    let (control, pauses) = Control::new(qmp.unwrap(), Box::new(move || space.load(Ordering::Relaxed)));
    (fake, control, pauses, free)
}

fn error(no_space: bool) -> Value {
    let data = json!({"device": "", "node-name": "disk0", "operation": "write", "action": "stop", "nospace": no_space});
    json!({"event": "BLOCK_IO_ERROR", "data": data})
}

fn event(name: &str) -> Value {
    json!({ "event": name })
}

#[tokio::test(flavor = "current_thread")]
async fn a_guest_without_space_is_paused_and_goes_on_with_space() {
    // QEMU limits the rate of one event and not of the other
    for events in [[error(true), event("STOP")], [event("STOP"), error(true)]] {
        let (mut fake, mut control, pauses, free) = guest().await;
        assert!(!control.waits_for_space());
        fake.says(&mut control, &events).await;
        assert_eq!(*pauses.borrow(), Some(Pause::NoSpace));
        assert!(control.waits_for_space());
        free.store(ENOUGH - 1, Ordering::Relaxed);
        control.look_for_space().await.unwrap();
        free.store(ENOUGH, Ordering::Relaxed);
        control.look_for_space().await.unwrap();
        // the first look has sent nothing, for the second command would come first
        control.qmp.send("end-of-test").await.unwrap();
        assert_eq!([fake.command().await, fake.command().await], ["cont", "end-of-test"]);
        fake.says(&mut control, &[event("RESUME")]).await;
        assert_eq!((*pauses.borrow(), control.waits_for_space()), (None, false));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_paused_guest_gets_its_power_button_and_then_ends() {
    let (mut fake, mut control, _pauses, _) = guest().await;
    fake.says(&mut control, &[error(true), event("STOP")]).await;
    control.press_power_button().await.unwrap();
    assert_eq!([fake.command().await, fake.command().await], ["cont", "system_powerdown"]);
    assert!(!control.waits_for_space(), "from now on it only has to end");
    // there is still no space
    fake.says(&mut control, &[event("RESUME"), event("STOP"), error(true)]).await;
    assert_eq!(fake.command().await, "quit");
    let quit = json!({"event": "SHUTDOWN", "data": {"reason": "host-qmp-quit"}});
    fake.says(&mut control, &[quit]).await;
    let end = control.end().unwrap_err();
    let expected = "was ended, because it was paused (no space on P3) and could not switch itself off";
    assert_eq!(end, End::Failed(expected.into()));
}

#[tokio::test(flavor = "current_thread")]
async fn a_paused_guest_that_has_space_again_switches_itself_off() {
    let (mut fake, mut control, _pauses, _) = guest().await;
    fake.says(&mut control, &[error(true), event("STOP")]).await;
    control.press_power_button().await.unwrap();
    let off = json!({"event": "SHUTDOWN", "data": {"reason": "guest-shutdown"}});
    fake.says(&mut control, &[event("RESUME"), off]).await;
    assert_eq!(control.end(), Ok(Some("guest-shutdown")));
}

#[tokio::test(flavor = "current_thread")]
async fn other_errors_have_their_own_word_and_reports_to_the_guest_pause_nothing() {
    let (mut fake, mut control, pauses, _) = guest().await;
    let mut reported = error(true);
    reported["data"]["action"] = json!("report");
    fake.says(&mut control, &[reported, event("RESUME"), event("POWERDOWN")]).await;
    assert_eq!(*pauses.borrow(), None);
    fake.says(&mut control, &[error(false), event("STOP")]).await;
    assert_eq!(*pauses.borrow(), Some(Pause::Failed));
}

#[test]
fn a_guest_without_writable_disks_needs_no_space() {
    assert_eq!(space_of(&[Disk::raw("/none", true)])(), u64::MAX);
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(space_of(&[Disk::raw(file.path(), false)])() < u64::MAX);
}
