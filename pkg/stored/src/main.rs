//! `stored` lets a containerd use the images of the slot's store in place.
//!
//! ```text
//!   containerd ──gRPC──► stored (proxy snapshotter)         stored register ──gRPC──► containerd
//!                          │            │                      │  per image: manifest, config, snapshots by name, record
//!       committed snapshots│            │active and pulled     │
//!       store/<chain id>   ▼            ▼                      ▼
//!   /run/evek/layers/<hex>        <state>                   /run/evek/store (OCI layout)
//!   EROFS, file-backed, ro        snapshots.json, <id>/{fs,work}
//! ```
//! A layer of the store *is* a committed snapshot: it exists because the store holds it, nothing about it is written to
//! disk, and it cannot be removed. Writes of containers, and layers of pulled images, are in `<state>`.
//!
//! There are two pairs of containerd and `stored`. The pair for the device's own services has everything in /run: it begins
//! anew at each start of the machine, and the state partition can neither change nor stop it. The pair for Kubernetes has
//! its state on P3, where it outlives a restart.
//!
//! | | services | Kubernetes |
//! |---|---|---|
//! | containerd's unit, root | `containerd`, /run/evek/containerd | `kube-containerd`, /persist/containerd |
//! | `stored`'s unit, state | `stored`, /run/evek/snapshots | `kube-stored`, /persist/stored |
//! | registered images | role `service` | role `payload` |
//!
//! `stored` mounts layers, nothing else: it answers overlay mounts as text, which containerd mounts. It does not unpack and
//! does not fetch.

mod adopt;
mod aside;
mod bolt;
mod command;
mod error;
mod layers;
mod prepare;
mod register;
mod service;
mod snapshotter;
mod state;

use command::{Options, USAGE, Verb};
use error::{Error, io_error};
use std::{fs, io, path::Path, process::ExitCode, sync::Arc};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = std::env::args().skip(1);
    let result = match Options::parse(args) {
        Ok(options) => match options.verb {
            Verb::Serve => serve(&options).await,
            Verb::Prepare => prepare::run(&options).await,
            Verb::Ended => prepare::ended(&options),
            Verb::Register => register::run(&options).await,
        },
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
    let listener = listen(socket).map_err(io_error("listen on", socket))?;
    println!("serving {} layers of {} images", snapshotter.store_len(), store.images().len());
    api::notify::notify("READY=1").map_err(Error::Notify)?;
    let mut end = signal(SignalKind::terminate()).map_err(Error::Notify)?;
    let snapshots = Arc::new(service::Snapshots::new(snapshotter));
    api::serve(listener, snapshots, end.recv()).await.map_err(io_error("serve on", socket))
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
