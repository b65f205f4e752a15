//! `stored` lets containerd use the images of the slot's store in place.
//!
//! ```text
//!   containerd ──gRPC──► stored (proxy snapshotter)         stored register ──gRPC──► containerd
//!                          │            │                      │  per image: manifest, config, snapshots by name, record
//!       committed snapshots│            │active and pulled     │
//!       store/<chain id>   ▼            ▼                      ▼
//!   /run/evek/layers/<hex>        /persist/stored            /run/evek/store (OCI layout)
//!   EROFS, file-backed, ro        snapshots.json, <id>/{fs,work}
//! ```
//! A layer of the store *is* a committed snapshot: it exists because the store holds it, nothing about it is written to
//! disk, and it cannot be removed. What containers write, and layers of images that containerd pulled from elsewhere, lie
//! on P3 as they do with containerd's own overlay snapshotter.
//!
//! `stored` mounts layers, nothing else: it hands overlay mounts to containerd as words. It does not unpack and does not
//! fetch.

mod error;
mod layers;
mod register;
mod service;
mod snapshotter;
mod state;

use error::Error;
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};
use tokio::signal::unix::{SignalKind, signal};

const STORE: &str = "/run/evek/store";
const LAYERS: &str = "/run/evek/layers";
const SLOT: &str = "/run/evek/slot.json";
const SOCKET: &str = "/run/evek/stored.sock";
const STATE: &str = "/persist/stored";

const USAGE: &str = "\
Lets containerd use the images of the slot's store in place

Usage: stored [OPTIONS]            serve as containerd's snapshotter `stored`
       stored register [OPTIONS]   make the store's images known to containerd

Options:
  --store <DIR>         where the store is mounted [/run/evek/store]
  --layers <DIR>        where its layers are mounted [/run/evek/layers]
  --state <DIR>         where snapshots are kept [/persist/stored]
  --socket <PATH>       where to listen [/run/evek/stored.sock]
  --containerd <PATH>   containerd's socket [/run/containerd/containerd.sock]
  --slot <PATH>         what init found [/run/evek/slot.json]";

struct Options {
    register: bool,
    store: PathBuf,
    layers: PathBuf,
    state: PathBuf,
    socket: PathBuf,
    containerd: PathBuf,
    slot: PathBuf,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, Error> {
        let mut options = Self {
            register: false,
            store: STORE.into(),
            layers: LAYERS.into(),
            state: STATE.into(),
            socket: SOCKET.into(),
            containerd: api::CONTAINERD.into(),
            slot: SLOT.into(),
        };
        while let Some(arg) = args.next() {
            let place = match arg.as_str() {
                "register" => {
                    options.register = true;
                    continue;
                }
                "--store" => &mut options.store,
                "--layers" => &mut options.layers,
                "--state" => &mut options.state,
                "--socket" => &mut options.socket,
                "--containerd" => &mut options.containerd,
                "--slot" => &mut options.slot,
                _ => return Err(Error::Usage { found: arg }),
            };
            let value = args.next().ok_or(Error::Usage { found: arg })?;
            // containerd and its shims, which are given such paths, work in other folders
            *place = std::path::absolute(&value).map_err(|_| Error::Usage { found: value })?;
        }
        Ok(options)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = std::env::args().skip(1);
    let result = match Options::parse(args) {
        Ok(options) if options.register => register::run(&options).await,
        Ok(options) => serve(&options).await,
        Err(e) => Err(e),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e @ Error::Usage { .. }) => {
            eprintln!("error: {e}\n\n{USAGE}");
            ExitCode::from(2)
        }
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: &Options) -> Result<(), Error> {
    let store = store::Store::open(&options.store)?;
    let layers = layers::Erofs::new(options.store.clone(), options.layers.clone());
    let snapshotter = snapshotter::Snapshotter::open(&options.state, &store, layers)?;
    let socket = &options.socket;
    let listener = listen(socket).map_err(|source| Error::Io { action: "listen on", path: socket.clone(), source })?;
    println!("serving {} layers of {} images", snapshotter.store_len(), store.images().len());
    api::notify::notify("READY=1").map_err(Error::Notify)?;
    let mut end = signal(SignalKind::terminate()).map_err(Error::Notify)?;
    api::serve(listener, Arc::new(service::Snapshots::new(snapshotter)), end.recv()).await.map_err(|source| Error::Io {
        action: "serve on",
        path: socket.clone(),
        source,
    })
}

fn listen(socket: &Path) -> io::Result<tokio::net::UnixListener> {
    if let Some(folder) = socket.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::remove_file(socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    tokio::net::UnixListener::bind(socket)
}
