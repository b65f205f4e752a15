use serde::{Deserialize, Serialize};
use types::Bytes;

/// A part of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name within its parent: `store`, `time`, `usr/lib`, …
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Bytes that the image stores for it.
    pub stored: Bytes,
    /// Bytes of its files.
    pub plain: Bytes,
    /// A note: the images that share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Its parts, the largest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Node>,
}

/// The kind of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The whole image.
    Image,
    /// The content of a partition.
    Partition,
    /// A package of `pkg/`, or the root.
    Component,
    /// A layer of OCI images.
    Layer,
    /// A Debian package.
    Package,
    /// A folder.
    Folder,
    /// A file, or a section of an EFI program.
    File,
    /// Bytes outside of files: inodes, folders, padding, hash trees.
    Structure,
}

impl Kind {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Partition => "partition",
            Self::Component => "component",
            Self::Layer => "layer",
            Self::Package => "Debian package",
            Self::Folder => "folder",
            Self::File => "file",
            Self::Structure => "structure",
        }
    }

    /// Whether the author of a definition chose its name.
    const fn is_contributor(self) -> bool {
        matches!(self, Self::Package | Self::File | Self::Structure)
    }
}

impl Node {
    /// A part without parts.
    #[must_use]
    pub fn leaf(kind: Kind, name: impl Into<String>, stored: Bytes, plain: Bytes) -> Self {
        Self { name: name.into(), kind, stored, plain, note: None, children: Vec::new() }
    }

    /// A part that is the sum of its parts.
    #[must_use]
    pub fn sum(kind: Kind, name: impl Into<String>, mut children: Vec<Self>) -> Self {
        children.sort_by(|a, b| (b.stored, &a.name).cmp(&(a.stored, &b.name)));
        let stored = children.iter().map(|c| c.stored).sum();
        let plain = children.iter().map(|c| c.plain).sum();
        Self { name: name.into(), kind, stored, plain, note: None, children }
    }

    /// A part of `stored` bytes with known parts; the remaining bytes are a part called `rest`.
    #[must_use]
    pub fn whole(kind: Kind, name: impl Into<String>, stored: Bytes, rest: &str, mut children: Vec<Self>) -> Self {
        let known: Bytes = children.iter().map(|c| c.stored).sum();
        let left = stored.0.saturating_sub(known.0);
        if left > 0 {
            children.push(Self::leaf(Kind::Structure, rest, Bytes(left), Bytes(0)));
        }
        Self::sum(kind, name, children)
    }

    /// With a note.
    #[must_use]
    pub fn noted(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Files with their paths as folders in folders. A folder with a single folder in it becomes one with it.
    #[must_use]
    pub fn folders(files: impl IntoIterator<Item = (String, Bytes, Bytes)>) -> Vec<Self> {
        let mut files: Vec<_> = files.into_iter().collect();
        files.sort_by(|a, b| a.0.cmp(&b.0));
        below(&files, 0)
    }

    /// The first node below this one, or this one, of that kind and name.
    #[must_use]
    pub fn find(&self, kind: Kind, name: &str) -> Option<&Self> {
        if self.kind == kind && self.name == name {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(kind, name))
    }

    /// The number of nodes, this one included.
    #[must_use]
    pub fn count(&self) -> usize {
        1 + self.children.iter().map(Self::count).sum::<usize>()
    }

    /// The contributors of this part: its `wanted` largest Debian packages and files, each with its path below this
    /// part. Folders represent their content as long as there are enough names.
    #[must_use]
    pub fn contributors(&self, wanted: usize) -> Vec<(String, &Self)> {
        let mut open: Vec<(String, &Self)> = vec![(String::new(), self)];
        loop {
            open.sort_by(|a, b| (b.1.stored, &a.0).cmp(&(a.1.stored, &b.0)));
            let must = |node: &Self| !node.kind.is_contributor() && node.kind != Kind::Folder;
            let enough = open.len() >= wanted;
            // a folder's content is listed only while there are too few names
            let next =
                open.iter().position(|(_, n)| !n.children.is_empty() && (must(n) || n.kind == Kind::Folder && !enough));
            let Some(next) = next else { break };
            let (path, node) = open.remove(next);
            let join = |child: &Self| match child.kind {
                // a component's only or first layer has its name
                Kind::Layer if child.name == node.name => path.clone(),
                _ if path.is_empty() => child.name.clone(),
                _ => format!("{path} › {}", child.name),
            };
            open.extend(node.children.iter().map(|child| (join(child), child)));
        }
        open.truncate(wanted);
        open
    }
}

/// The nodes of sorted files, without the first `skip` bytes of their paths.
fn below(files: &[(String, Bytes, Bytes)], skip: usize) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut rest = files;
    while let Some((path, stored, plain)) = rest.first() {
        let Some(end) = path[skip..].find('/').map(|n| skip + n) else {
            nodes.push(Node::leaf(Kind::File, &path[skip..], *stored, *plain));
            rest = &rest[1..];
            continue;
        };
        let folder = &path[..=end];
        let count = rest.iter().take_while(|(p, ..)| p.starts_with(folder)).count();
        let mut node = Node::sum(Kind::Folder, &path[skip..end], below(&rest[..count], end + 1));
        if let [only] = node.children.as_mut_slice()
            && only.kind == Kind::Folder
        {
            let children = std::mem::take(&mut only.children);
            node = Node::sum(Kind::Folder, format!("{}/{}", node.name, only.name), children);
        }
        nodes.push(node);
        rest = &rest[count..];
    }
    nodes
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn files(sizes: &[(&str, u64)]) -> Vec<(String, Bytes, Bytes)> {
        sizes.iter().map(|(path, size)| ((*path).to_owned(), Bytes(*size), Bytes(size * 3))).collect()
    }

