//! Add-ons: Kubernetes manifests that k3s deploys from a folder and keeps deployed.
//!
//! A manifest names our images without a tag (`image: evek.local/coredns`). This module adds the tag of the image in
//! the running slot's store, so an add-on always runs the version in the device's image.

use crate::{
    config::Paths,
    error::{Error, read, replace},
};
use serde::Deserialize;
use std::{collections::BTreeMap, fs};

/// Host part of the names of all our images.
const OURS: &str = "evek.local/";
/// The annotation with an image's full name (OCI image-spec, annotations.md).
const NAME: &str = "org.opencontainers.image.ref.name";
/// The prefix of our files in k3s' folder. k3s deletes files with the names of its own add-ons, which we disable.
const PREFIX: &str = "evek-";

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Writes every manifest of this image into k3s' folder, and removes those of an earlier image. Returns their names.
pub(crate) fn write(paths: &Paths) -> Result<Vec<String>, Error> {
    let index = read(&paths.store.join("index.json"))?;
    let images = images(&index).map_err(|error| Error::format("index.json of the store", error))?;
    let target = paths.state.join("server/manifests");
    let mut written = Vec::new();
    for name in names(&paths.manifests)? {
        let text = complete(&name, &read(&paths.manifests.join(&name))?, &images)?;
        replace(&target.join(format!("{PREFIX}{name}")), &text)?;
        written.push(name);
    }
    for name in names(&target)? {
        if name.strip_prefix(PREFIX).is_some_and(|name| !written.iter().any(|known| known == name)) {
            let path = target.join(&name);
            fs::remove_file(&path).map_err(|error| Error::io("remove", path, error))?;
        }
    }
    Ok(written)
}

/// Names of the YAML files in a folder, in order.
fn names(folder: &std::path::Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| Error::io("read", folder, error))? {
        let entry = entry.map_err(|error| Error::io("read", folder, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".yaml") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Full names of the store's images by name without tag.
fn images(index: &str) -> Result<BTreeMap<String, String>, serde_json::Error> {
    let index: Index = serde_json::from_str(index)?;
    let full = index.manifests.into_iter().filter_map(|mut manifest| manifest.annotations.remove(NAME));
    Ok(full.filter_map(|full| full.rsplit_once(':').map(|(name, _)| (name.to_owned(), full.clone()))).collect())
}

fn complete(manifest: &str, text: &str, images: &BTreeMap<String, String>) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.split_once("image: ").filter(|(_, image)| image.starts_with(OURS)) {
            None => out.push_str(line),
            Some((before, image)) => {
                let image = image.trim_end();
                let full = images.get(image);
                let missing = || Error::Image { manifest: manifest.to_owned(), image: image.to_owned() };
                out.push_str(&format!("{before}image: {}\n", full.ok_or_else(missing)?));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const INDEX: &str = r#"{"schemaVersion": 2, "manifests": [
        {"digest": "sha256:00", "annotations": {"org.opencontainers.image.ref.name": "evek.local/coredns:1.12.4", "org.evek.role": "payload"}},
        {"digest": "sha256:01", "annotations": {"org.opencontainers.image.ref.name": "evek.local/local-path:0.0.30"}},
        {"digest": "sha256:02", "annotations": {"org.opencontainers.image.ref.name": "evek.local/metrics-server:0.9.0"}}
    ]}"#;

    #[test]
    fn an_image_gets_the_tag_of_the_store() {
        let text = "      - name: c\n        image: evek.local/coredns\n        imagePullPolicy: Never\n";
        let done = complete("dns.yaml", text, &images(INDEX).unwrap()).unwrap();
        assert_eq!(done, text.replace("coredns", "coredns:1.12.4"));
    }

    #[test]
    fn an_image_that_is_not_in_the_store_is_named() {
        let error = complete("dns.yaml", "image: evek.local/other\n", &images(INDEX).unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the add-on dns.yaml needs the image evek.local/other, which is not in the store: add its package to the flavour"
        );
    }

    #[test]
    fn our_add_ons_replace_those_of_an_earlier_image_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["store", "state/server/manifests"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::write(at("store/index.json"), INDEX).unwrap();
        fs::write(at("state/server/manifests/evek-old.yaml"), "").unwrap();
        fs::write(at("state/server/manifests/rolebindings.yaml"), "").unwrap();
        let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/files/usr/share/kube/manifests");
        let paths = Paths { state: at("state"), store: at("store"), manifests: ours.into(), ..Paths::default() };
        let written = write(&paths).unwrap();
        let mut found = names(&paths.state.join("server/manifests")).unwrap();
        assert!(found.contains(&"rolebindings.yaml".to_owned()));
        found.retain(|name| name.starts_with(PREFIX));
        assert_eq!(found, written.iter().map(|name| format!("{PREFIX}{name}")).collect::<Vec<_>>());
        for name in found {
            let text = fs::read_to_string(paths.state.join("server/manifests").join(name)).unwrap();
            let tags = text.lines().filter_map(|line| line.split_once("image: ")).map(|(_, image)| image.contains(':'));
            assert!(tags.collect::<Vec<_>>().iter().all(|tag| *tag), "{text}");
        }
    }
}
