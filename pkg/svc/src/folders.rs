//! The folders of the host that a service asks for.

use crate::error::Error;
use std::{fs, path::Path};
use store::ServiceSpec;

/// Makes the folders that the service has `create` for. One that cannot be made, on a full or missing state partition, is an
/// error, or an empty folder below `volatile` takes its place where the service has `else_volatile`. The specification with
/// the folders that there are.
pub(crate) fn made(service: &ServiceSpec, volatile: &Path) -> Result<ServiceSpec, Error> {
    let mut service = service.clone();
    for (n, mount) in service.mounts.iter_mut().enumerate().filter(|(_, m)| m.create) {
        let Err(e) = fs::create_dir_all(&mount.source) else { continue };
        if !mount.else_volatile {
            return Err(Error::io("create", &mount.source)(e));
        }
        let instead = volatile.join(n.to_string());
        fs::create_dir_all(&instead).map_err(Error::io("create", &instead))?;
        eprintln!("cannot create {}: {e}; the service has an empty folder in memory instead", mount.source);
        mount.target.get_or_insert_with(|| mount.source.clone());
        mount.source = instead.display().to_string();
    }
    Ok(service)
}

/// The targets of mounts that are in memory because [`made`] could not make their folders.
pub(crate) fn replaced(made: &ServiceSpec, volatile: &Path) -> Vec<String> {
    let mounts = made.mounts.iter().filter(|m| Path::new(&m.source).starts_with(volatile));
    mounts.filter_map(|m| m.target.clone()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_made_is_in_memory_where_the_service_allows_it() {
        let dir = tempfile::tempdir().unwrap();
        // as little of a folder as a full partition would make
        fs::write(dir.path().join("full"), b"").unwrap();
        let (full, run) = (dir.path().join("full/time"), dir.path().join("run"));
        let spec = |else_volatile: bool| -> ServiceSpec {
            let mounts = format!(
                r#"[{{"source": "{}", "target": "/var/lib/chrony", "create": true, "else_volatile": {else_volatile}}},
                    {{"source": "/nonexistent/x"}}]"#,
                full.display()
            );
            serde_json::from_str(&format!(r#"{{"exec": ["p"], "mounts": {mounts}}}"#)).unwrap()
        };
        let text = made(&spec(false), &run).unwrap_err().to_string();
        assert!(text.starts_with(&format!("cannot create {}", full.display())), "{text}");
        let service = made(&spec(true), &run).unwrap();
        assert_eq!(service.mounts[0].source, run.join("0").display().to_string());
        assert!(run.join("0").is_dir());
        assert_eq!(service.mounts[0].target.as_deref(), Some("/var/lib/chrony"));
        assert_eq!(service.mounts[1], spec(true).mounts[1]);
        assert_eq!(replaced(&service, &run), ["/var/lib/chrony"]);

        fs::remove_file(dir.path().join("full")).unwrap();
        let service = made(&spec(true), &run).unwrap();
        assert_eq!(service, spec(true));
        assert!(full.is_dir() && replaced(&service, &run).is_empty());
    }
}
