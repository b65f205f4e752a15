use crate::{Input, KeyDocument, Step, StepId};
use serde_json::Value;
use std::{collections::BTreeSet, fmt};
use types::{Bytes, Digest};

/// The reason why a step must run. The text is only a rendering.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Reason {
    /// No step of this name has run with this cache.
    NeverBuilt,
    /// The caller asked for it.
    Forced,
    /// The step is of another kind than last time.
    Kind {
        /// The kind then.
        before: String,
        /// The kind now.
        after: String,
    },
    /// The code of the step is of another version.
    Version {
        /// The version then.
        before: u32,
        /// The version now.
        after: u32,
    },
    /// A parameter is different.
    Param {
        /// Where in the parameters: `level`, `service.mounts`.
        path: String,
        /// The value then; `None` when there was none.
        before: Option<Value>,
        /// The value now; `None` when there is none.
        after: Option<Value>,
    },
    /// A parameter that is a list has other members.
    List {
        /// Where in the parameters.
        path: String,
        /// The new members.
        added: Vec<Value>,
        /// The removed members.
        removed: Vec<Value>,
    },
    /// An input has other bytes, is new, or is gone.
    Input {
        /// Its label.
        label: String,
        /// The digest then; `None` when it is new.
        before: Option<Digest>,
        /// The digest now; `None` when it is gone.
        after: Option<Digest>,
        /// Its source, for people: a file, a step.
        origin: Option<String>,
    },
    /// Nothing changed, but an output is missing.
    OutputMissing {
        /// Its name.
        output: String,
    },
    /// Nothing changed, but an output has another size than it had.
    OutputSize {
        /// Its name.
        output: String,
        /// The size it had.
        expected: Bytes,
        /// The size it has.
        found: Bytes,
    },
    /// Nothing changed, but the bytes of an output are damaged.
    OutputBroken {
        /// Its name.
        output: String,
    },
    /// Nothing changed since last time, but the record is missing.
    Forgotten,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverBuilt => f.write_str("never built"),
            Self::Forced => f.write_str("asked to run again"),
            Self::Kind { before, after } => write!(f, "kind {before} → {after}"),
            Self::Version { before, after } => write!(f, "the step's code changed: version {before} → {after}"),
            Self::Param { path, before, after } => match (before, after) {
                (Some(before), Some(after)) => write!(f, "params.{path} {before} → {after}"),
                (None, Some(after)) => write!(f, "params.{path} is new: {after}"),
                (Some(before), None) => write!(f, "params.{path} is gone, was {before}"),
                (None, None) => write!(f, "params.{path}"),
            },
            Self::List { path, added, removed } => {
                write!(f, "params.{path}:")?;
                if added.is_empty() && removed.is_empty() {
                    return f.write_str(" other order");
                }
                let added = added.iter().map(|v| ("+", v));
                added.chain(removed.iter().map(|v| ("-", v))).try_for_each(|(sign, v)| write!(f, " {sign}{v}"))
            }
            Self::Input { label, before, after, origin } => {
                let what = match (before, after) {
                    (None, _) => "is new",
                    (_, None) => "is gone",
                    _ => "changed",
                };
                write!(f, "input `{label}` {what}")?;
                origin.as_ref().map_or(Ok(()), |origin| write!(f, ": {origin}"))
            }
            Self::OutputMissing { output } => write!(f, "output `{output}` is missing from the cache"),
            Self::OutputSize { output, expected, found } => {
                write!(f, "output `{output}` is damaged: {} bytes in the cache, should be {}", found.0, expected.0)
            }
            Self::OutputBroken { output } => {
                write!(f, "output `{output}` is damaged: its bytes do not have its digest")
            }
            Self::Forgotten => f.write_str("unchanged, but no longer in the cache"),
        }
    }
}

/// Every field in which two documents differ. Inputs in `unknown` are left out: their digest does not exist yet.
pub(crate) fn differences(
    step: &Step,
    before: &KeyDocument,
    after: &KeyDocument,
    unknown: &BTreeSet<&str>,
) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if before.kind != after.kind {
        reasons.push(Reason::Kind { before: before.kind.clone(), after: after.kind.clone() });
    }
    if before.version != after.version {
        reasons.push(Reason::Version { before: before.version, after: after.version });
    }
    values("", Some(&before.params), Some(&after.params), &mut reasons);
    let labels: BTreeSet<&String> = before.inputs.keys().chain(after.inputs.keys()).collect();
    for label in labels.into_iter().filter(|l| !unknown.contains(l.as_str())) {
        let (was, is) = (before.inputs.get(label).copied(), after.inputs.get(label).copied());
        if was != is {
            let origin = step.inputs.get(label).and_then(origin);
            reasons.push(Reason::Input { label: label.clone(), before: was, after: is, origin });
        }
    }
    reasons
}

fn origin(input: &Input) -> Option<String> {
    match input {
        Input::Blob(_) => None,
        Input::Step { step, output } => Some(format!("{output} of {step}")),
        Input::File { path, .. } => Some(path.display().to_string()),
    }
}

fn values(path: &str, before: Option<&Value>, after: Option<&Value>, reasons: &mut Vec<Reason>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                values(&path, a.get(name), b.get(name), reasons);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            let missing = |from: &[Value], of: &[Value]| -> Vec<Value> {
                from.iter().filter(|v| !of.contains(v)).cloned().collect()
            };
            reasons.push(Reason::List { path: path.to_owned(), added: missing(b, a), removed: missing(a, b) });
        }
        _ => reasons.push(Reason::Param { path: path.to_owned(), before: before.cloned(), after: after.cloned() }),
    }
}

/// The steps a plan waits for, as text.
pub(crate) fn names(ids: &[StepId]) -> String {
    ids.iter().map(StepId::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn document(params: Value, inputs: &[(&str, &str)]) -> KeyDocument {
        let inputs =
            inputs.iter().map(|(l, d)| ((*l).to_owned(), Digest::of(d.as_bytes()))).collect::<BTreeMap<_, _>>();
        KeyDocument { kind: "layer".into(), version: 1, params, inputs }
    }

    fn texts(before: &KeyDocument, after: &KeyDocument) -> Vec<String> {
        let step = Step::new("layer/kube", "layer", 1, |_| Ok(())).file("src", "pkg/kube/src", Digest::of(b"")).from(
            "base",
            "layer/base",
            "tar",
        );
        differences(&step, before, after, &BTreeSet::new()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_difference_is_told_in_the_users_words() {
        let a = document(json!({"level": 3, "debs": ["curl", "udev"], "s": {"x": 1}}), &[("src", "1"), ("base", "1")]);
        let mut b =
            document(json!({"level": 9, "debs": ["udev", "kmod"], "s": {"y": null}}), &[("src", "2"), ("more", "1")]);
        (b.kind, b.version) = ("erofs".into(), 2);
        assert_eq!(
            texts(&a, &b),
            [
                "kind layer → erofs",
                "the step's code changed: version 1 → 2",
                r#"params.debs: +"kmod" -"curl""#,
                "params.level 3 → 9",
                "params.s.x is gone, was 1",
                "params.s.y is new: null",
                "input `base` is gone: tar of layer/base",
                "input `more` is new",
                "input `src` changed: pkg/kube/src",
            ]
        );
        assert_eq!(texts(&a, &a), [""; 0]);
        let c = document(json!({"l": [1, 2]}), &[]);
        assert_eq!(texts(&c, &document(json!({"l": [2, 1]}), &[])), ["params.l: other order"]);
    }
}
