//! `schema`: JSON Schemas of the definitions, and the reference from the same types.

use crate::{failure::Failure, session::root};
use defs::DefKind;
use std::{fs, path::Path};

/// Writes the schemas into a folder, or docs/reference.md.
pub(crate) fn schema(out: &Path, reference: bool) -> Result<(), Failure> {
    if reference {
        fs::write(root().join("docs/reference.md"), defs::reference())?;
        return Ok(());
    }
    fs::create_dir_all(out)?;
    for kind in DefKind::ALL {
        let path = out.join(format!("{}.schema.json", kind.as_str()));
        fs::write(&path, serde_json::to_string_pretty(&defs::schema(kind))? + "\n")?;
        println!("{}", path.display());
    }
    Ok(())
}
