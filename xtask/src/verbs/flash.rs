//! `flash`: writes an image to a stick, a card, a disk or a file, and reads it back.

use crate::{cli::Flash, exit::Exit, failure::Failure};
use flash::{
    Device, Patched, Phase, Progress, Raw, Source, Zstd,
    disks::{Disk, Kernel},
};
use indicatif::{ProgressBar, ProgressStyle};
use segments::scan;
use std::{
    fs::{self, File},
    io::{self, BufRead as _, Cursor, IsTerminal as _},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    time::Instant,
};
use steps::ImageJson;
use types::Bytes;

/// Lists the disks of this host, or writes to one.
pub(crate) fn flash(args: &Flash) -> Result<(), Failure> {
    let image = args.image.as_deref().map(Image::open).transpose()?;
    let needed = image.as_ref().map_or(Bytes(0), |image| image.json.disk.size);
    match (image, &args.device) {
        (Some(image), Some(path)) => {
            let target = choose(path, needed, args.yes)?;
            write(image, args.config.as_deref(), &target)
        }
        _ => list(needed, args.json),
    }
}

/// A published image and one of its files.
struct Image {
    json: ImageJson,
    file: PathBuf,
}

impl Image {
    /// A folder with image.json, or one of the files that it names, which zstd may have compressed.
    fn open(path: &Path) -> Result<Self, Failure> {
        let usage = |text: String| Failure::new(Exit::Usage, text);
        if path.to_string_lossy().contains("://") {
            return Err(usage(format!(
                "{} is an address: download the image and its image.json first",
                path.display()
            )));
        }
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new(".")) };
        let description = folder.join("image.json");
        let bad = |e: &dyn std::fmt::Display| {
            let text = format!("cannot read {}, which says what to write: {e}", description.display());
            usage(text).hint("name a folder of dist/, or a file in a copy of one")
        };
        let json: ImageJson =
            serde_json::from_slice(&fs::read(&description).map_err(|e| bad(&e))?).map_err(|e| bad(&e))?;
        if json.disk.segments.is_empty() {
            return Err(bad(&"it lists no segments of the disk; build the image again"));
        }
        let raw = json.files.get("raw").ok_or_else(|| bad(&"it names no raw disk"))?;
        let file = if path.is_dir() { folder.join(raw) } else { path.to_owned() };
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name != *raw && name != format!("{raw}.zst") {
            return Err(usage(format!(
                "{} is none of {raw} and {raw}.zst, which {} describes",
                file.display(),
                description.display()
            )));
        }
        Ok(Self { json, file })
    }

    fn source(&self) -> io::Result<Box<dyn Source>> {
        let file = File::open(&self.file)?;
        let is_compressed = self.file.extension().is_some_and(|end| end == "zst");
        Ok(if is_compressed { Box::new(Zstd::new(file)?) } else { Box::new(Raw(file)) })
    }
}

/// What an image is written to.
struct Target {
    path: PathBuf,
    /// For people.
    what: String,
}

/// Accepts a device or a file, or says why not.
fn choose(path: &Path, needed: Bytes, yes: bool) -> Result<Target, Failure> {
    let refused = |text: String| Failure::new(Exit::Medium, text);
    let kind = match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && !path.starts_with("/dev") => None,
        other => Some(other.map_err(|e| refused(format!("cannot use {}: {e}", path.display())))?.file_type()),
    };
    if kind.is_none_or(|kind| kind.is_file()) {
        if kind.is_some() && !yes {
            return Err(refused(format!("{} exists: remove it, or replace it with --yes", path.display())));
        }
        return Ok(Target { path: path.to_owned(), what: path.display().to_string() });
    }
    if !kind.is_some_and(|kind| kind.is_block_device()) {
        return Err(refused(format!("{} is neither a disk nor a file", path.display())));
    }
    let device = fs::canonicalize(path)?;
    let disks = Kernel::default().disks()?;
    let disk = disks.iter().find(|disk| disk.path == device).ok_or_else(|| {
        refused(format!("{} is no whole disk of this host", path.display())).hint("`cargo xtask flash` lists them")
    })?;
    let refusals = disk.refusals(needed);
    if !refusals.is_empty() {
        return Err(refused(format!("nothing is written to {}: {}", line(disk), refusals.join("; "))));
    }
    if yes && !disk.by_id.iter().any(|name| name == path) {
        let names: Vec<_> = disk.by_id.iter().map(|name| name.display().to_string()).collect();
        let names = if names.is_empty() { "it has none".to_owned() } else { names.join(" or ") };
        let text =
            format!("--yes wants a name that stays the same, because {} may be another disk next time", path.display());
        return Err(refused(text).hint(&format!("from /dev/disk/by-id: {names}")));
    }
    if !yes {
        confirm(disk)?;
    }
    Ok(Target { path: device, what: line(disk) })
}

/// A disk in one line.
fn line(disk: &Disk) -> String {
    let model = if disk.model.is_empty() { "unknown model" } else { &disk.model };
    format!("{} ({model}, {})", disk.path.display(), disk.size)
}

