//! A registry in this process that misbehaves on request: it answers what a test says, else what the specification says.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};
use types::Digest;

/// A request, before its content.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    headers: BTreeMap<String, String>,
    /// How many requests of this method came before.
    pub(super) earlier: usize,
    /// `http://127.0.0.1:<port>`
    pub(super) server: String,
}

impl Ask {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What a test says instead.
pub(super) enum Answer {
    /// Status, headers, content.
    Reply(u16, Vec<(&'static str, String)>, String),
    /// Reads so many bytes of the content and hangs up.
    Cut(usize),
    /// Does what was asked, and hangs up without a word.
    Mute,
}

pub(super) fn reply(status: u16, content: &str) -> Option<Answer> {
    Some(Answer::Reply(status, vec![], content.to_owned()))
}

#[derive(Default)]
pub(super) struct State {
    pub(super) blobs: BTreeMap<String, Vec<u8>>,
    /// Content type and content by tag.
    pub(super) tags: BTreeMap<String, (String, Vec<u8>)>,
    /// `<method> <path>`, with uploads named alike.
    pub(super) log: Vec<String>,
    /// The header `Authorization` of each.
    pub(super) known: Vec<String>,
}

type Says = dyn Fn(&Ask) -> Option<Answer> + Send + Sync;

pub(super) struct Server {
    /// `127.0.0.1:<port>`
    pub(super) host: String,
    pub(super) state: Arc<Mutex<State>>,
}

pub(super) fn serve(says: impl Fn(&Ask) -> Option<Answer> + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let (state, says): (_, Arc<Says>) = (Arc::new(Mutex::new(State::default())), Arc::new(says));
    let (shared, server) = (state.clone(), format!("http://{host}"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            one_request(&stream.unwrap(), &server, &*says, &shared);
        }
    });
    Server { host, state }
}

fn one_request(mut stream: &TcpStream, server: &str, says: &Says, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    let lines: Vec<String> = reader.by_ref().lines().map_while(Result::ok).take_while(|l| !l.is_empty()).collect();
    let Some(first) = lines.first() else { return };
    let mut words = first.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let headers = lines[1..].iter().filter_map(|l| l.split_once(": ")).map(|(k, v)| (k.to_lowercase(), v.to_owned()));
    let mut ask = Ask { method, target, headers: headers.collect(), earlier: 0, server: server.to_owned() };
    {
        let mut state = state.lock().unwrap();
        let start = format!("{} ", ask.method);
        ask.earlier = state.log.iter().filter(|line| line.starts_with(&start)).count();
        state.log.push(format!("{start}{}", ask.target));
        state.known.push(ask.header("authorization").to_owned());
    }
    let said = says(&ask);
    let expects = ask.header("expect") == "100-continue";
    let refused = matches!(said, Some(Answer::Reply(..)));
    if expects && !refused {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    }
    let length: usize = ask.header("content-length").parse().unwrap_or(0);
    let length = match said {
        Some(Answer::Cut(at)) => at,
        _ if expects && refused => 0,
        _ => length,
    };
    let mut content = vec![0; length];
    if reader.read_exact(&mut content).is_err() {
        return;
    }
    let (status, headers, content) = match said {
        Some(Answer::Cut(_)) => return,
        Some(Answer::Reply(status, headers, content)) => (status, headers, content),
        None => by_the_book(&ask, content, &mut state.lock().unwrap()),
        Some(Answer::Mute) => {
            by_the_book(&ask, content, &mut state.lock().unwrap());
            return;
        }
    };
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head =
        format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", content.len());
    let content = if ask.method == "HEAD" { "" } else { &content };
    // The client may hang up first.
    let _ = stream.write_all([head.as_bytes(), content.as_bytes()].concat().as_slice());
}

/// distribution-spec 1.1, "Push"
fn by_the_book(ask: &Ask, content: Vec<u8>, state: &mut State) -> (u16, Vec<(&'static str, String)>, String) {
    let (path, query) = ask.target.split_once('?').unwrap_or((&ask.target, ""));
    let last = path.rsplit('/').next().unwrap().to_owned();
    match (ask.method.as_str(), path.contains("/manifests/")) {
        ("HEAD", false) => (if state.blobs.contains_key(&last) { 200 } else { 404 }, vec![], String::new()),
        ("POST", false) => (202, vec![("Location", format!("{path}7?state=x"))], String::new()),
        ("PUT", false) => {
            let digest = query.split('&').find_map(|field| field.strip_prefix("digest=")).unwrap_or_default();
            if Digest::of(&content).to_string() != digest {
                return (400, vec![], r#"{"errors": [{"code": "DIGEST_INVALID"}]}"#.to_owned());
            }
            state.blobs.insert(digest.to_owned(), content);
            (201, vec![], String::new())
        }
        ("PUT", true) => {
            let digest = Digest::of(&content).to_string();
            state.tags.insert(last, (ask.header("content-type").to_owned(), content));
            (201, vec![("Docker-Content-Digest", digest)], String::new())
        }
        _ => (405, vec![], String::new()),
    }
}
