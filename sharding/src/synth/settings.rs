//! `key=value` settings on top of a preset.

use serde_json::{Map, Value};

use super::SynthError;
use super::config::SynthConfig;

impl SynthConfig {
    /// The configuration with the field `key` (a section's with a dot, as `graph.recall`) set to a value in JSON.
    ///
    /// # Errors
    /// When it is not `key=value`, there is no such field, or the value is of another type.
    pub fn with_setting(&self, setting: &str) -> Result<Self, SynthError> {
        let refuse = |message: String| SynthError::Config { message };
        let (key, text) =
            setting.split_once('=').ok_or_else(|| refuse(format!("--set {setting}: expected key=value")))?;
        let (key, text) = (key.trim(), text.trim());
        let mut whole = serde_json::to_value(self).map_err(|error| refuse(error.to_string()))?;
        let fields = names(&whole);
        let pointer = format!("/{}", key.replace('.', "/"));
        let Some(field) = whole.pointer_mut(&pointer).filter(|_| fields.iter().any(|field| field == key)) else {
            let nearest = fields.iter().min_by_key(|field| strsim::damerau_levenshtein(key, field));
            let question = nearest.map_or_else(String::new, |field| format!("; did you mean `{field}`?"));
            return Err(refuse(format!("there is no field `{key}`{question}")));
        };
        *field = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        serde_json::from_value(whole).map_err(|error| refuse(format!("{key} = {text}: {error}")))
    }
}

/// Names of all fields, those of sections with a dot.
fn names(whole: &Value) -> Vec<String> {
    let mut names = Vec::new();
    if let Value::Object(fields) = whole {
        collect(fields, "", &mut names);
    }
    names
}

fn collect(fields: &Map<String, Value>, prefix: &str, names: &mut Vec<String>) {
    for (name, value) in fields {
        let name = format!("{prefix}{name}");
        match value {
            Value::Object(section) => collect(section, &format!("{name}."), names),
            _ => names.push(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::synth::{Preset, SynthConfig, World};

    fn demo() -> SynthConfig {
        SynthConfig::preset(Preset::Demo, World::W2, 0)
    }

    #[test]
    fn a_setting_changes_its_field_alone() {
        let set = demo().with_setting("graph.recall = 0.5").unwrap().with_setting("course.doses=[1,10]").unwrap();
        let mut expected = demo();
        expected.graph.recall = 0.5;
        expected.course.doses = vec![1.0, 10.0];
        assert_eq!(set, expected);
        assert_eq!(demo().with_setting("world=W3").unwrap().world, World::W3);
    }

    #[test]
    fn a_setting_that_does_not_fit_is_refused_by_name() {
        for (setting, words) in [
            ("graph.recal=0.5", ["graph.recal", "did you mean `graph.recall`"]),
            ("graph=1", ["graph", "there is no field"]),
            ("graph/recall=0.5", ["graph/recall", "did you mean `graph.recall`"]),
            ("=3", ["``", "there is no field"]),
            ("batches=2.5", ["batches", "2.5"]),
            ("null_share=null", ["null_share", "null"]),
            ("course.doses=1", ["course.doses", "sequence"]),
            ("world=W9", ["W9", "W5"]),
            ("batches", ["batches", "key=value"]),
        ] {
            let error = demo().with_setting(setting).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }

    #[test]
    fn a_configuration_survives_json() {
        let config = SynthConfig::preset(Preset::Medium, World::W5, 9);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<SynthConfig>(&text).unwrap(), config);
    }
}