    /// A layer of two packages and its parents.
    pub(crate) fn sample() -> Node {
        let curl =
            Node::sum(Kind::Package, "curl", Node::folders(files(&[("usr/bin/curl", 300), ("usr/share/curl", 20)])));
        let bash = Node::sum(Kind::Package, "bash", Node::folders(files(&[("usr/bin/bash", 700)])));
        let layer = Node::whole(Kind::Layer, "base", Bytes(1100), "file system", vec![curl, bash]);
        let base = Node::sum(Kind::Component, "base", vec![layer]);
        let store = Node::whole(Kind::Partition, "store", Bytes(1200), "documents and file system", vec![base]);
        Node::sum(Kind::Image, "image", vec![store, Node::leaf(Kind::Partition, "esp", Bytes(500), Bytes(500))])
    }

    #[test]
    fn folders_are_made_of_paths_and_a_single_one_in_another_is_one_with_it() {
        let found = Node::folders(files(&[("usr/lib/a/x", 5), ("usr/lib/a/y", 7), ("etc/passwd", 1), ("init", 2)]));
        let shape: Vec<_> = found.iter().map(|n| (n.name.as_str(), n.kind, n.stored.0, n.plain.0)).collect();
        assert_eq!(
            shape,
            [("etc", Kind::Folder, 1, 3), ("init", Kind::File, 2, 6), ("usr/lib/a", Kind::Folder, 12, 36)]
        );
        let inside: Vec<_> = found[2].children.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(inside, ["y", "x"], "the largest first");
    }

    #[test]
    fn folders_of_like_names_stay_apart() {
        let found = Node::folders(files(&[("usr/a-b/x", 1), ("usr/a/x", 2), ("usr/a.b", 4)]));
        let names: Vec<_> = found[0].children.iter().map(|n| (n.name.as_str(), n.stored.0)).collect();
        assert_eq!(names, [("a.b", 4), ("a", 2), ("a-b", 1)]);
    }

    #[test]
    fn children_add_up_and_the_rest_has_a_name() {
        let tree = sample();
        let layer = tree.find(Kind::Layer, "base").expect("it is there");
        let names: Vec<_> = layer.children.iter().map(|n| (n.name.as_str(), n.stored.0)).collect();
        assert_eq!(names, [("bash", 700), ("curl", 320), ("file system", 80)]);
        assert_eq!((tree.stored.0, tree.plain.0), (1700, 1020 * 3 + 500));
        fn adds_up(node: &Node) -> bool {
            node.children.is_empty()
                || node.children.iter().map(|c| c.stored).sum::<Bytes>() == node.stored
                    && node.children.iter().all(adds_up)
        }
        assert!(adds_up(&tree));
        assert_eq!(tree.count(), 16);
    }

    #[test]
    fn contributors_are_packages_and_files_and_not_what_holds_them() {
        let tree = sample();
        let store = tree.find(Kind::Partition, "store").expect("it is there");
        let names = |wanted| -> Vec<String> { store.contributors(wanted).into_iter().map(|(path, _)| path).collect() };
        assert_eq!(names(2), ["base › bash", "base › curl"]);
        let all = names(10);
        assert_eq!(all.len(), 4, "{all:?}");
        assert_eq!(all[2], "documents and file system");
    }
}
