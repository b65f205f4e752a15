//! Taking over k3s as it was published, in two versions (`tests/k3s/`: its `go.mod` files, unchanged).

#![allow(clippy::unwrap_used)]

use gomod::{Download, GoMod, GoSum, TakeOver, Target, take_over, vars};

/// What `go mod download -json github.com/k3s-io/k3s@<tag>` answers.
fn download(tag: &str, version: &str, zip: &str, file: &str) -> Download {
    let json = format!(
        r#"{{"Path": "github.com/k3s-io/k3s", "Version": "{version}", "Query": "{tag}", "Info": "/x.info", "GoMod": "/x.mod",
             "Zip": "/x.zip", "Dir": "/x", "Sum": "{zip}", "GoModSum": "{file}",
             "Origin": {{"VCS": "git", "URL": "https://github.com/k3s-io/k3s", "Hash": "00"}}}}"#
    );
    Download::parse(&json).unwrap()
}

fn k3s(download: &Download, text: &str) -> (GoMod, GoMod, GoSum) {
    let what = TakeOver {
        name: "evek.local/k3s".to_owned(),
        module: download.module(),
        tag: download.tag().map(str::to_owned),
        zip_hash: download.sum.clone(),
        mod_hash: download.go_mod_sum.clone(),
        tools: vec!["github.com/k3s-io/k3s/cmd/server".to_owned()],
        replace: Vec::new(),
    };
    let upstream = GoMod::parse(text).unwrap();
    let (file, sum) = take_over(&what, &upstream, &GoSum::default()).unwrap();
    (upstream, file, sum)
}

fn v1_31() -> Download {
    download(
        "v1.31.0+k3s1",
        "v1.31.1-0.20240829224721-34be6d96d17d",
        "h1:0T2hzwWK74xZCK8ehFv0XxytrHETDyzkjshNk2COAb0=",
        "h1:KcbHn0hG/8cekuRYa0vUQwjmaJPj2s6lN/kPZwEPoyI=",
    )
}

fn v1_32() -> Download {
    download(
        "v1.32.0+k3s1",
        "v1.32.1-0.20250107171309-cca8facaa33a",
        "h1:TU64dN3gxaaUBBVWZeMXlu5NeLFCyUZH62R1MpwwErk=",
        "h1:rPrysXbMVjwhdVtXwjGKtVdrpOJUMBuWox364k/Lv+o=",
    )
}

#[test]
fn each_version_keeps_upstreams_replacements_and_requirements() {
    for (download, text, replaced, required) in [
        (v1_31(), include_str!("k3s/v1.31.0+k3s1.mod"), 68, 409),
        (v1_32(), include_str!("k3s/v1.32.0+k3s1.mod"), 72, 408),
    ] {
        let (upstream, file, sum) = k3s(&download, text);
        assert_eq!((upstream.replace.len(), upstream.require.len()), (replaced, required), "{}", download.version);
        assert_eq!(file.replace, upstream.replace);
        assert_eq!(file.require.len(), upstream.require.len() + 1);
        assert_eq!(file.go, upstream.go);
        assert_eq!(sum.get("github.com/k3s-io/k3s", &download.version), Some(download.sum.as_str()));
        assert_eq!(GoMod::parse(&file.to_string()).unwrap(), file);
    }
}

#[test]
fn the_version_variables_follow_the_module() {
    let (_, old, _) = k3s(&v1_31(), include_str!("k3s/v1.31.0+k3s1.mod"));
    let (_, new, _) = k3s(&v1_32(), include_str!("k3s/v1.32.0+k3s1.mod"));
    let both = |value: &str| {
        [&old, &new].map(|file| vars::expand(value, "github.com/k3s-io/k3s/cmd/server", "go1.26.1", file).unwrap())
    };
    assert_eq!(both("{version}"), ["v1.31.0+k3s1", "v1.32.0+k3s1"]);
    assert_eq!(both("{major}.{minor}"), ["1.31", "1.32"]);
    assert_eq!(both("{commit}"), ["34be6d96d17d", "cca8facaa33a"]);
    assert_eq!(both("{version:github.com/containerd/containerd}"), ["v1.7.20-k3s1", "v1.7.23-k3s2"]);
    assert_eq!(both("{path:github.com/containerd/containerd}"), ["github.com/k3s-io/containerd"; 2]);
}

#[test]
fn kubernetes_is_k3s_fork_of_it() {
    let (_, file, _) = k3s(&v1_32(), include_str!("k3s/v1.32.0+k3s1.mod"));
    let required = file.required("k8s.io/kubernetes").unwrap();
    let Some(Target::Module(used)) = file.replaced("k8s.io/kubernetes", &required.module.version) else { panic!() };
    assert_eq!(used.to_string(), "github.com/k3s-io/kubernetes v1.32.0-k3s1");
}
