#![allow(clippy::unwrap_used)]

use super::*;

fn found(files: &[(&str, &str)], env: &[(&str, &str)]) -> [Result<String, NoMirror>; 2] {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sources.list.d")).unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    let mirrors = Mirrors::discover(env, dir.path());
    [Archive::Main, Archive::Security].map(|a| mirrors.base(a).map(str::to_owned))
}

#[test]
fn apt_names_the_mirrors_whatever_the_release_of_the_host() {
    let cases: [(&str, &str); 3] = [
        (
            "sources.list",
            "# comment\ndeb [arch=amd64 signed-by=/k.gpg] https://vendor.example/apt stable-vendor main\n\
             deb-src http://src.example/debian bookworm main\n\
             deb [trusted=yes] http://mirror.example/debian/ bookworm main contrib # mine\n\
             deb http://mirror.example/debian-security bookworm-security main\n",
        ),
        (
            "sources.list.d/debian.sources",
            "Types: deb\n# note\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\n\
             Types: deb deb-src\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\nComponents: main\n",
        ),
        (
            "sources.list.d/a.list",
            "deb http://mirror.example/debian sid main\ndeb http://mirror.example/debian-security buster/updates main\n",
        ),
    ];
    for (name, text) in cases {
        let expected = ["http://mirror.example/debian", "http://mirror.example/debian-security"];
        assert_eq!(found(&[(name, text)], &[]), expected.map(|e| Ok(e.to_owned())), "{name}");
    }
}

#[test]
fn sources_of_others_and_disabled_ones_are_not_mirrors() {
    let deb822 = "Types: deb\nURIs: http://a.example/\nSuites: nodistro noble\nComponents: main\n\n\
                  Enabled: no\nTypes: deb\nURIs: http://b.example/debian\nSuites: trixie\nComponents: main\n\n\
                  Types: deb\nURIs: http://c.example/debian\nSuites: trixie\nComponents: contrib\n\n\
                  Types: deb\nURIs: cdrom:[disc]/\nSuites: trixie\nComponents: main\n";
    let line = "deb http://d.example noble main\ndeb http://e.example/ ./\n# deb http://f.example trixie main\n";
    let none = [
        Err(NoMirror {
            archive: Archive::Main,
            unusable: vec!["cdrom:[disc]/: this scheme is not supported".to_owned()],
        }),
        Err(NoMirror { archive: Archive::Security, unusable: vec![] }),
    ];
    assert_eq!(found(&[("sources.list.d/x.sources", deb822), ("sources.list", line)], &[]), none);
    let text = NoMirror { archive: Archive::Security, unusable: vec![] }.to_string();
    assert!(text.contains("set DEBIAN_SECURITY_MIRROR"), "{text}");
}

/// As on Debian's own cloud images.
#[test]
fn a_list_of_mirrors_in_a_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("debian.list");
    fs::write(
        &list,
        "# comment\n\nhttp://src.example/debian type:deb-src priority:1\nhttp://far.example/debian\n\
         tor+http://onion.example/debian priority:2\nhttps://near.example/debian/\tpriority:3\n",
    )
    .unwrap();
    let path = list.to_str().unwrap();
    for uri in [format!("mirror+file://{path}"), format!("mirror+file:{path}")] {
        let deb822 = format!("Types: deb deb-src\nURIs: {uri}\nSuites: trixie trixie-updates\nComponents: main\n");
        let found = found(&[("sources.list.d/debian.sources", &deb822)], &[]);
        assert_eq!(found[0], Ok("https://near.example/debian".to_owned()), "{uri}");
    }
    let copy = found(&[("sources.list", "deb file:/srv/debian trixie main\n")], &[]);
    assert_eq!(copy[0], Ok("file:///srv/debian".to_owned()));
}

#[test]
fn a_list_of_mirrors_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.list");
    fs::write(&empty, "# none\n").unwrap();
    let cases = [
        (
            "mirror+https://lists.example/debian.list".to_owned(),
            "a list of mirrors is read from a file only (mirror+file:)",
        ),
        (format!("mirror+file://{}/none.list", dir.path().display()), "/none.list: No such file"),
        (format!("mirror+file:{}", empty.display()), "names no http, https or file mirror"),
    ];
    for (uri, reason) in cases {
        let text =
            found(&[("sources.list", &format!("deb {uri} trixie main\n"))], &[])[0].clone().unwrap_err().to_string();
        assert!(text.contains("where no source of Debian can be used:\n  ") && text.contains(&uri), "{text}");
        assert!(text.contains(reason), "{text}");
    }
}

#[test]
fn the_environment_wins_over_apt() {
    let apt = [("sources.list", "deb http://a.example/debian trixie main\n")];
    let env = [("DEBIAN_MIRROR", "http://b.example/debian/"), ("DEBIAN_SECURITY_MIRROR", "")];
    assert_eq!(
        found(&apt, &env),
        [Ok("http://b.example/debian".to_owned()), Err(NoMirror { archive: Archive::Security, unusable: vec![] })]
    );
}

#[test]
fn sources_are_folders_or_mirrors() {
    let parsed = Source::parse_all(" /kept  https://old.example/debian/ ");
    assert_eq!(parsed, [Source::Folder("/kept".into()), Source::Mirror("https://old.example/debian".to_owned())]);
}
