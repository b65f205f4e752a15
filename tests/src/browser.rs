//! A real browser without a screen, from the toolbox.

use crate::builder::{entry, variable};
use sandbox::{Bind, Exit, Sandbox};
use std::{fs, path::Path};
use types::Cancel;

/// What a browser made of a page.
#[derive(Debug)]
pub struct Seen {
    /// The document as it stood after everything had run.
    pub dom: String,
    /// What the browser said, the page's console included.
    pub log: String,
}

impl Seen {
    /// The text of the element with this id, which has no elements in it.
    ///
    /// # Panics
    /// When the document has none.
    #[must_use]
    pub fn text(&self, id: &str) -> String {
        let start = format!("id=\"{id}\">");
        let found = self.dom.split_once(&start).and_then(|(_, rest)| rest.split_once("</"));
        let (text, _) = found.unwrap_or_else(|| panic!("no element {id} in the document\n{}", self.log));
        text.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", "\u{a0}").replace("&amp;", "&")
    }
}

/// Opens a file of a folder by its `file:` address in a window of 1280 × 800 points, and waits until all is quiet.
///
/// # Panics
/// When the browser cannot be run or fails.
#[must_use]
pub fn open(folder: &Path, page: &str) -> Seen {
    let home = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary folder: {e}"));
    let mut sandbox = Sandbox::new(variable("EVEK_TOOLBOX_BROWSER")).bind(Bind::read_only(folder, "/page"));
    sandbox.entry = Some(entry());
    sandbox.tmp = Some(home.path().join("tmp"));
    fs::create_dir(home.path().join("tmp")).unwrap_or_else(|e| panic!("no temporary folder: {e}"));
    let address = format!("file:///page/{page}");
    let argv = [
        "/usr/lib/chromium/chromium-headless-shell",
        // it is in ours already
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--user-data-dir=/tmp/profile",
        "--window-size=1280,800",
        "--enable-logging=stderr",
        // the clock of the page runs as fast as it has nothing to do, to its end
        "--virtual-time-budget=10000",
        "--dump-dom",
        &address,
    ];
    let output = sandbox.output(argv, &[], &Cancel::default()).unwrap_or_else(|e| panic!("{e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let seen = Seen { dom: text(&output.stdout), log: text(&output.stderr) };
    assert!(output.exit == Exit::Code(0), "the browser ended with {:?}\n{}", output.exit, seen.log);
    seen
}
