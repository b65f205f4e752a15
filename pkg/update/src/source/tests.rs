//! Servers that lie, stall and drip: each is given up in a bounded time.

use super::*;
use std::{
    io::{BufRead as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const BLOB: u64 = 1 << 20;

/// Limits that tests can wait for.
fn patience() -> Patience {
    let ms = Duration::from_millis;
    Patience {
        connect: ms(2000),
        answer: ms(1500),
        silence: ms(1500),
        window: ms(1000),
        least: Bytes(4096),
        document: ms(1500),
        tries: 3,
        pause: ms(20),
        progress: Bytes(64 << 10),
    }
}

/// A server that answers each request with this; the number of its connections.
fn server(
    answer: impl Fn(&mut TcpStream, u64) -> io::Result<()> + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let (count, answer) = (Arc::clone(&connections), Arc::new(answer));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::Relaxed);
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                let lines = BufReader::new(stream.try_clone()?).lines();
                let mut start = 0;
                for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
                    let line = line.to_ascii_lowercase();
                    let range =
                        line.strip_prefix("range: bytes=").and_then(|range| range.split('-').next()?.parse().ok());
                    start = range.unwrap_or(start);
                }
                answer(&mut stream, start)
            });
        }
    });
    (address, connections)
}

fn head(stream: &mut TcpStream, len: u64) -> io::Result<()> {
    write!(stream, "HTTP/1.1 206 Partial Content\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n")
}

/// Fetches a blob; returns the error, the bytes that came, and the time that it took.
fn fetch(address: &str) -> (Option<String>, u64, Duration) {
    let paths = Paths { config: "/nowhere".into(), authorities: "/nowhere".into(), ..Paths::default() };
    let source = find_patiently(address, &paths, patience()).unwrap();
    let meter = Meter::new(None);
    let fetch = Fetch { source: source.as_ref(), meter: &meter, patience: patience() };
    let blob = Blob { digest: Digest::of(&vec![7; BLOB as usize]), size: Bytes(BLOB) };
    let begin = Instant::now();
    let result = fetch.whole("a layer", blob);
    (result.err().map(|e| e.to_string()), meter.read().0, begin.elapsed())
}

fn is_given_up(what: &str, (address, connections): (String, Arc<AtomicUsize>), says: &str) {
    let (error, _, time) = fetch(&address);
    let error = error.unwrap_or_else(|| panic!("{what}: it is accepted"));
    assert!(error.contains(says), "{what}: {error}");
    assert!(time < Duration::from_secs(40), "{what}: {time:?}");
    assert!(connections.load(Ordering::Relaxed) <= 40, "{what}: {connections:?} connections");
}

#[test]
fn a_server_that_stalls_is_given_up() {
    let silent = server(|stream, start| {
        head(stream, BLOB - start)?;
        if start == 0 {
            stream.write_all(&vec![7; (BLOB / 2) as usize])?;
        }
        thread::sleep(Duration::from_secs(60));
        Ok(())
    });
    is_given_up("half a layer, then silence", silent, "a layer: ");
    let mute = server(|_, _| {
        thread::sleep(Duration::from_secs(60));
        Ok(())
    });
    is_given_up("no answer", mute, "a layer: ");
}

#[test]
fn a_byte_a_connection_is_no_progress() {
    let one = server(|stream, start| {
        head(stream, BLOB - start)?;
        stream.write_all(&[7])
    });
    let connections = Arc::clone(&one.1);
    is_given_up("one byte a connection", one, "a layer: ");
    assert_eq!(connections.load(Ordering::Relaxed), 3);
}

#[test]
fn a_slow_drip_is_given_up() {
    let drip = server(|stream, start| {
        head(stream, BLOB - start)?;
        loop {
            stream.write_all(&[7])?;
            thread::sleep(Duration::from_millis(20));
        }
    });
    is_given_up("a byte now and then", drip, "only ");
    // the same before the body, and for a document
    let headers = server(|stream, _| {
        write!(stream, "HTTP/1.1 200 OK\r\n")?;
        for n in 0.. {
            write!(stream, "X-{n}: 1\r\n")?;
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    });
    is_given_up("headers without an end", headers, "timeout");
    let (address, _) = server(|stream, _| {
        head(stream, BLOB)?;
        loop {
            stream.write_all(&[b' '; 2048])?;
            thread::sleep(Duration::from_millis(20));
        }
    });
    let paths = Paths { config: "/nowhere".into(), authorities: "/nowhere".into(), ..Paths::default() };
    let begin = Instant::now();
    let source = find_patiently(&address, &paths, patience()).unwrap();
    assert!(source.manifest(Flavour::Kvm, Arch::Amd64).unwrap_err().to_string().contains("too long"));
    assert!(begin.elapsed() < Duration::from_secs(40));
}

#[test]
fn redirects_without_an_end_and_wrong_lengths_are_given_up() {
    let redirect = server(|stream, _| {
        write!(stream, "HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    });
    is_given_up("redirects", redirect, "redirect");
    let shorter = server(|stream, _| {
        head(stream, 10)?;
        stream.write_all(&[7; 10])
    });
    is_given_up("a wrong length", shorter, "it ends after");
    let longer = server(|stream, start| {
        head(stream, 4 * BLOB)?;
        stream.write_all(&vec![7; (2 * BLOB - start) as usize])
    });
    let (error, read, _) = fetch(&longer.0);
    assert_eq!((error, read), (None, BLOB), "no more is read than the blob has");
}

#[test]
fn a_server_that_breaks_off_again_and_again_and_still_brings_enough_is_not_given_up() {
    let (address, connections) = server(|stream, start| {
        head(stream, BLOB - start)?;
        stream.write_all(&vec![7; (BLOB - start).min(100 << 10) as usize])
    });
    let (error, read, _) = fetch(&address);
    assert_eq!((error, read), (None, BLOB));
    assert!(connections.load(Ordering::Relaxed) > 6);
}
