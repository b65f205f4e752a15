//! Fetching against a server in this process that misbehaves on request.

#![allow(clippy::unwrap_used)]

use super::*;
use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::Arc,
};
use tempfile::TempDir;

/// What the server does with a path.
#[derive(Clone)]
enum Answer {
    Whole(Vec<u8>),
    /// The first answer breaks off after so many bytes; later ones are whole or the range asked for.
    CutOnce(Vec<u8>, usize),
    /// As often answers this status; then whole.
    Failing(Vec<u8>, u16, usize),
}

struct Server {
    url: String,
    /// Path and Range header of every request.
    log: Arc<Mutex<Vec<String>>>,
}

fn serve(answers: &[(&str, Answer)]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers: Arc<HashMap<String, Answer>> =
        Arc::new(answers.iter().map(|(path, a)| ((*path).to_owned(), a.clone())).collect());
    let log = Arc::new(Mutex::new(Vec::new()));
    let shared = log.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (answers, log) = (answers.clone(), shared.clone());
            std::thread::spawn(move || one_request(&stream.unwrap(), &answers, &log));
        }
    });
    Server { url, log }
}

fn one_request(mut stream: &TcpStream, answers: &HashMap<String, Answer>, log: &Mutex<Vec<String>>) {
    let lines: Vec<String> =
        BufReader::new(stream).lines().map_while(Result::ok).take_while(|l| !l.is_empty()).collect();
    let path = lines[0].split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
    let range = lines.iter().find_map(|l| l.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let from: usize = range.as_deref().map_or(0, |r| r.trim_end_matches('-').parse().unwrap());
    let earlier = {
        let mut log = log.lock().unwrap();
        let earlier = log.iter().filter(|l| l.split(' ').next() == Some(&path)).count();
        log.push(format!("{path} {from}"));
        earlier
    };
    let head = |status: &str, len: usize, more: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\n{more}Connection: close\r\n\r\n")
    };
    let whole = |bytes: &[u8]| {
        let part = &bytes[from..];
        let more = format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
        let head = if from == 0 { head("200 OK", part.len(), "") } else { head("206 Partial", part.len(), &more) };
        [head.as_bytes(), part].concat()
    };
    let answer = match answers.get(&path) {
        None => head("404 Not Found", 0, "").into_bytes(),
        Some(Answer::CutOnce(bytes, at)) if earlier == 0 => {
            [head("200 OK", bytes.len(), "").as_bytes(), &bytes[..*at]].concat()
        }
        Some(Answer::Failing(_, status, times)) if earlier < *times => {
            head(&format!("{status} No"), 0, "").into_bytes()
        }
        Some(Answer::Whole(bytes) | Answer::CutOnce(bytes, _) | Answer::Failing(bytes, ..)) => whole(bytes),
    };
    // The client may hang up first.
    let _ = stream.write_all(&answer);
}

fn want(name: &str, bytes: &[u8]) -> Want {
    let locations = vec![(Archive::Main, format!("pool/{name}"))];
    Want { name: name.to_owned(), sha256: Digest::of(bytes), size: Bytes(bytes.len() as u64), locations }
}

fn mirrors(url: &str) -> Mirrors {
    Mirrors::discover(|name| (name == "DEBIAN_MIRROR").then(|| url.to_owned()), Path::new("no apt here"))
}

fn fetcher(options: Options) -> (TempDir, Fetcher) {
    let dir = tempfile::tempdir().unwrap();
    let mut fetcher = Fetcher::new(Cas::open(&dir.path().join("cas")).unwrap(), options);
    fetcher.pause = Duration::from_millis(1);
    (dir, fetcher)
}

fn from(url: &str) -> Options {
    Options { mirrors: mirrors(url), ..Options::default() }
}

fn tmp_is_empty(fetcher: &Fetcher) -> bool {
    fs::read_dir(fetcher.cas().tmp()).unwrap().count() == 0
}

