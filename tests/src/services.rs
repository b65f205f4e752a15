//! What `svc status --json` says.

use serde_json::Value;

/// Every service is ready, and these are among them.
///
/// # Errors
/// What is not as it should be.
pub fn all_ready(status: &str, wanted: &[&str]) -> Result<(), String> {
    let parsed: Value = serde_json::from_str(status).map_err(|e| format!("{e} in {status}"))?;
    let services = parsed.as_array().ok_or_else(|| status.to_owned())?;
    if let Some(bad) = services.iter().find(|s| s["state"] != "ready") {
        return Err(format!("not ready: {bad}"));
    }
    match wanted.iter().find(|name| !services.iter().any(|s| s["package"] == **name)) {
        Some(missing) => Err(format!("there is no service {missing} in {status}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_and_an_unready_service_are_errors() {
        let status = r#"[{"package": "time", "state": "ready"}, {"package": "kube", "state": "starting"}]"#;
        assert!(all_ready(status, &["time"]).is_err_and(|e| e.contains("kube")));
        let status = r#"[{"package": "time", "state": "ready"}]"#;
        assert_eq!(all_ready(status, &["time"]), Ok(()));
        assert!(all_ready(status, &["time", "kube"]).is_err());
        assert!(all_ready("[", &[]).is_err());
    }
}
