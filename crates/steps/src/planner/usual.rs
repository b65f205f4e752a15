//! How long steps usually run, for machines that have not run them: seconds on two processors. The cache knows better once a
//! step has run.

use std::time::Duration;

/// By the beginning of a step's name, longest first where two fit; then by its kind.
const BY_NAME: [(&str, u64); 5] =
    [("go/kube/k3s", 360), ("go/coredns", 90), ("go/metrics-server", 90), ("go/local-path", 60), ("toolbox/go", 20)];

const BY_KIND: [(&str, u64); 9] = [
    ("kernel-build", 2400),
    ("kernel-source", 30),
    ("rust-deps", 150),
    ("go", 60),
    ("rust", 30),
    ("toolbox", 8),
    ("vendor", 5),
    ("erofs", 4),
    ("debs", 3),
];

/// The usual time of a step of this kind and name.
pub(super) fn of(kind: &str, name: &str) -> Duration {
    let named = BY_NAME.iter().find(|(start, _)| name.starts_with(start));
    let seconds = named.or_else(|| BY_KIND.iter().find(|(k, _)| *k == kind)).map_or(1, |(_, seconds)| *seconds);
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_before_its_kind() {
        let seconds = |kind, name| of(kind, name).as_secs();
        assert_eq!(seconds("go", "go/kube/k3s@amd64"), 360);
        assert_eq!(seconds("go", "go/other/program@amd64"), 60);
        assert_eq!(seconds("esp", "esp/kvm@amd64"), 1);
    }
}
