//! Finding a place for every inode and every block, from names and sizes alone.

use crate::{
    BLOCK, Error, Layout,
    folder::{self, Item},
    inode::{Inode, SLOT},
    superblock, xattr,
};
use std::{collections::BTreeMap, sync::LazyLock};
use tree::{Entry, Kind, Tree, TreePath};
use types::Bytes;

/// Files up to this size lie behind their inode. Larger ones get blocks of their own, so that they can be mapped and
/// mounted in place.
const INLINE_MAX: u64 = 2048;
const NAME_MAX: usize = 255;

/// What a file system is besides its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Its UUID, in the order of RFC 4122.
    pub uuid: [u8; 16],
    /// The time of every inode, in seconds since 1970; [`types::EPOCH`] in images.
    pub epoch: u64,
    /// Its label, at most 16 bytes.
    pub label: String,
}

/// A file system whose every byte has its place.
#[derive(Debug)]
pub struct Plan<'t> {
    pub(crate) options: &'t Options,
    /// The root first; positions are the numbers that folder items hold.
    pub(crate) inodes: Vec<Inode<'t>>,
    places: BTreeMap<&'t TreePath, usize>,
    pub(crate) metadata_blocks: u32,
    pub(crate) blocks: u32,
}

static ROOT: LazyLock<Entry> = LazyLock::new(|| Entry::dir(0o755));

impl<'t> Plan<'t> {
    /// Plans a file system.
    ///
    /// # Errors
    /// [`Error::Entry`] for what EROFS cannot hold, [`Error::Limit`].
    pub fn new(tree: &'t Tree, options: &'t Options) -> Result<Self, Error> {
        if options.label.len() > 16 {
            return Err(Error::Limit("a label has at most 16 bytes"));
        }
        let mut plan = Self { options, inodes: Vec::new(), places: BTreeMap::new(), metadata_blocks: 0, blocks: 0 };
        plan.collect(tree)?;
        for inode in &mut plan.inodes {
            inode.items.sort_unstable_by_key(|item| item.name.as_bytes());
            measure(inode)?;
        }
        plan.place()?;
        Ok(plan)
    }

    /// Size and number of inodes.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout { size: Bytes(u64::from(self.blocks) * BLOCK), inodes: self.inodes.len() as u64 }
    }

    /// Where the bytes of a file start that has blocks of its own; `None` for others.
    #[must_use]
    pub fn offset(&self, file: &TreePath) -> Option<Bytes> {
        let inode = &self.inodes[*self.places.get(file)?];
        (inode.blocks() > 0 && inode.content().is_some()).then(|| Bytes(u64::from(inode.block) * BLOCK))
    }

    /// Makes the inodes and links them into their folders.
    fn collect(&mut self, tree: &'t Tree) -> Result<(), Error> {
        let root = tree.get(&TreePath::default()).unwrap_or(&*ROOT);
        self.add("", root);
        self.inodes[0].items = vec![Item { name: ".", inode: 0 }, Item { name: "..", inode: 0 }];
        let (mut folders, mut links) = (BTreeMap::from([(TreePath::default(), 0)]), Vec::new());
        for (path, entry) in tree.iter().filter(|(path, _)| !path.is_root()) {
            let refuse = |problem: &str| Error::Entry { path: path.to_string(), problem: problem.to_owned() };
            if path.name().len() > NAME_MAX || path.name().contains('\0') {
                return Err(refuse("a name has at most 255 bytes, none of them zero"));
            }
            let parent = path.parent().and_then(|p| folders.get(&p).copied());
            let parent = parent.ok_or_else(|| refuse("its folder is missing"))?;
            if let Kind::Hardlink(target) = &entry.kind {
                links.push((path, target, parent));
                continue;
            }
            let inode = self.add(path.as_str(), entry);
            self.places.insert(path, inode);
            self.inodes[parent].items.push(Item { name: path.name(), inode });
            if entry.kind == Kind::Dir {
                self.inodes[inode].items = vec![Item { name: ".", inode }, Item { name: "..", inode: parent }];
                self.inodes[inode].links = 2;
                self.inodes[parent].links += 1;
                folders.insert(path.clone(), inode);
            }
        }
        self.inodes[0].links += 1;
        for (path, target, parent) in links {
            let inode = self.places.get(target).copied().filter(|n| self.inodes[*n].entry.kind != Kind::Dir);
            let inode = inode.ok_or_else(|| Error::Entry {
                path: path.to_string(),
                problem: format!("is a hard link to /{target}, which is no file"),
            })?;
            self.inodes[inode].links += 1;
            self.inodes[parent].items.push(Item { name: path.name(), inode });
        }
        Ok(())
    }

    fn add(&mut self, path: &'t str, entry: &'t Entry) -> usize {
        self.inodes.push(Inode {
            path,
            entry,
            links: 1,
            items: Vec::new(),
            size: 0,
            xattrs: Vec::new(),
            inline: false,
            at: 0,
            block: 0,
        });
        self.inodes.len() - 1
    }

    /// Gives inodes, then folders' blocks, then files' blocks their places.
    fn place(&mut self) -> Result<(), Error> {
        let too_large = |_| Error::Limit("the file system would be 16 TiB or larger");
        let mut at = (superblock::AT + superblock::LEN) as u64;
        for inode in &mut self.inodes {
            at = at.next_multiple_of(SLOT);
            // neither a tail nor the inode itself may lie across a block's end; attributes may
            let whole =
                if inode.inline { inode.head() + inode.tail() } else { inode.head() - inode.xattrs.len() as u64 };
            if at % BLOCK + whole > BLOCK {
                at = at.next_multiple_of(BLOCK);
            }
            inode.at = at;
            at += inode.head() + inode.tail();
        }
        self.metadata_blocks = u32::try_from(at.div_ceil(BLOCK)).map_err(too_large)?;
        let mut next = u64::from(self.metadata_blocks);
        for folders in [true, false] {
            for inode in self.inodes.iter_mut().filter(|i| (i.entry.kind == Kind::Dir) == folders && i.blocks() > 0) {
                inode.block = u32::try_from(next).map_err(too_large)?;
                next += inode.blocks();
            }
        }
        self.blocks = u32::try_from(next).map_err(too_large)?;
        Ok(())
    }
}

/// Fills in size, attributes and whether the rest lies behind the inode.
fn measure(inode: &mut Inode<'_>) -> Result<(), Error> {
    let refuse = |problem: String| Error::Entry { path: inode.path.to_owned(), problem };
    inode.xattrs = xattr::encode(&inode.entry.xattrs).map_err(refuse)?;
    let wanted = match &inode.entry.kind {
        Kind::Dir => {
            inode.size = folder::size(&inode.items);
            true
        }
        Kind::File(content) => {
            inode.size = content.len();
            inode.size <= INLINE_MAX
        }
        Kind::Symlink(target) if target.is_empty() || target.len() >= BLOCK as usize => {
            let problem = "a symlink's target has 1 to 4095 bytes".to_owned();
            return Err(Error::Entry { path: inode.path.to_owned(), problem });
        }
        Kind::Symlink(target) => {
            inode.size = target.len() as u64;
            true
        }
        Kind::Hardlink(_) | Kind::Char(..) | Kind::Block(..) | Kind::Fifo => false,
    };
    let rest = inode.size % BLOCK;
    inode.inline = wanted && rest > 0 && inode.head() + rest <= BLOCK;
    Ok(())
}
