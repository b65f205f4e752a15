//! Runs a program of the toolbox in the sandbox, with its output in the step's log.

use graph::{Ctx, StepError};
use sandbox::{Bind, Io, Network, Overlay, Sandbox};
use std::{collections::BTreeMap, path::Path};

/// A program to run in a toolbox tree, which is an input of the step.
pub(crate) struct Tool<'a, 'c> {
    ctx: &'a Ctx<'c>,
    sandbox: Sandbox,
}

impl<'a, 'c> Tool<'a, 'c> {
    /// A program in the toolbox tree of the input `label`.
    pub(crate) fn new(ctx: &'a Ctx<'c>, label: &str) -> Result<Self, StepError> {
        let tmp = ctx.scratch()?.join("tmp");
        std::fs::create_dir_all(&tmp)?;
        let mut sandbox = Sandbox::new(ctx.input(label)?);
        sandbox.tmp = Some(tmp);
        sandbox.network = Network::None;
        Ok(Self { ctx, sandbox })
    }

    /// Mounts a file or folder read-only.
    pub(crate) fn read(mut self, source: &Path, target: &str) -> Self {
        self.sandbox.binds.push(Bind { source: source.to_owned(), target: target.into(), writable: false });
        self
    }

    /// Mounts a file or folder writable.
    pub(crate) fn writable(mut self, source: &Path, target: &str) -> Self {
        self.sandbox.binds.push(Bind { source: source.to_owned(), target: target.into(), writable: true });
        self
    }

    /// Mounts a folder as an overlay: changes go to `upper`, a folder of the step, and not to the folder.
    pub(crate) fn overlay(mut self, lower: &Path, target: &str, upper: &Path) -> Result<Self, StepError> {
        let work = upper.with_extension("work");
        for folder in [upper, &work] {
            std::fs::create_dir_all(folder)?;
        }
        let (lower, upper) = (vec![lower.to_owned()], upper.to_owned());
        self.sandbox.overlays.push(Overlay { lower, upper, work, target: target.into() });
        Ok(self)
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.sandbox.env.insert(name.to_owned(), value.into());
        self
    }

    /// Starts in this folder.
    pub(crate) fn cwd(mut self, folder: &str) -> Self {
        self.sandbox.cwd = folder.into();
        self
    }

    /// Runs it to its end.
    pub(crate) fn run<S: AsRef<str>>(self, argv: &[S]) -> Result<(), StepError> {
        let argv: Vec<String> = argv.iter().map(|a| a.as_ref().to_owned()).collect();
        self.ctx.log(&format!("$ {}", argv.join(" ")));
        let exit = self.sandbox.run(&argv, Io::log(&self.ctx.log_file()?)?, self.ctx.cancel())?;
        if exit.success() { Ok(()) } else { Err(StepError::msg(format!("{}: {exit}", argv[0]))) }
    }
}

/// The host's environment for network clients: certificates and proxies, which companies set.
pub(crate) fn host_network_env() -> BTreeMap<String, String> {
    const PASSED: [&str; 12] = [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "GOPROXY",
        "GONOSUMDB",
        "GONOPROXY",
        "GOPRIVATE",
        "GOSUMDB",
        "GOINSECURE",
    ];
    PASSED.iter().filter_map(|&name| Some((name.to_owned(), std::env::var(name).ok()?))).collect()
}
