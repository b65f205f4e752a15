//! Pushing to a registry in this process that misbehaves on request.

#![allow(clippy::unwrap_used)]

use super::*;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use server::{Answer, Ask, Server, reply, serve};
use std::{fs, path::Path};
use tempfile::TempDir;

mod server;

/// The size from which blobs are sent only after the server has agreed.
const LARGE: usize = 1 << 20;

/// A layout with three blobs, of which one is named twice.
struct Layout {
    dir: TempDir,
    manifest: Vec<u8>,
    blobs: Vec<Vec<u8>>,
}

impl Layout {
    fn new() -> Self {
        let blobs = vec![b"small".to_vec(), vec![7; LARGE], b"{}".to_vec()];
        let descriptor =
            |bytes: &[u8]| serde_json::json!({"mediaType": "x/y", "digest": Digest::of(bytes), "size": bytes.len()});
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": store::MANIFEST,
            "config": descriptor(&blobs[2]),
            "layers": [descriptor(&blobs[0]), descriptor(&blobs[1]), descriptor(&blobs[0])],
        });
        let layout = Self { dir: tempfile::tempdir().unwrap(), manifest: manifest.to_string().into_bytes(), blobs };
        fs::create_dir_all(layout.path().join("blobs/sha256")).unwrap();
        for blob in layout.blobs.iter().chain([&layout.manifest]) {
            fs::write(layout.place(blob), blob).unwrap();
        }
        layout
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn place(&self, blob: &[u8]) -> std::path::PathBuf {
        self.path().join("blobs/sha256").join(Digest::of(blob).hex())
    }

    fn size(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.len() as u64).sum()
    }
}

/// Credentials of a user, from a file as docker writes it.
fn credentials(address: &Address, user: Option<&str>) -> Credentials {
    let dir = tempfile::tempdir().unwrap();
    let entry = user.map(|user| serde_json::json!({address.host(): {"auth": BASE64_STANDARD.encode(user)}}));
    let config = serde_json::json!({"auths": entry.unwrap_or_else(|| serde_json::json!({}))});
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let folder = dir.path().to_str().unwrap().to_owned();
    Credentials::discover(address, |name| (name == "DOCKER_CONFIG").then(|| folder.clone())).unwrap()
}

fn registry(server: &Server, user: Option<&str>) -> Registry {
    let address = Address::read(&format!("oci+http://{}/team/evek", server.host)).unwrap().unwrap();
    let credentials = credentials(&address, user);
    Registry::new(address, credentials, Options { pause: Duration::from_millis(1), ..Options::default() })
}

fn tags() -> [Tag; 2] {
    [Tag::of("0.2.0+a-kvm-amd64").unwrap(), Tag::of("kvm-amd64").unwrap()]
}

fn push(registry: &Registry, layout: &Layout) -> (Result<Pushed, Error>, Vec<String>) {
    let mut troubles = Vec::new();
    let result = registry.push(layout.path(), &Digest::of(&layout.manifest), &tags(), &mut |event| {
        if let Progress::Trouble { error, .. } = event {
            troubles.push(error.to_string());
        }
    });
    (result, troubles)
}

fn is_blob(ask: &Ask) -> bool {
    ask.method == "PUT" && !ask.target.contains("/manifests/")
}

/// Everything has arrived.
fn complete(server: &Server, layout: &Layout) {
    let state = server.state.lock().unwrap();
    assert_eq!(state.blobs.len(), layout.blobs.len());
    for blob in &layout.blobs {
        assert_eq!(state.blobs.get(&Digest::of(blob).to_string()), Some(blob));
    }
    for tag in ["0.2.0_a-kvm-amd64", "kvm-amd64"] {
        assert_eq!(state.tags.get(tag), Some(&(store::MANIFEST.to_owned(), layout.manifest.clone())), "{tag}");
    }
}

