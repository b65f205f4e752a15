//! Blobs, then tags (distribution-spec 1.1, "Pushing blobs" and "Pushing manifests").

use crate::{
    Error, Progress, Pushed, Registry, Seen, Tag, answer,
    client::{Content, Failed, Request},
    layout::{Blob, Manifest},
};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use types::Digest;
use ureq::http::Method;

/// Repetitions of a failed request.
const RETRIES: u32 = 4;
/// The interval of checks for the user's request to stop, during a pause.
const GLANCE: Duration = Duration::from_millis(100);

impl Registry {
    /// Pushes a layout's manifest of this digest and everything that it names. Then sets these tags, one after the
    /// other. Does not send blobs that the registry has already.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unreachable`] and [`Error::Answer`], when a repetition is of no use;
    /// [`Error::Layout`] and [`Error::Io`] before anything is sent, if the layout lacks something;
    /// [`Error::Cancelled`].
    pub fn push(
        &self,
        layout: &Path,
        digest: &Digest,
        tags: &[Tag],
        seen: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Pushed, Error> {
        let manifest = Manifest::read(layout, digest)?;
        let bytes = manifest.blobs.iter().map(|blob| blob.size).sum();
        seen(Progress::Plan { blobs: manifest.blobs.len(), bytes });
        let mut pushed = Pushed::default();
        for blob in &manifest.blobs {
            let sum = if self.blob(blob, seen)? { &mut pushed.sent } else { &mut pushed.present };
            *sum = *sum + blob.size;
        }
        for tag in tags {
            self.tag(&manifest, digest, tag, seen)?;
            seen(Progress::Tagged { tag });
        }
        Ok(pushed)
    }

    /// Ensures that the registry has a blob. Returns whether it had to be sent.
    fn blob(&self, blob: &Blob, seen: Seen<'_>) -> Result<bool, Error> {
        let Blob { digest, size, .. } = blob;
        let mut sent = false;
        self.retried(seen, |seen| {
            // An interrupted upload may have arrived, so this is asked again too.
            if self.has(digest, seen)? {
                return Ok(());
            }
            sent = true;
            seen(Progress::Sending { digest, size: *size });
            let place = self.begin(seen)?;
            let url = answer::with_field(&place, "digest", &digest.to_string());
            let put = Request::new(Method::PUT, url, Content::Blob(&blob.path, *size));
            let answer = self.send(&put, seen)?;
            if answer.status().is_success() { Ok(()) } else { Err(self.refused(&put, answer).into()) }
        })?;
        if !sent {
            seen(Progress::Present { digest, size: *size });
        }
        Ok(sent)
    }

    fn has(&self, digest: &Digest, seen: Seen<'_>) -> Result<bool, Failed> {
        let head = Request::new(Method::HEAD, self.address.url(&format!("blobs/{digest}")), Content::Nothing);
        let answer = self.send(&head, seen)?;
        match answer.status().as_u16() {
            200..=299 => Ok(true),
            404 => Ok(false),
            _ => Err(self.refused(&head, answer).into()),
        }
    }

    /// The address for an upload.
    fn begin(&self, seen: Seen<'_>) -> Result<String, Failed> {
        let post = Request::new(Method::POST, self.address.url("blobs/uploads/"), Content::Nothing);
        let answer = self.send(&post, seen)?;
        if !answer.status().is_success() {
            return Err(self.refused(&post, answer).into());
        }
        match answer::header(&answer, "Location") {
            Some(location) => Ok(answer::resolve(&post.url, location)),
            None => Err(self.strange(&post, "it does not say where to put a blob (Location)".to_owned()).into()),
        }
    }

    fn tag(&self, manifest: &Manifest, digest: &Digest, tag: &Tag, seen: Seen<'_>) -> Result<(), Error> {
        let content = Content::Document(&manifest.media_type, &manifest.bytes);
        let put = Request::new(Method::PUT, self.address.url(&format!("manifests/{tag}")), content);
        self.retried(seen, |seen| {
            let answer = self.send(&put, seen)?;
            if !answer.status().is_success() {
                return Err(self.refused(&put, answer).into());
            }
            // a registry that rewrites documents breaks every signature over them
            match answer::header(&answer, "Docker-Content-Digest").map(str::parse::<Digest>) {
                Some(Ok(stored)) if stored != *digest => {
                    Err(self.strange(&put, format!("it keeps {stored} instead of {digest}")).into())
                }
                _ => Ok(()),
            }
        })
    }

    /// Repeats a request while that may help.
    fn retried<T>(&self, seen: Seen<'_>, mut attempt: impl FnMut(Seen<'_>) -> Result<T, Failed>) -> Result<T, Error> {
        let (mut left, mut pause) = (RETRIES, self.options.pause);
        loop {
            if self.options.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            match attempt(seen) {
                Ok(done) => return Ok(done),
                Err(Failed::Never(error)) => return Err(error),
                Err(Failed::Later(error, _)) if left == 0 => return Err(error),
                Err(Failed::Later(error, wanted)) => {
                    let pause = wanted.map_or(pause, |wanted| wanted.max(pause));
                    seen(Progress::Trouble { error: &error, pause });
                    self.wait(pause);
                }
            }
            (left, pause) = (left - 1, pause * 2);
        }
    }

    fn wait(&self, pause: Duration) {
        let end = Instant::now() + pause;
        while !self.options.cancel.is_cancelled() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(GLANCE));
        }
    }
}
