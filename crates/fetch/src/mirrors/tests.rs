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
    let none = [Err(NoMirror(Archive::Main)), Err(NoMirror(Archive::Security))];
    assert_eq!(found(&[("sources.list.d/x.sources", deb822), ("sources.list", line)], &[]), none);
    assert!(NoMirror(Archive::Security).to_string().contains("set DEBIAN_SECURITY_MIRROR"));
}

#[test]
fn the_environment_wins_over_apt() {
    let apt = [("sources.list", "deb http://a.example/debian trixie main\n")];
    let env = [("DEBIAN_MIRROR", "http://b.example/debian/"), ("DEBIAN_SECURITY_MIRROR", "")];
    assert_eq!(found(&apt, &env), [Ok("http://b.example/debian".to_owned()), Err(NoMirror(Archive::Security))]);
}

#[test]
fn sources_are_folders_or_mirrors() {
    let parsed = Source::parse_all(" /kept  https://old.example/debian/ ");
    assert_eq!(parsed, [Source::Folder("/kept".into()), Source::Mirror("https://old.example/debian".to_owned())]);
}