#[test]
fn inputs_land_in_the_store_and_are_fetched_once() {
    let files: Vec<(String, Vec<u8>)> = (0..20).map(|n| (format!("f{n}"), vec![n as u8; 100_000 + n])).collect();
    let paths: Vec<String> = files.iter().map(|(name, _)| format!("pool/{name}")).collect();
    let answers: Vec<_> = paths.iter().zip(&files).map(|(p, (_, b))| (p.as_str(), Answer::Whole(b.clone()))).collect();
    let server = serve(&answers);
    let mut wants: Vec<Want> = files.iter().map(|(name, bytes)| want(name, bytes)).collect();
    wants.push(wants[0].clone());
    let (_dir, fetcher) = fetcher(from(&server.url));

    let events = Mutex::new((0, 0, 0));
    let count = |event: Event<'_>| {
        let mut events = events.lock().unwrap();
        match event {
            Event::Plan { files, bytes } => (events.0, events.1) = (files, bytes.0),
            Event::Received { bytes } => events.1 -= bytes.0,
            Event::Done { .. } => events.2 += 1,
            Event::Trouble { .. } => panic!("{event:?}"),
        }
    };
    fetcher.fetch(&wants, &count).unwrap();
    assert_eq!(*events.lock().unwrap(), (20, 0, 20));
    wants.iter().for_each(|w| fetcher.cas().verify(&w.sha256).unwrap());
    fetcher.fetch(&wants, &|event| panic!("{event:?}")).unwrap();
    assert_eq!(server.log.lock().unwrap().len(), 20);
    assert!(tmp_is_empty(&fetcher));
}

#[test]
fn wrong_content_is_named_and_never_stored() {
    let server = serve(&[("pool/x", Answer::Whole(b"evil".to_vec())), ("pool/y", Answer::Whole(b"longer".to_vec()))]);
    let (_dir, fetcher) = fetcher(from(&server.url));
    let error = fetcher.fetch(&[want("x", b"good")], &|_| ()).unwrap_err().to_string();
    let (expected, found) = (Digest::of(b"good"), Digest::of(b"evil"));
    assert!(
        error.starts_with(&format!(
            "cannot fetch x ({expected})\n  {}/pool/x: wrong content: expected {expected}, found {found}\n",
            server.url
        )),
        "{error}"
    );
    assert!(!fetcher.cas().has(&expected) && !fetcher.cas().has(&found) && tmp_is_empty(&fetcher));
    let error = fetcher.fetch(&[want("y", b"long")], &|_| ()).unwrap_err().to_string();
    assert!(error.contains("is longer than 4 bytes"), "{error}");
}

#[test]
fn a_cut_connection_is_resumed_where_it_broke() {
    let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let server = serve(&[("pool/x", Answer::CutOnce(bytes.clone(), 300_000))]);
    let (_dir, fetcher) = fetcher(from(&server.url));
    let want = want("x", &bytes);
    fetcher.fetch(std::slice::from_ref(&want), &|_| ()).unwrap();
    fetcher.cas().verify(&want.sha256).unwrap();
    assert_eq!(*server.log.lock().unwrap(), ["pool/x 0", "pool/x 300000"]);
}

#[test]
fn a_partial_file_of_an_earlier_run_is_continued_and_a_wrong_one_replaced() {
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let server = serve(&[("pool/x", Answer::Whole(bytes.clone()))]);
    let want = want("x", &bytes);
    let (_dir, first) = fetcher(from(&server.url));
    fs::write(first.partial(&want), &bytes[..1000]).unwrap();
    first.fetch(std::slice::from_ref(&want), &|_| ()).unwrap();
    assert_eq!(*server.log.lock().unwrap(), ["pool/x 1000"]);

    for wrong in [vec![0; 1000], vec![0; bytes.len()], vec![0; bytes.len() + 1]] {
        let (_dir, second) = fetcher(from(&server.url));
        fs::write(second.partial(&want), wrong).unwrap();
        second.fetch(std::slice::from_ref(&want), &|_| ()).unwrap();
        second.cas().verify(&want.sha256).unwrap();
    }
}

#[test]
fn a_server_that_fails_for_a_while_is_asked_again() {
    let server = serve(&[
        ("pool/x", Answer::Failing(b"x".to_vec(), 503, 3)),
        ("pool/y", Answer::Failing(b"y".to_vec(), 503, 9)),
    ]);
    let (_dir, fetcher) = fetcher(from(&server.url));
    fetcher.fetch(&[want("x", b"x")], &|_| ()).unwrap();
    let error = fetcher.fetch(&[want("y", b"y")], &|_| ()).unwrap_err().to_string();
    assert!(error.contains("pool/y: HTTP status 503"), "{error}");
    assert_eq!(server.log.lock().unwrap().len(), 8);
}