/// The requests, with digests by the names of their blobs.
fn log(server: &Server, layout: &Layout) -> Vec<String> {
    let names = ["small", "large", "config"];
    let short = |line: &String| {
        names.iter().zip(&layout.blobs).fold(line.replace("/v2/team/evek/", ""), |line, (name, blob)| {
            line.replace(&Digest::of(blob).to_string(), name)
        })
    };
    server.state.lock().unwrap().log.iter().map(short).collect()
}

#[test]
fn blobs_go_first_and_tags_last_in_their_order() {
    let (server, layout) = (serve(|_| None), Layout::new());
    let (result, troubles) = push(&registry(&server, None), &layout);
    assert_eq!(result.unwrap(), Pushed { sent: Bytes(layout.size()), present: Bytes(0) });
    assert_eq!(troubles, [""; 0]);
    complete(&server, &layout);
    assert_eq!(
        log(&server, &layout),
        [
            "HEAD blobs/small",
            "POST blobs/uploads/",
            "PUT blobs/uploads/7?state=x&digest=small",
            "HEAD blobs/large",
            "POST blobs/uploads/",
            "PUT blobs/uploads/7?state=x&digest=large",
            "HEAD blobs/config",
            "POST blobs/uploads/",
            "PUT blobs/uploads/7?state=x&digest=config",
            "PUT manifests/0.2.0_a-kvm-amd64",
            "PUT manifests/kvm-amd64",
        ]
    );
}

#[test]
fn what_is_there_is_not_sent_again() {
    let (server, layout) = (serve(|_| None), Layout::new());
    let large = &layout.blobs[1];
    server.state.lock().unwrap().blobs.insert(Digest::of(large).to_string(), large.clone());
    let present = Bytes(LARGE as u64);
    let pushed = push(&registry(&server, None), &layout).0.unwrap();
    assert_eq!(pushed, Pushed { sent: Bytes(layout.size() - present.0), present });
    let pushed = push(&registry(&server, None), &layout).0.unwrap();
    assert_eq!(pushed, Pushed { sent: Bytes(0), present: Bytes(layout.size()) });
    complete(&server, &layout);
    assert!(!log(&server, &layout).iter().any(|line| line.starts_with("PUT") && line.contains("large")));
}

