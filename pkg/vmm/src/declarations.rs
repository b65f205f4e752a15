//! The declarations of this device and their errors. A bad declaration does not hinder the others.

use app::App;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// A good declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declared {
    /// Its file.
    pub(crate) file: PathBuf,
    /// Its content.
    pub(crate) app: App,
}

/// An error of a declaration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Fault {
    /// The file.
    pub(crate) file: String,
    /// The line, from 1; 0 for the file as a whole.
    pub(crate) line: u32,
    /// The column, from 1; 0 where it is unknown.
    pub(crate) column: u32,
    /// The message, with the line itself and the allowed values.
    pub(crate) text: String,
}

/// Reads every `<name>.yml` of these folders. A folder that is not there holds nothing.
pub(crate) fn read(folders: &[PathBuf]) -> (BTreeMap<String, Declared>, Vec<Fault>) {
    let (mut found, mut faults) = (BTreeMap::<String, Declared>::new(), Vec::new());
    for folder in folders {
        let names = match files(folder) {
            Ok(names) => names,
            Err(e) => {
                faults.push(fault(folder, format!("cannot read: {e}")));
                continue;
            }
        };
        for name in names {
            let file = folder.join(&name);
            match App::read(Path::new("/"), &file.display().to_string()) {
                Ok(app) => {
                    let name = app.name.value.clone();
                    if let Some(first) = found.get(&name) {
                        let first = first.file.display();
                        faults.push(fault(
                            &file,
                            format!("the app `{name}` is declared in {first} already; vmm uses that declaration"),
                        ));
                    } else {
                        found.insert(name, Declared { file, app });
                    }
                }
                Err(errors) => faults.extend(errors.iter().map(|e| Fault {
                    file: e.at.file.to_string(),
                    line: e.at.line,
                    column: e.at.column,
                    text: e.to_string(),
                })),
            }
        }
    }
    (found, faults)
}

fn fault(file: &Path, text: String) -> Fault {
    let file = file.display().to_string();
    Fault { text: format!("{file}: {text}"), file, line: 0, column: 0 }
}

/// The names of the folder's `*.yml`, in order.
fn files(folder: &Path) -> io::Result<Vec<String>> {
    let items = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        items => items?,
    };
    let mut names = Vec::new();
    for item in items {
        let name = item?.file_name().to_string_lossy().into_owned();
        // names of an editor's unfinished files begin with a dot
        if name.ends_with(".yml") && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_declaration_is_named_with_its_line_and_the_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (config, p3) = (dir.path().join("config"), dir.path().join("p3"));
        let good = |name: &str| format!("name: {name}\nmemory: 64MiB\ncontainer: {{image: evek.local/time}}\n");
        for (folder, file, text) in [
            (&config, "a.yml", good("a")),
            (&config, "b.yml", "name: b\nmemory: lots\n".to_owned()),
            (&config, "notes.txt", "not ours".to_owned()),
            (&p3, "a.yml", good("a")),
            (&p3, "c.yml", good("c")),
        ] {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join(file), text).unwrap();
        }
        let (apps, faults) = read(&[config.clone(), p3.clone(), dir.path().join("none")]);
        assert_eq!(apps.keys().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(apps["a"].file, config.join("a.yml"), "the first file wins");
        let [bad, twice] = faults.as_slice() else { panic!("{faults:?}") };
        assert_eq!((bad.file.as_str(), bad.line), (config.join("b.yml").to_str().unwrap(), 2));
        assert!(bad.text.contains("lots"), "{}", bad.text);
        assert_eq!(twice.file, p3.join("a.yml").display().to_string());
        assert!(twice.text.contains("is declared in") && twice.text.contains("config/a.yml"), "{}", twice.text);
    }
}