#[test]
fn what_the_mirror_has_dropped_comes_from_an_archive_folder() {
    let (dir, keeper) = fetcher(Options::default());
    let kept = want("old", b"old version");
    keeper.cas().put(b"old version").unwrap();
    let folder = dir.path().join("kept");
    archive(keeper.cas(), &folder, std::slice::from_ref(&kept)).unwrap();
    archive(keeper.cas(), &folder, std::slice::from_ref(&kept)).unwrap();
    let absent = archive(keeper.cas(), &folder, &[want("new", b"new")]).unwrap_err();
    assert!(matches!(absent, ArchiveError::Absent { .. }), "{absent}");

    let server = serve(&[]);
    let sources = Source::parse_all(&format!("{}/nowhere {}", dir.path().display(), folder.display()));
    let (_dir, fetcher) = fetcher(Options { sources, ..from(&server.url) });
    fetcher.fetch(std::slice::from_ref(&kept), &|_| ()).unwrap();
    fetcher.cas().verify(&kept.sha256).unwrap();
    assert_eq!(*server.log.lock().unwrap(), ["pool/old 0"], "404 is not asked again");

    let error = fetcher.fetch(&[want("gone", b"gone")], &|_| ()).unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 5, "{error}");
    assert_eq!(lines[1], format!("  {}/pool/gone: HTTP status 404 Not Found", server.url));
    assert!(lines[2].contains("nowhere/sha256/") && lines[3].contains("kept/sha256/"), "{error}");
    assert!(lines[4].contains("lock update"), "{error}");
}

#[test]
fn a_further_mirror_is_asked_by_the_same_path() {
    let (first, second) = (serve(&[]), serve(&[("pool/x", Answer::Whole(b"x".to_vec()))]));
    let sources = Source::parse_all(&format!("{}/", second.url));
    let (_dir, fetcher) = fetcher(Options { sources, ..from(&first.url) });
    fetcher.fetch(&[want("x", b"x")], &|_| ()).unwrap();
}

#[test]
fn offline_opens_no_connection_and_names_what_is_missing() {
    let server = serve(&[("pool/x", Answer::Whole(b"x".to_vec()))]);
    let wants: Vec<Want> = (0..7).map(|n| want(&format!("n{n}"), &[n])).collect();
    let (_dir, fetcher) = fetcher(Options { offline: true, ..from(&server.url) });
    fetcher.cas().put(&[0]).unwrap();
    fetcher.fetch(&wants[..1], &|_| ()).unwrap();
    let error = fetcher.fetch(&wants, &|_| ()).unwrap_err().to_string();
    assert!(
        error.starts_with("6 inputs are not in the cache and --offline forbids to fetch them: n1, n2, n3, n4, n5, …; "),
        "{error}"
    );
    let indexes = fetcher.indexes(&["trixie"], &["main"], &[types::Arch::Amd64], debian::Expiry::Ignored, &|_| ());
    assert!(indexes.unwrap_err().to_string().contains("--offline"));
    assert!(server.log.lock().unwrap().is_empty());
}

/// Changes a byte of a blob and keeps its size, as a bad disk does; returns the store as a later process sees it.
fn damaged(cas: &Cas, bytes: &[u8]) -> Cas {
    let path = cas.path(&Digest::of(bytes));
    let mut bytes = bytes.to_vec();
    bytes[0] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    Cas::open(cas.root()).unwrap()
}