fn confirm(disk: &Disk) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        let text = format!("nobody can be asked whether everything on {} may be lost", line(disk));
        return Err(Failure::new(Exit::Usage, text).hint("accept it by --yes, and by a name from /dev/disk/by-id"));
    }
    eprintln!("Everything on {} will be lost. Enter its name, {}, to go on:", line(disk), disk.name);
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() == disk.name { Ok(()) } else { Err(Failure::new(Exit::Interrupted, "nothing was written")) }
}

fn list(needed: Bytes, json: bool) -> Result<(), Failure> {
    let disks = Kernel::default().disks()?;
    if json {
        let shown = disks.iter().map(|disk| {
            let mut shown = serde_json::to_value(disk)?;
            shown["refusals"] = disk.refusals(needed).into();
            Ok(shown)
        });
        let shown = shown.collect::<Result<Vec<_>, serde_json::Error>>()?;
        println!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(());
    }
    let (removable, fixed): (Vec<_>, Vec<_>) = disks.iter().partition(|disk| disk.removable);
    for disk in &removable {
        println!("{}", line(disk));
        disk.by_id.iter().for_each(|name| println!("  {}", name.display()));
        disk.refusals(needed).iter().for_each(|reason| println!("  refused: {reason}"));
    }
    if removable.is_empty() {
        println!("no stick, card or other removable disk is plugged in");
    }
    if !fixed.is_empty() {
        let fixed: Vec<_> = fixed.iter().map(|disk| disk.name.as_str()).collect();
        println!("disks that stay in this host, for who names one: {}", fixed.join(", "));
    }
    Ok(())
}

fn write(mut image: Image, config: Option<&Path>, target: &Target) -> Result<(), Failure> {
    if fs::canonicalize(&target.path).ok() == fs::canonicalize(&image.file).ok() {
        return Err(Failure::new(Exit::Usage, format!("{} is the image itself", target.what)));
    }
    let mut source = image.source()?;
    if let Some(folder) = config {
        let (start, bytes) = volume(&image.json, folder)?;
        let size = Bytes(bytes.len() as u64);
        let mut with = scan(&mut Cursor::new(&bytes), size, std::slice::from_ref(&(0..size.0)))?.segments;
        with.iter_mut().for_each(|segment| segment.start = segment.start + start);
        let replaced = image.json.disk.replace(start.0..(start + size).0, with);
        replaced.map_err(|e| Failure::new(Exit::Usage, format!("the image is damaged: {e}")))?;
        source = Box::new(Patched { image: source, start: start.0, bytes });
    }
    let list = &image.json.disk;
    eprintln!("{}: {} of {} to {}", image.json.version, list.content(), list.size, target.what);
    let device = Device::open(&target.path, list.size)?;
    let began = Instant::now();
    let mut bar = Bar::default();
    let done = flash::flash(list, &mut *source, &device, &mut |progress| bar.show(progress))?;
    bar.end();
    let (seconds, rate) = (began.elapsed().as_secs_f64(), done.written.0 as f64 / began.elapsed().as_secs_f64());
    println!("{} written and read back in {seconds:.1} s, {}/s", done.written, Bytes(rate as u64));
    Ok(())
}

/// The place of CONFIG, and a volume for it with the files of a folder.
fn volume(image: &ImageJson, folder: &Path) -> Result<(Bytes, Vec<u8>), Failure> {
    let usage = |text: String| Failure::new(Exit::Usage, text);
    let config = image.partitions.iter().find(|partition| partition.label == "CONFIG");
    let config = config.ok_or_else(|| usage("the image has no partition CONFIG".to_owned()))?;
    let files = tree::Tree::from_folder(folder).map_err(|e| usage(format!("cannot read {}: {e}", folder.display())))?;
    let place = tempfile::tempdir()?;
    let path = place.path().join("config");
    let written = steps::config_volume(&path, &files, config.size);
    written.map_err(|e| usage(format!("{} cannot be CONFIG: {e}", folder.display())))?;
    let mut bytes = fs::read(&path)?;
    bytes.resize(usize::try_from(config.size.0).map_err(io::Error::other)?, 0);
    Ok((config.start, bytes))
}

/// Progress on a terminal, with rate and remaining time; elsewhere nothing but the result.
#[derive(Default)]
struct Bar(Option<(Phase, ProgressBar)>);

impl Bar {
    fn show(&mut self, progress: Progress) {
        if self.0.as_ref().is_none_or(|(phase, _)| *phase != progress.phase) {
            self.end();
            let word = match progress.phase {
                Phase::Write => "write",
                Phase::ReadBack => "read back",
            };
            let style = "{msg:>9} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
            let bar = ProgressBar::new(progress.all.0).with_message(word);
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            self.0 = Some((progress.phase, bar));
        }
        if let Some((_, bar)) = &self.0 {
            bar.set_position(progress.done.0);
        }
    }

    fn end(&mut self) {
        if let Some((_, bar)) = self.0.take() {
            bar.finish();
        }
    }
}
