//! A folder with updates behind a web server.

use super::{Source, files};
use crate::{
    error::Error,
    http::{Http, bytes},
};
use std::{io::Read, ops::Range};
use types::{Arch, Digest, Flavour};

pub(crate) struct Web {
    base: String,
    http: Http,
}

impl Web {
    pub(crate) fn new(address: &str, http: Http) -> Self {
        Self { base: address.trim_end_matches('/').to_owned(), http }
    }

    fn document(&self, name: &str) -> Result<Vec<u8>, Error> {
        let address = format!("{}/{name}", self.base);
        self.http.document(&address, self.http.get(&address, &[])?)
    }
}

impl Source for Web {
    fn address(&self) -> String {
        self.base.clone()
    }

    fn manifest(&self, flavour: Flavour, arch: Arch) -> Result<Vec<u8>, Error> {
        let index = self.document("index.json")?;
        self.document(&files::blob(&files::newest(&index, &self.base, flavour, arch)?))
    }

    fn open(&self, digest: &Digest, range: Range<u64>) -> Result<Box<dyn Read + '_>, Error> {
        let address = format!("{}/{}", self.base, files::blob(digest));
        let answer = self.http.get(&address, &[("Range", &bytes(&range))])?;
        self.http.part(&address, answer, &range)
    }
}