#[test]
fn a_damaged_input_of_the_right_size_is_set_aside_and_fetched_anew() {
    let server = serve(&[("pool/x", Answer::Whole(b"input".to_vec()))]);
    let (_dir, first) = fetcher(from(&server.url));
    let want = want("x", b"input");
    first.fetch(std::slice::from_ref(&want), &|_| ()).unwrap();
    let second = Fetcher::new(damaged(first.cas(), b"input"), from(&server.url));
    let trouble = Mutex::new(Vec::new());
    let note = |event: Event<'_>| {
        if let Event::Trouble { name, said, .. } = event {
            trouble.lock().unwrap().push(format!("{name}: {said}"));
        }
    };
    second.fetch(std::slice::from_ref(&want), &note).unwrap();
    second.cas().verify(&want.sha256).unwrap();
    let aside = second.cas().damaged().join(want.sha256.hex());
    assert_eq!(fs::read(&aside).unwrap(), b"hnput");
    let found = Digest::of(b"hnput");
    let said = format!("x: damaged: its digest is {found}, expected {}; set aside as {}", want.sha256, aside.display());
    assert_eq!(*trouble.lock().unwrap(), [said]);
    assert_eq!(server.log.lock().unwrap().len(), 2);
}

#[test]
fn offline_a_damaged_input_is_missing_and_named() {
    let (_dir, first) = fetcher(Options { offline: true, ..Options::default() });
    first.cas().put(b"input").unwrap();
    let cas = damaged(first.cas(), b"input");
    let offline = Fetcher::new(cas, Options { offline: true, ..Options::default() });
    let trouble = Mutex::new(0);
    let note = |event: Event<'_>| {
        assert!(matches!(event, Event::Trouble { name: "x", .. } | Event::Plan { .. }), "{event:?}");
        *trouble.lock().unwrap() += usize::from(matches!(event, Event::Trouble { .. }));
    };
    let error = offline.fetch(&[want("x", b"input")], &note).unwrap_err().to_string();
    assert!(error.starts_with("1 inputs are not in the cache and --offline forbids to fetch them: x; "), "{error}");
    assert_eq!(*trouble.lock().unwrap(), 1);
}

#[test]
fn a_damaged_file_of_an_archive_folder_is_written_again() {
    let (dir, keeper) = fetcher(Options::default());
    keeper.cas().put(b"input").unwrap();
    let (folder, want) = (dir.path().join("kept"), want("x", b"input"));
    archive(keeper.cas(), &folder, std::slice::from_ref(&want)).unwrap();
    let file = archive::path_in(&folder, &want.sha256);
    fs::remove_file(&file).unwrap();
    fs::write(&file, b"jnput").unwrap();
    archive(keeper.cas(), &folder, std::slice::from_ref(&want)).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"input");
}

#[test]
fn without_a_mirror_the_error_says_what_to_set() {
    let (_dir, fetcher) = fetcher(Options::default());
    let error = fetcher.fetch(&[want("x", b"x")], &|_| ()).unwrap_err().to_string();
    assert!(error.contains("set DEBIAN_MIRROR to the URL"), "{error}");
}

#[test]
fn a_cancelled_fetch_keeps_what_has_arrived() {
    let bytes = vec![7; 1 << 20];
    let server = serve(&[("pool/x", Answer::Whole(bytes.clone()))]);
    let options = from(&server.url);
    let cancel = options.cancel.clone();
    let (_dir, fetcher) = fetcher(options);
    let want = want("x", &bytes);
    let stop = |event: Event<'_>| {
        if matches!(event, Event::Received { .. }) {
            cancel.cancel();
        }
    };
    let error = fetcher.fetch(std::slice::from_ref(&want), &stop).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    let kept = fs::metadata(fetcher.partial(&want)).unwrap().len();
    assert!(0 < kept && kept < want.size.0);
}

#[test]
fn a_folder_serves_as_mirror() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("pool")).unwrap();
    fs::write(dir.path().join("pool/x"), b"x").unwrap();
    let mut options = from(&format!("file://{}", dir.path().display()));
    options.offline = true;
    let (_dir, fetcher) = fetcher(options);
    fetcher.fetch(&[want("x", b"x")], &|_| ()).unwrap();
}

#[test]
fn an_unsigned_release_is_refused_before_any_index_is_fetched() {
    let server = serve(&[("dists/trixie/InRelease", Answer::Whole(b"Codename: trixie\nSuite: stable\n".to_vec()))]);
    let (_dir, fetcher) = fetcher(from(&server.url));
    let error =
        fetcher.indexes(&["trixie"], &["main"], &[types::Arch::Amd64], debian::Expiry::Ignored, &|_| ()).unwrap_err();
    assert!(matches!(error, IndexError::Release { .. }), "{error}");
    assert_eq!(server.log.lock().unwrap().len(), 1);
}