/// Demands a token, which it issues to `wanted`.
fn with_tokens(wanted: &'static str) -> Server {
    serve(move |ask| {
        if let Some(query) = ask.target.strip_prefix("/token?x=1&") {
            assert_eq!(query, "service=A%20registry&scope=repository:team/evek:pull,push");
            let is_known = ask.header("authorization") == wanted;
            return if is_known { reply(200, r#"{"access_token": "t0ken"}"#) } else { reply(403, "not you") };
        }
        if ask.header("authorization") == "Bearer t0ken" {
            return None;
        }
        let challenge = format!(
            r#"Bearer realm="{}/token?x=1",service="A registry",scope="repository:team/evek:pull""#,
            ask.server
        );
        Some(Answer::Reply(401, vec![("WWW-Authenticate", challenge)], String::new()))
    })
}

#[test]
fn a_token_is_asked_for_once_and_by_name() {
    let basic = format!("Basic {}", BASE64_STANDARD.encode("me:secret"));
    for (user, wanted) in [(None, ""), (Some("me:secret"), &*Box::leak(basic.into_boxed_str()))] {
        let (server, layout) = (with_tokens(wanted), Layout::new());
        push(&registry(&server, user), &layout).0.unwrap();
        complete(&server, &layout);
        let log = log(&server, &layout);
        assert_eq!(
            log[..3].iter().map(|l| l.split('?').next().unwrap()).collect::<Vec<_>>(),
            ["HEAD blobs/small", "GET /token", "HEAD blobs/small"]
        );
        assert_eq!(log.iter().filter(|line| line.starts_with("GET")).count(), 1);
    }
}

#[test]
fn a_token_that_expires_is_replaced() {
    let layout = Layout::new();
    let server = serve(|ask| {
        if ask.target.starts_with("/token") {
            return reply(200, &format!(r#"{{"token": "t{}"}}"#, ask.earlier));
        }
        // the first token is accepted until something is sent
        let is_good = match ask.header("authorization") {
            "Bearer t0" => ask.method != "PUT",
            other => other == "Bearer t1",
        };
        let challenge = vec![("WWW-Authenticate", format!("Bearer realm=\"{}/token\"", ask.server))];
        (!is_good).then(|| Answer::Reply(401, challenge, String::new()))
    });
    push(&registry(&server, None), &layout).0.unwrap();
    complete(&server, &layout);
    assert_eq!(log(&server, &layout).iter().filter(|line| line.starts_with("GET")).count(), 2);
}

#[test]
fn a_password_is_given_to_who_asks_for_one() {
    let wants = |ask: &Ask| {
        let is_known = ask.header("authorization") == format!("Basic {}", BASE64_STANDARD.encode("me:secret"));
        let challenge = vec![("WWW-Authenticate", "Basic realm=\"x\"".to_owned())];
        let words = r#"{"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]}"#;
        (!is_known).then(|| Answer::Reply(401, challenge, words.to_owned()))
    };
    let (server, layout) = (serve(wants), Layout::new());
    push(&registry(&server, Some("me:secret")), &layout).0.unwrap();
    complete(&server, &layout);
    assert_eq!(
        server.state.lock().unwrap().known.iter().filter(|known| known.is_empty()).count(),
        1,
        "it is told once"
    );

    for user in [None, Some("me:wrong")] {
        let (server, layout) = (serve(wants), Layout::new());
        let (result, troubles) = push(&registry(&server, user), &layout);
        let said = result.unwrap_err().to_string();
        let host = &server.host;
        assert!(said.starts_with(&format!(
            "oci+http://{host}/team/evek refuses HEAD http://{host}/v2/team/evek/blobs/sha256:"
        )));
        assert!(said.contains("HTTP status 401") && said.contains("config.json"), "{said}");
        assert!(!said.contains("wrong"), "{said}");
        assert_eq!(said.contains("docker login"), user.is_none(), "{said}");
        assert_eq!(troubles, [""; 0], "trying again is of no use");
    }
}

#[test]
fn refusals_are_in_the_registrys_words() {
    for (status, words, says) in [
        (403, r#"{"errors": [{"code": "DENIED", "message": "read only"}]}"#, "HTTP status 403: DENIED: read only\n  "),
        (404, r#"{"errors": [{"code": "NAME_UNKNOWN"}]}"#, "HTTP status 404: NAME_UNKNOWN\n  has it `team/evek`?"),
        (413, "<html>too\nlarge</html>", "HTTP status 413: <html>too large</html>\n  it, or a proxy before it"),
    ] {
        let server = serve(move |ask| (ask.method == "POST").then(|| reply(status, words)).flatten());
        let (result, troubles) = push(&registry(&server, None), &Layout::new());
        let said = result.unwrap_err().to_string();
        assert!(said.contains("refuses POST ") && said.contains(says), "{said}");
        assert_eq!(troubles, [""; 0]);
        assert_eq!(server.state.lock().unwrap().tags.len(), 0);
    }
}

/// The registry refuses a large blob before it is sent.
#[test]
fn a_blob_that_is_not_wanted_is_not_sent() {
    let server =
        serve(|ask| (is_blob(ask) && ask.header("content-length").len() > 6).then(|| reply(413, "")).flatten());
    let mut sent = 0;
    let layout = Layout::new();
    let result = registry(&server, None).push(layout.path(), &Digest::of(&layout.manifest), &tags(), &mut |event| {
        if let Progress::Sent { bytes } = event {
            sent += bytes.0;
        }
    });
    assert!(result.unwrap_err().to_string().contains("HTTP status 413"));
    assert_eq!(sent, layout.blobs[0].len() as u64);
}

#[test]
fn who_fails_for_a_while_is_asked_again() {
    // each of these fails twice, and then works
    let requests: [fn(&Ask) -> bool; 4] =
        [|ask| ask.method == "HEAD", |ask| ask.method == "POST", is_blob, |ask| ask.target.contains("/manifests/")];
    for fails in requests {
        for status in [429, 500, 503] {
            let left = std::sync::Mutex::new(2);
            let server = serve(move |ask| {
                let mut left = left.lock().unwrap();
                (fails(ask) && *left > 0).then(|| *left -= 1)?;
                Some(Answer::Reply(status, vec![("Retry-After", "0".to_owned())], "busy".to_owned()))
            });
            let layout = Layout::new();
            let (result, troubles) = push(&registry(&server, None), &layout);
            result.unwrap();
            complete(&server, &layout);
            assert_eq!(troubles.len(), 2);
            assert!(troubles[0].contains(&format!("HTTP status {status}")), "{}", troubles[0]);
        }
    }
}

#[test]
fn who_fails_for_ever_is_given_up() {
    let server = serve(|_| reply(502, "bad gateway"));
    let (result, troubles) = push(&registry(&server, None), &Layout::new());
    let said = result.unwrap_err().to_string();
    assert!(said.contains("refuses HEAD") && said.contains("HTTP status 502"), "{said}");
    assert_eq!(troubles.len(), 4);
}

#[test]
fn a_connection_that_breaks_is_made_again() {
    let layout = Layout::new();
    let broken: [fn() -> Answer; 2] = [|| Answer::Cut(LARGE / 2), || Answer::Mute];
    for (broken, puts) in broken.into_iter().zip([2, 1]) {
        let server = serve(move |ask| (is_blob(ask) && ask.earlier == 1).then(broken));
        let (result, troubles) = push(&registry(&server, None), &layout);
        assert_eq!(result.unwrap().sent, Bytes(layout.size()));
        complete(&server, &layout);
        assert_eq!(troubles.len(), 1, "{troubles:?}");
        assert!(troubles[0].contains("does not answer PUT"), "{}", troubles[0]);
        let large = |line: &&String| line.starts_with("PUT") && line.ends_with("large");
        assert_eq!(log(&server, &layout).iter().filter(large).count(), puts, "what has arrived is not sent again");
    }
}

#[test]
fn nobody_listens() {
    let address = Address::read("oci+http://127.0.0.1:1/evek").unwrap().unwrap();
    let options = Options { pause: Duration::from_millis(1), ..Options::default() };
    let registry = Registry::new(address, Credentials::default(), options);
    let said = push(&registry, &Layout::new()).0.unwrap_err().to_string();
    assert!(said.starts_with("oci+http://127.0.0.1:1/evek does not answer HEAD http://127.0.0.1:1/v2/"), "{said}");
}

#[test]
fn locations_have_every_form() {
    let locations: [fn(&Ask) -> String; 4] = [
        |ask| format!("{}/up/1", ask.server),
        |ask| format!("{}/up/1?a=b&c=d%3D", ask.server),
        |_| "/up/1?a=b".to_owned(),
        |_| "1".to_owned(),
    ];
    for (location, put) in locations.into_iter().zip([
        "PUT /up/1?digest=",
        "PUT /up/1?a=b&c=d%3D&digest=",
        "PUT /up/1?a=b&digest=",
        "PUT blobs/uploads/1?digest=",
    ]) {
        let layout = Layout::new();
        let server = serve(move |ask| {
            (ask.method == "POST").then(|| Answer::Reply(202, vec![("Location", location(ask))], String::new()))
        });
        push(&registry(&server, None), &layout).0.unwrap();
        complete(&server, &layout);
        assert!(log(&server, &layout).contains(&format!("{put}large")), "{:?}", log(&server, &layout));
    }
    let server = serve(|ask| (ask.method == "POST").then(|| reply(202, "")).flatten());
    let said = push(&registry(&server, None), &Layout::new()).0.unwrap_err().to_string();
    assert!(said.contains("as no registry does: it does not say where"), "{said}");
}

#[test]
fn who_we_are_is_not_told_to_where_the_blobs_are_kept() {
    let elsewhere = serve(|_| None);
    let place = format!("http://{}/up/1?signed=x", elsewhere.host);
    let server = serve(move |ask| {
        if ask.header("authorization").is_empty() {
            return Some(Answer::Reply(401, vec![("WWW-Authenticate", "Basic realm=x".to_owned())], String::new()));
        }
        (ask.method == "POST").then(|| Answer::Reply(202, vec![("Location", place.clone())], String::new()))
    });
    let layout = Layout::new();
    push(&registry(&server, Some("me:secret")), &layout).0.unwrap();
    let elsewhere = elsewhere.state.lock().unwrap();
    assert_eq!((elsewhere.blobs.len(), elsewhere.known.as_slice()), (3, &["", "", ""].map(str::to_owned)[..]));
}

#[test]
fn tls_is_not_left() {
    let address = Address::read("oci://127.0.0.1:1/evek").unwrap().unwrap();
    let registry = Registry::new(address, Credentials::default(), Options::default());
    let url = "http://127.0.0.1:1/v2/evek/blobs/uploads/1".to_owned();
    let request = client::Request::new(ureq::http::Method::PUT, url, client::Content::Nothing);
    let Err(client::Failed::Never(error)) = registry.send(&request, &mut |_| ()) else { panic!("it goes on") };
    assert!(error.to_string().contains("X-Forwarded-Proto"), "{error}");
}

#[test]
fn a_registry_elsewhere_is_named_and_not_followed() {
    let server = serve(|ask| {
        let location = vec![("Location", "https://other.example/v2/x".to_owned())];
        (ask.method == "POST").then(|| Answer::Reply(307, location, String::new()))
    });
    let said = push(&registry(&server, None), &Layout::new()).0.unwrap_err().to_string();
    assert!(
        said.contains("HTTP status 307") && said.contains("it is at https://other.example: name that one"),
        "{said}"
    );
}

#[test]
fn a_manifest_that_was_rewritten_is_told() {
    let server = serve(|ask| {
        let other = vec![("Docker-Content-Digest", Digest::of(b"other").to_string())];
        ask.target.contains("/manifests/").then(|| Answer::Reply(201, other, String::new()))
    });
    let said = push(&registry(&server, None), &Layout::new()).0.unwrap_err().to_string();
    assert!(said.contains(&format!("it keeps {}", Digest::of(b"other"))), "{said}");
}

#[test]
fn a_layout_that_is_damaged_is_not_sent() {
    type Damage = fn(&Layout);
    let damages: [(Damage, &str); 4] = [
        (
            |layout| fs::write(layout.place(&layout.blobs[1]), b"short").unwrap(),
            "it has 5 bytes, its manifest says 1048576",
        ),
        (|layout| fs::remove_file(layout.place(&layout.blobs[2])).unwrap(), "cannot read"),
        (|layout| fs::write(layout.place(&layout.manifest), b"{}").unwrap(), "it has the digest"),
        (|layout| fs::remove_file(layout.place(&layout.manifest)).unwrap(), "cannot read"),
    ];
    for (damage, says) in damages {
        let (server, layout) = (serve(|_| None), Layout::new());
        damage(&layout);
        let said = push(&registry(&server, None), &layout).0.unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
        assert_eq!(log(&server, &layout), [""; 0]);
    }
}

#[test]
fn ctrl_c_stops_it_before_any_tag() {
    let (server, layout) = (serve(|_| None), Layout::new());
    let mut registry = registry(&server, None);
    let cancel = Cancel::default();
    registry.options.cancel = cancel.clone();
    let result = registry.push(layout.path(), &Digest::of(&layout.manifest), &tags(), &mut |event| {
        if let Progress::Sent { bytes } = event
            && bytes.0 > 1000
        {
            cancel.cancel();
        }
    });
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    assert_eq!(server.state.lock().unwrap().tags.len(), 0);
}
