use serde_json::Value;
use std::collections::BTreeMap;
use types::Digest;

/// Everything that a step's outputs depend on, as a readable document. Its sha256 is the step's key.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct KeyDocument {
    /// What the step does.
    pub kind: String,
    /// The version of the code that does it.
    pub version: u32,
    /// Its parameters.
    pub params: Value,
    /// The digests of its inputs, by label.
    pub inputs: BTreeMap<String, Digest>,
}

impl KeyDocument {
    /// The key: the sha256 of the document as [`canonical`] JSON.
    #[must_use]
    pub fn key(&self) -> Digest {
        // written field by field, in the order of their names, without a Value: this runs for every step of every build
        let mut text = String::from("{\"inputs\":{");
        for (i, (label, digest)) in self.inputs.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            text += &format!("{comma}{}:\"{digest}\"", Value::from(label.as_str()));
        }
        text += &format!("}},\"kind\":{},\"params\":", Value::from(self.kind.as_str()));
        write(&self.params, &mut text);
        text += &format!(",\"version\":{}}}", self.version);
        Digest::of(text.as_bytes())
    }
}

/// JSON in one spelling: object keys sorted by their bytes, no white space.
#[must_use]
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            // sorted here, because whether serde_json's map is sorted depends on the features of unrelated crates
            let fields: BTreeMap<_, _> = fields.iter().collect();
            text.push('{');
            for (i, (name, field)) in fields.into_iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write(field, text);
            }
            text.push('}');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> KeyDocument {
        KeyDocument {
            kind: "layer".into(),
            version: 1,
            params: json!({"level": 3, "names": ["a", "b"]}),
            inputs: [("src".to_owned(), Digest::of(b"src"))].into(),
        }
    }

    #[test]
    fn every_field_is_in_the_key() {
        let base = document().key();
        let changes: [fn(&mut KeyDocument); 9] = [
            |d| d.kind = "tar".into(),
            |d| d.version = 2,
            |d| d.params["level"] = json!(9),
            |d| d.params["level"] = json!("3"),
            |d| d.params["names"] = json!(["b", "a"]),
            |d| d.params["new"] = json!(null),
            |d| d.inputs.extend([("src".to_owned(), Digest::of(b"other"))]),
            |d| d.inputs.extend([("more".to_owned(), Digest::of(b"src"))]),
            |d| {
                let digest = d.inputs.remove("src").unwrap();
                d.inputs.insert("renamed".into(), digest);
            },
        ];
        let mut keys = std::collections::BTreeSet::from([base]);
        for (i, change) in changes.iter().enumerate() {
            let mut changed = document();
            change(&mut changed);
            assert!(keys.insert(changed.key()), "change {i} gives a key of its own");
        }
    }

    #[test]
    fn the_key_is_a_promise_over_versions() {
        // printf '%s' '{"inputs":{"src":"sha256:…"},"kind":"layer","params":{…},"version":1}' | sha256sum
        let text = format!(
            r#"{{"inputs":{{"src":"{}"}},"kind":"layer","params":{{"level":3,"names":["a","b"]}},"version":1}}"#,
            Digest::of(b"src")
        );
        assert_eq!(document().key(), Digest::of(text.as_bytes()));
        assert_eq!(
            canonical(&json!({"b": [1, {"d": null, "c": "\n"}], "a": true})),
            r#"{"a":true,"b":[1,{"c":"\n","d":null}]}"#
        );
    }

    #[test]
    fn a_document_survives_the_disk() {
        let text = serde_json::to_string(&document()).unwrap();
        assert_eq!(serde_json::from_str::<KeyDocument>(&text).unwrap(), document());
    }
}
